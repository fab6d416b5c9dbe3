"""When to look next.

A look costs one request of Exec's budget; waiting costs delay. With F the law of a job's duration, S = 1 − F and λ
the price of a look in seconds of delay, the best ages to look at minimise E[delay] + λ·E[looks]: the inspection
problem of Barlow, Hunter and Proschan, 'Optimum Checking Procedures', J. SIAM 11 (1963) 1078–1095. `timetable.py`
solves it once for a law and a price; a look is then a search in a table. `pricing.py` finds the price.
"""

from dataclasses import dataclass

from relay.law import Law
from relay.model import DAY, MINUTE, SECOND, Instant, Watch
from relay.pricing import price
from relay.timetable import LONGEST_GAP, LONGEST_GROWTH, Timetable, make_timetable

__all__ = [
    "SAFETY_GAP",
    "Plan",
    "Sight",
    "Timetable",
    "adaptive_plan",
    "age_of",
    "gain",
    "going",
    "interval_plan",
    "make_timetable",
    "price",
    "safety_plan",
    "sight_of",
]

SAFETY_GAP = 15 * MINUTE
_SOONEST = SECOND
_LONGEST_GAP = round(LONGEST_GAP * SECOND)


@dataclass(frozen=True, slots=True)
class Plan:
    """When to look next, and why, in a short sentence for people."""

    at: Instant
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is known of a watch. `created_at` and `started_at` are Exec's, the rest is the relay's."""

    registered_at: Instant
    created_at: Instant | None = None
    started_at: Instant | None = None
    status: str | None = None
    last_look_at: Instant | None = None
    looks: int = 0
    failures: int = 0
    awaits_callback: bool = False
    """Exec is to call back when the job ends, and has not yet."""


def sight_of(watch: Watch) -> Sight:
    """The planner's view of a watch."""
    job = watch.job
    return Sight(
        registered_at=watch.created_at,
        created_at=job.created if job else None,
        started_at=job.started if job else None,
        status=job.status if job else None,
        last_look_at=watch.last_look_at,
        looks=watch.looks,
        failures=watch.failures,
        awaits_callback=watch.exec_callback and watch.hinted_at is None,
    )


def safety_plan(sight: Sight, now: Instant) -> Plan:
    """While Exec's own callback is awaited, looks only guard against its loss: the first 15 minutes after the
    registration, which three times the usual duration, then each after twice the time watched. Never before `now`.

    What is left to expect of a callback that has come, right or wrong, is nothing: the job is planned as any other.
    """
    last = sight.registered_at if sight.last_look_at is None else min(sight.last_look_at, now)
    at = last + max(SAFETY_GAP, last - sight.registered_at)
    return Plan(max(at, now), "Exec is to call back when it ends; this look is for safety")


def interval_plan(sight: Sight, interval: int, now: Instant) -> Plan:
    """`polling.strategy: interval`: the first look at once, then one every `interval` milliseconds."""
    if sight.awaits_callback:
        return safety_plan(sight, now)
    if sight.last_look_at is None:
        return Plan(now, "first look, at once")
    return Plan(max(sight.last_look_at + interval, now), f"every {_seconds(interval)}")


def adaptive_plan(sight: Sight, table: Timetable, now: Instant, wait: float = 0.0) -> Plan:
    """`polling.strategy: adaptive`: the first look at once if the budget carries it, then by the timetable.

    Never before `now`. A watch that falls due may be planned again, by the table of the moment: where the price has
    risen since, its look moves on.
    `wait` is how many seconds jobs are usually queued. No gap is longer than ten minutes or, where that is more,
    eight times the time for which the job has been watched: that many looks a job gets whatever they cost.
    """
    if sight.awaits_callback:
        return safety_plan(sight, now)
    if sight.last_look_at is None and table.at_once:
        return Plan(now, "first look, at once")
    last = min(sight.registered_at if sight.last_look_at is None else sight.last_look_at, now)
    start = _start(sight, wait, last)
    age = (last - start) / 1_000
    gap = round((table.next_age(max(age, 0.0)) - age) * 1_000)
    bound = max(_LONGEST_GAP, round(LONGEST_GROWTH * (last - sight.registered_at)))
    at = max(last + min(max(gap, _SOONEST), bound), now)
    if sight.last_look_at is None:
        return Plan(
            at, f"few looks are left today, so the first one waits until {_seconds(at - last)} from registration"
        )
    return Plan(at, _why(sight, table.law, at, start, gap > bound))


def age_of(sight: Sight, now: Instant, wait: float = 0.0) -> float:
    """Seconds since the job started, as far as is known: negative while it is still queued."""
    return (now - _start(sight, wait, min(sight.last_look_at or now, now))) / 1_000


def going(sight: Sight, wait: float = 0.0) -> tuple[Instant, float] | None:
    """What the watch of a job that goes on teaches of durations: when it began, and its age in seconds when last seen
    going (`durations.law` takes these). None where its last look did not see that."""
    if sight.last_look_at is None or sight.failures or sight.status in (None, "queued"):
        return None
    start = _start(sight, wait, sight.last_look_at)
    return start, (sight.last_look_at - start) / 1_000


def gain(sight: Sight, law: Law, now: Instant, wait: float = 0.0) -> float:
    """Seconds of delay that a look now is expected to save: the probability that the job ended since the last look,
    times the time since. What due watches are ranked by when the budget does not reach for all of them."""
    last = min(now, sight.registered_at if sight.last_look_at is None else sight.last_look_at)
    start = _start(sight, wait, last)
    before, by_now = law.cdf((last - start) / 1_000), law.cdf((now - start) / 1_000)
    ended = (by_now - before) / (1 - before) if before < 1 else 1.0
    return max(ended, 0.001) * (now - last) / 1_000


def _start(sight: Sight, wait: float, last: Instant) -> Instant:
    """When the job started, or is reckoned to. A timestamp that can't be true is not believed."""
    if sight.started_at is not None and sight.registered_at - DAY <= sight.started_at:
        return min(sight.started_at, last)
    created = sight.created_at
    if created is None or not sight.registered_at - DAY <= created <= last:
        created = min(sight.registered_at, last)
    start = created + round(wait * 1_000)
    return max(start, last) if sight.status == "queued" else min(start, last)


def _why(sight: Sight, law: Law, at: Instant, start: Instant, bounded: bool) -> str:
    if bounded:
        return "no look is put off for longer than ten minutes or eight times the time watched so far"
    if sight.status == "queued":
        return f"still queued; jobs take {_seconds(round(law.median * 1_000))} from their start"
    share = round(100 * law.cdf((at - start) / 1_000))
    return f"{share}% of jobs have ended by then, {_seconds(at - start)} after their start"


def _seconds(milliseconds: int) -> str:
    seconds = milliseconds / 1_000
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7_200
        else f"{seconds / 3_600:.0f} h"
    )
