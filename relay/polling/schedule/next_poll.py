"""Plans the next poll of a watch.

A poll costs one request of Exec's budget; waiting costs delay. With F the distribution of a job's duration, S = 1 − F
and λ the price of a poll in seconds of delay, the best ages to poll minimise E[delay] + λ·E[polls]: the inspection
problem of Barlow, Hunter and Proschan, 'Optimum Checking Procedures', J. SIAM 11 (1963) 1078–1095.
`optimal_schedule.py` solves it once for a distribution and a price; planning a poll is then a search in a table.
`poll_price.py` finds the price.
"""

from dataclasses import dataclass

from relay.model import DAY, MINUTE, SECOND, Instant, Watch
from relay.polling.schedule.duration_distribution import DurationDistribution
from relay.polling.schedule.optimal_schedule import OptimalSchedule, longest_gap

SAFETY_GAP = 15 * MINUTE
_MIN_DELAY = SECOND


@dataclass(frozen=True, slots=True)
class NextPoll:
    """When to poll next, and why, in a short sentence for people."""

    at: Instant
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PollState:
    """A watch as planning sees it. `created_at` and `started_at` are Exec's, the rest is the relay's."""

    registered_at: Instant
    created_at: Instant | None = None
    started_at: Instant | None = None
    status: str | None = None
    last_poll_at: Instant | None = None
    polls: int = 0
    failures: int = 0
    wait: float = 5.0
    """Total seconds for which such a job is queued."""
    awaits_callback: bool = False
    """Whether Exec has a callback URL for the job and has not called it yet."""


def poll_state_of(watch: Watch) -> PollState:
    """The parts of a watch that planning needs."""
    job = watch.job
    return PollState(
        registered_at=watch.created_at,
        created_at=job.created_at_ms if job else None,
        started_at=job.started_at_ms if job else None,
        status=job.status if job else None,
        last_poll_at=watch.last_poll_at,
        polls=watch.polls,
        failures=watch.failures,
        awaits_callback=watch.exec_callback and watch.callback_received_at is None,
    )


def fallback_poll(poll_state: PollState, now: Instant) -> NextPoll:
    """A poll that guards against the loss of Exec's callback: the first one 15 minutes after the registration, three
    times the usual duration, and each later one after twice the time watched. Never before `now`.

    After a callback, right or wrong, no other is expected: the job is planned like any other.
    """
    last = poll_state.registered_at if poll_state.last_poll_at is None else min(poll_state.last_poll_at, now)
    at = last + max(SAFETY_GAP, last - poll_state.registered_at)
    return NextPoll(max(at, now), "Exec is to call back when it ends; this poll is for safety")


def interval_poll(poll_state: PollState, interval: int, now: Instant) -> NextPoll:
    """Plans for `polling.strategy: interval`: the first poll at once, then one every `interval` milliseconds."""
    if poll_state.awaits_callback:
        return fallback_poll(poll_state, now)
    if poll_state.last_poll_at is None:
        return NextPoll(now, "first poll, at once")
    return NextPoll(max(poll_state.last_poll_at + interval, now), f"every {_seconds(interval)}")


@dataclass(frozen=True, slots=True)
class IntervalPolicy:
    """Plans for `polling.strategy: interval`, and for a workspace before its first `PollPolicy`."""

    interval: int
    """Milliseconds."""

    def plan(self, poll_state: PollState, now: Instant) -> NextPoll:
        """The next poll of a watch."""
        return interval_poll(poll_state, self.interval, now)


def adaptive_poll(poll_state: PollState, table: OptimalSchedule, now: Instant) -> NextPoll:
    """Plans for `polling.strategy: adaptive`: the first poll at once if that is worth its price, then by the schedule.

    Never before `now`. A due watch may be planned again with the current schedule: if the price has risen since, its
    poll moves to a later time. No gap is longer than `longest_gap` of the time for which the job has been watched.
    """
    if poll_state.awaits_callback:
        return fallback_poll(poll_state, now)
    if poll_state.last_poll_at is None:
        return NextPoll(now, "first poll, at once") if table.poll_immediately else first_plan(poll_state, table, now)
    last = min(poll_state.last_poll_at, now)
    start = _estimated_start(poll_state, last)
    age = (last - start) / 1_000
    gap = round((table.next_age(max(age, 0.0)) - age) * 1_000)
    bound = round(longest_gap((last - poll_state.registered_at) / 1_000, table.price) * SECOND)
    at = max(last + min(max(gap, _MIN_DELAY), bound), now)
    return NextPoll(at, _reason(poll_state, table.distribution, at, start, gap > bound))


def first_plan(poll_state: PollState, table: OptimalSchedule, now: Instant) -> NextPoll:
    """The first poll of a job that is not polled at once, as if the job had been created when it was registered."""
    registered = min(poll_state.registered_at, now)
    at = max(registered + round((table.poll_ages[0] + poll_state.wait) * SECOND), now)
    return NextPoll(
        at,
        f"a poll has to save {_seconds(round(table.price * SECOND))} of delay, and too few jobs have ended when they "
        f"are registered: the first poll waits until {_seconds(at - registered)} from registration",
    )


def age_of(poll_state: PollState, now: Instant) -> float:
    """Seconds since the job started, as far as the relay knows: negative while it is queued."""
    return (now - _estimated_start(poll_state, min(poll_state.last_poll_at or now, now))) / 1_000


def censored_observation(poll_state: PollState) -> tuple[Instant, float] | None:
    """What a running job adds to the durations: its start, and its age in seconds at the last poll, for
    `job_durations.fit_distribution`. None if its last poll did not find it running."""
    if poll_state.last_poll_at is None or poll_state.failures or poll_state.status in (None, "queued"):
        return None
    start = _estimated_start(poll_state, poll_state.last_poll_at)
    return start, (poll_state.last_poll_at - start) / 1_000


def expected_delay_saved(
    poll_state: PollState, distribution: DurationDistribution, now: Instant, already_ended: float = 0.0
) -> float:
    """Seconds of delay that a poll now is expected to save: the probability that the job ended since the last poll,
    times the time since. Due watches are ranked by it when the budget is too small for all. `already_ended` is the
    probability that a job has ended when it is registered."""
    last = min(now, poll_state.registered_at if poll_state.last_poll_at is None else poll_state.last_poll_at)
    start = _estimated_start(poll_state, last)
    before, ended_by_now = distribution.cdf((last - start) / 1_000), distribution.cdf((now - start) / 1_000)
    ended = (ended_by_now - before) / (1 - before) if before < 1 else 1.0
    if poll_state.last_poll_at is None:
        ended = already_ended + (1 - already_ended) * ended
    return max(ended, 0.001) * (now - last) / 1_000


def _estimated_start(poll_state: PollState, last: Instant) -> Instant:
    """When the job started, or an estimate of it. Impossible timestamps are ignored."""
    if poll_state.started_at is not None and poll_state.registered_at - DAY <= poll_state.started_at:
        return min(poll_state.started_at, last)
    created = poll_state.created_at
    if created is None or not poll_state.registered_at - DAY <= created <= last:
        created = min(poll_state.registered_at, last)
    start = created + round(poll_state.wait * 1_000)
    return max(start, last) if poll_state.status == "queued" else min(start, last)


def _reason(
    poll_state: PollState, distribution: DurationDistribution, at: Instant, start: Instant, bounded: bool
) -> str:
    if bounded:
        return "the longest gap between polls: ten minutes, eight times the time watched, or the price of a poll"
    if poll_state.status == "queued":
        return f"still queued; jobs take {_seconds(round(distribution.median * 1_000))} from their start"
    share = round(100 * distribution.cdf((at - start) / 1_000))
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
