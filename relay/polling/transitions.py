"""Decides what the result of a poll means: for the watch, and for the workspace.

`polling/exec_client.py` turns each answer into a `PollResult`; `apply_poll` and `apply_poll_to_workspace` decide.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from relay.backoff import capped_exponential
from relay.model import HOUR, MINUTE, SECOND, EventType, Instant, ScenarioJob, Watch, WatchState
from relay.model.poll_result import (
    JobFound,
    JobNotFound,
    Poll,
    PollFailed,
    PollResult,
    RateLimited,
    Unauthorized,
)
from relay.polling.request_budget import RateLimit, after_429
from relay.polling.schedule.next_poll import NextPoll, PollState, poll_state_of
from relay.store.tables.workspaces import WorkspaceState

# --- limits and delays -----------------------------------------------------------------------------------------

NOT_FOUND_MIN_POLLS = 3
NOT_FOUND_MIN_AGE = 2 * MINUTE
"""A registration may reach the relay before Exec knows the job: so many 404s, over at least this time, end a watch."""

_NOT_FOUND_GAPS = (30 * SECOND, 90 * SECOND)

FOUND_BEFORE_MIN_AGE = 4 * HOUR
"""A job that Exec showed before is polled for this long: a 404 for it is more likely a fault of Exec than its end."""
_FOUND_BEFORE = FOUND_BEFORE_MIN_AGE, (30 * SECOND, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR)
_FAULT_BASE = 5 * SECOND
_FAULT_CAP = 5 * MINUTE
_FIRST_FAULTS, _FIRST_FAULT_CAP = 8, MINUTE
"""Most failures of Exec are short, such as a deploy: in the first five minutes of one a job waits a minute at most."""
UNAUTHORIZED_RETRY = 5 * MINUTE
"""How often a workspace is polled while Exec refuses its key."""

HINT_REASON = "Exec's callback says that it ended"
HINT_MIN_GAP = 10 * SECOND
"""Minimum gap between the polls that hints of one job cause. It doubles with each hint that a poll does not confirm."""
_HINT_CAP = 5 * MINUTE

BREAKER_OPENS_AT = 5
"""Failed polls in a row, over all jobs of a workspace, that open its circuit breaker: then one poll at a time."""


class Policy(Protocol):
    """Plans polls: `PollPolicy` or `IntervalPolicy`, a value that a transition does not change."""

    def plan(self, poll_state: PollState, now: Instant) -> NextPoll:
        """The next poll of a watch."""


@dataclass(frozen=True, slots=True)
class Transition:
    """What a poll means for its watch: the watch as it is now, and the facts it established."""

    watch: Watch
    events: tuple[EventType, ...] = ()


def apply_poll(
    watch: Watch,
    poll: Poll,
    now: Instant,
    max_age: int,
    jitter: float,
    policy: Policy,
    since: Instant = 0,
) -> Transition:
    """Decides what a poll means for its watch: how docs/concepts/words.md describes it.

    `policy` plans the next poll of a job that has not ended. `jitter` is in [0, 1). A watch expires only by a poll that
    Exec answered: while Exec can't be reached, the job may have ended. Ages count from `since` at the earliest, because
    earlier times may come from a clock that was wrong.

    If only a hint named the job, one 404 ends the watch, and nobody is notified.
    """
    if watch.unconfirmed_since is None:
        return _after_hints(watch, _apply_poll(watch, poll, now, max_age, jitter, policy, since), now)
    if isinstance(poll.result, JobNotFound):
        polled = replace(watch, polls=watch.polls + 1, last_poll_at=poll.started_at)
        return Transition(_ended(polled, WatchState.NOT_FOUND, now))
    if isinstance(poll.result, JobFound):
        watch = replace(watch, unconfirmed_since=None)
    transition = _after_hints(watch, _apply_poll(watch, poll, now, max_age, jitter, policy, since), now)
    return transition if watch.unconfirmed_since is None else replace(transition, events=())


def _after_hints(before: Watch, transition: Transition, now: Instant) -> Transition:
    """Counts a hint that the poll did not confirm. A hint that came during the poll plans another poll."""
    watch = transition.watch
    if watch.state is not WatchState.ACTIVE or watch.callback_received_at is None or watch.next_poll_at is None:
        return transition
    if watch.has_pending_hint:  # rule: hint-survives-poll
        at = min(watch.next_poll_at, max(now, watch.callback_received_at))
        return replace(transition, watch=replace(watch, next_poll_at=at, next_poll_reason=HINT_REASON))
    return (
        replace(transition, watch=replace(watch, unconfirmed_hints=watch.unconfirmed_hints + 1))
        if before.has_pending_hint
        else transition
    )


def _apply_poll(
    watch: Watch,
    poll: Poll,
    now: Instant,
    max_age: int,
    jitter: float,
    policy: Policy,
    since: Instant,
) -> Transition:
    deadline = max(watch.created_at, since) + max_age
    polled = replace(watch, polls=watch.polls + 1, last_poll_at=poll.started_at)
    match poll.result:
        case JobFound(job) if job.final_event:
            return Transition(
                _ended(replace(polled, job=job, failures=0, last_error=None), WatchState.SETTLED, now),
                (job.final_event,),
            )
        case JobFound(job):
            started = () if _was_started(watch.job) or not _was_started(job) else (EventType.STARTED,)
            polled = replace(polled, job=job, failures=0, not_found_count=0, not_found_since=None, last_error=None)
            return _wait_or_expire(polled, policy.plan(poll_state_of(polled), now), now, deadline, started)
        case JobNotFound():
            return _not_found(polled, now, since)
        case Unauthorized(status, text):
            return Transition(
                _wait(
                    polled,
                    now + UNAUTHORIZED_RETRY,
                    f"Exec refuses the key ({status})",
                    f"Exec answered {status}: {text}",
                )
            )
        case RateLimited(retry_after):
            pause = MINUTE if retry_after is None else retry_after
            return Transition(_wait(polled, now + pause, "Exec asked the workspace to wait", "Exec answered 429"))
        case PollFailed("internal", detail):
            return Transition(_wait(polled, now + _FAULT_BASE, "the relay could not poll Exec", detail))
        case PollFailed(kind, detail):
            polled = replace(polled, failures=watch.failures + 1, last_error=detail)
            cap = _FIRST_FAULT_CAP if polled.failures <= _FIRST_FAULTS else _FAULT_CAP
            delay = capped_exponential(polled.failures, _FAULT_BASE, cap, jitter)
            next_poll = NextPoll(now + delay, f"poll {polled.failures} in a row failed")
            return (
                Transition(_wait(polled, next_poll.at, next_poll.reason, detail))
                if kind in UNREACHABLE
                else _wait_or_expire(polled, next_poll, now, deadline)
            )


def apply_poll_to_workspace(
    state: WorkspaceState, poll_result: PollResult, now: Instant, rate_limit: RateLimit, jitter: float
) -> WorkspaceState:
    """The workspace after a poll of any of its jobs: its pause, its ledger after a 429, its circuit breaker.

    `jitter` is in [0, 1). During a pause only a 429 changes it: the other polls had started before the pause.
    """
    is_paused = state.paused_until is not None and state.paused_until > now
    if is_paused and not isinstance(poll_result, RateLimited):
        return state
    match poll_result:
        case PollFailed("internal"):
            return state  # a failure of the relay itself does not show whether Exec works
        case Unauthorized(status, text):
            reason = f"Exec refuses the API key ({status}: {text}); check exec.api_key"
            return replace(state, paused_until=now + UNAUTHORIZED_RETRY, pause_kind="unauthorized", pause_reason=reason)
        case RateLimited(retry_after):
            ledger = after_429(state.ledger, rate_limit, retry_after, now)
            reason = "Exec answered 429: the workspace's requests are used up, by this relay or by other tools"
            return replace(
                state,
                ledger=ledger,
                paused_until=ledger.paused_until,
                pause_kind="rate_limited",
                pause_reason=reason,
            )
    if trips_breaker(poll_result):
        failures = state.consecutive_failures + 1
        pause = breaker_pause(failures, jitter)
        if pause is None:
            return replace(state, consecutive_failures=failures)
        reason = f"Exec does not work: {failures} polls in a row failed; trying one poll at a time"
        return replace(
            state,
            consecutive_failures=failures,
            paused_until=now + pause,
            pause_kind="failing",
            pause_reason=reason,
        )
    if isinstance(poll_result, JobFound) or state.pause_kind is not None or state.consecutive_failures:
        return replace(state, consecutive_failures=0, paused_until=None, pause_kind=None, pause_reason=None)
    return state


def poll_at_for_hint(watch: Watch, now: Instant) -> Instant:
    """The earliest time of a poll for a hint received `now`: at once, unless hints caused a poll a short time ago."""
    if watch.callback_received_at is None:
        return now
    gap = min(HINT_MIN_GAP << min(watch.unconfirmed_hints, 10), _HINT_CAP)
    return max(now, max(watch.callback_received_at, watch.last_poll_at or 0) + gap)


UNREACHABLE = frozenset({"timeout", "connection"})
"""Kinds of failure in which Exec answered nothing."""


def trips_breaker(poll_result: PollResult) -> bool:
    """Whether a poll shows that Exec as a whole does not work, and not only this job. The circuit breaker counts it."""
    return isinstance(poll_result, PollFailed) and poll_result.kind not in ("malformed", "internal")


def breaker_pause(failures: int, jitter: float) -> int | None:
    """The pause after so many failed polls in a row, in milliseconds; None while the circuit breaker is closed."""
    if failures < BREAKER_OPENS_AT:
        return None
    return capped_exponential(failures - BREAKER_OPENS_AT + 1, 15 * SECOND, 5 * MINUTE, jitter)


def _was_started(job: ScenarioJob | None) -> bool:
    return job is not None and (job.status == "processing" or job.started_at is not None)


def _ended(watch: Watch, state: WatchState, now: Instant) -> Watch:
    return replace(watch, state=state, next_poll_at=None, next_poll_reason="", ended_at=now)


def _wait(watch: Watch, at: Instant, reason: str, error: str) -> Watch:
    return replace(watch, next_poll_at=at, next_poll_reason=reason, last_error=error)


def _wait_or_expire(
    watch: Watch, next: NextPoll, now: Instant, deadline: Instant, events: tuple[EventType, ...] = ()
) -> Transition:
    if now >= deadline:
        return Transition(_ended(watch, WatchState.EXPIRED, now), (*events, EventType.EXPIRED))
    return Transition(
        replace(watch, next_poll_at=min(max(next.at, now), deadline), next_poll_reason=next.reason), events
    )


def _not_found(watch: Watch, now: Instant, counted_from: Instant) -> Transition:
    watch = replace(
        watch, not_found_count=watch.not_found_count + 1, not_found_since=watch.not_found_since or now, failures=0
    )
    since = max(watch.not_found_since or now, counted_from)
    min_age, gaps = (NOT_FOUND_MIN_AGE, _NOT_FOUND_GAPS) if watch.job is None else _FOUND_BEFORE
    if watch.not_found_count >= NOT_FOUND_MIN_POLLS and now - since >= min_age:
        return Transition(_ended(watch, WatchState.NOT_FOUND, now), (EventType.NOT_FOUND,))
    gap = gaps[min(watch.not_found_count, len(gaps)) - 1]
    if watch.job is None:
        number = min(watch.not_found_count, NOT_FOUND_MIN_POLLS)
        reason = f"Exec does not know the job yet ({number} of {NOT_FOUND_MIN_POLLS} polls)"
    else:
        reason = f"Exec knew the job and now answers 404; it is given up if that lasts {min_age // HOUR} hours"
    return Transition(_wait(watch, now + gap, reason, "Exec answered 404"))
