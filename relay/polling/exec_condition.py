"""Exec's condition as a whole, as polls show it: what the log and the operator's endpoints report."""

from relay.model import ScenarioJob
from relay.model.poll_result import JobFound, JobNotFound, PollFailed, PollResult, RateLimited, Unauthorized
from relay.telemetry.state_changes import WORKING, Condition, State

FAILURES_REPORTED = 3
"""So many failed polls in a row, over all jobs of a workspace, are reported: one or two are normal."""

PENDING_STATUSES = frozenset(["queued", "processing"])

_STATE_OF_KIND = {
    "timeout": State.UNREACHABLE,
    "connection": State.UNREACHABLE,
    "status": State.ANSWERS_ERRORS,
}


class ExecHealth:
    """Counts the failed polls in a row of one workspace, in this process."""

    def __init__(self) -> None:
        self._failures = 0

    def after_poll(self, result: PollResult) -> Condition | None:
        """Exec's condition after a poll; None if the poll does not change it."""
        match result:
            case JobFound() | JobNotFound():
                self._failures = 0
                return WORKING
            case Unauthorized(status, message):
                return Condition(State.KEY_REFUSED, f"{status}, {message}")
            case PollFailed(kind, detail, is_foreign) if kind != "internal":
                self._failures += 1
                if self._failures >= FAILURES_REPORTED:
                    state = State.NOT_EXEC if is_foreign else _STATE_OF_KIND.get(kind, State.NOT_EXEC)
                    return Condition(state, f"{self._failures} polls in a row failed, the last with: {detail}")
        return None


def rate_limit_condition(result: PollResult) -> Condition | None:
    """Whether Exec's rate limit stops the workspace; None if the poll does not say."""
    if isinstance(result, RateLimited):
        wait = "" if result.retry_after is None else f"it asks to wait {result.retry_after / 1_000:.0f} s"
        return Condition(State.RATE_LIMITED, wait)
    return WORKING if isinstance(result, JobFound | JobNotFound) else None


def is_unknown_status(job: ScenarioJob) -> bool:
    """Whether Exec's documentation does not name the job's status."""
    return job.final_event is None and job.status not in PENDING_STATUSES
