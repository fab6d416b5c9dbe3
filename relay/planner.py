"""When to look next: pure decisions about one watch.

`interval` looks every `polling.interval`. `adaptive` looks in proportion to what is known of the job's age: early
looks are wasted on a job that takes minutes, and a job that has run for long is less likely to end this very moment.
"""

from dataclasses import dataclass

from relay.model import HOUR, MINUTE, SECOND, Instant, Watch

TYPICAL = 5 * MINUTE
"""How long Exec's jobs take, by its own page."""

_SHORTEST = 5 * SECOND
_LONGEST = HOUR


@dataclass(frozen=True, slots=True)
class Plan:
    """The next look, and why then, in words for people."""

    at: Instant
    why: str


def interval_plan(watch: Watch, interval: int, now: Instant) -> Plan:
    """A look every `interval` milliseconds."""
    return Plan(max(now, (watch.last_look_at or now) + interval), f"every {interval / SECOND:g} s")


def adaptive_plan(watch: Watch, now: Instant) -> Plan:
    """A look after a tenth of the time that a job of this age is expected to run on.

    Until the typical duration the gap shrinks towards it; past it the gap is a tenth of the age, so that stuck jobs
    are looked at less and less, hourly at the least.
    """
    job = watch.job
    if job is not None and job.started is None and job.status == "queued":
        return Plan(now + 15 * SECOND, "queued at Exec")
    begun = (job.started or job.created if job else None) or watch.created_at
    age = max(0, now - begun)
    if age < TYPICAL:
        gap = max(_SHORTEST, (TYPICAL - age) // 4)
        return Plan(now + gap, f"runs for {age // SECOND} s, jobs take about {TYPICAL // MINUTE} min")
    return Plan(now + min(_LONGEST, max(2 * _SHORTEST, age // 10)), f"runs for {age // SECOND} s, longer than most")


def gain(watch: Watch, now: Instant) -> int:
    """What a look is worth now: how long the watch has gone unlooked at, in milliseconds. Most first when looks are short."""
    return now - (watch.last_look_at if watch.last_look_at is not None else watch.created_at - HOUR)
