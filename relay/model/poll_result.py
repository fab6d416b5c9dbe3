"""The result of polling Exec for one job. `polling/exec_client.py` turns each answer into one of these values."""

from dataclasses import dataclass

from relay.model.job import ScenarioJob
from relay.times import Instant


@dataclass(frozen=True, slots=True)
class JobFound:
    """200 with a job."""

    job: ScenarioJob
    date: Instant | None = None
    """When Exec answered, by its own clock: the `Date` header, in whole seconds; None if there is none."""
    left_out: tuple[str, ...] = ()
    """Names of the fields that the relay left out of the job, because the answer was too long to be passed on whole."""


@dataclass(frozen=True, slots=True)
class JobNotFound:
    """404: Exec does not know the job, or not yet."""


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """401 or 403: the workspace's key is wrong, or the workspace is inactive."""

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class RateLimited:
    """429: the workspace has no requests left."""

    retry_after: int | None
    """Milliseconds to wait, if Exec says so (`retry_after` in the body or `Retry-After`, seconds or date)."""


@dataclass(frozen=True, slots=True)
class PollFailed:
    """No usable answer: 5xx, timeout, connection error, or a 200 without a job."""

    kind: str
    """`status`, `timeout`, `connection`, `malformed`, `internal` (a fault of the relay): a bounded set, fit for a
    metric's label."""
    detail: str
    """For people; contains no secret."""
    is_foreign: bool = False
    """Whether something other than Exec answered, such as a gateway or a login page."""


PollResult = JobFound | JobNotFound | Unauthorized | RateLimited | PollFailed


@dataclass(frozen=True, slots=True)
class Poll:
    """One GET of a job's status, with its result."""

    started_at: Instant
    duration_ms: int
    result: PollResult


_FAILURES = ("timeout", "connection", "status", "malformed", "internal")

OUTCOMES = ("seen", "ended", "missing", "unauthorized", "rate_limited", *_FAILURES)
"""All values of `outcome_label`."""


def outcome_label(poll_result: PollResult) -> str:
    """The outcome as a word of a bounded set, for the metric's label and the history of polls."""
    match poll_result:
        case JobFound():
            return "ended" if is_terminal(poll_result) else "seen"
        case JobNotFound():
            return "missing"
        case Unauthorized():
            return "unauthorized"
        case RateLimited():
            return "rate_limited"
        case PollFailed(kind):
            return kind


def is_terminal(poll_result: PollResult) -> bool:
    """Whether the job has ended."""
    return isinstance(poll_result, JobFound) and poll_result.job.final_event is not None


def detail_of(poll_result: PollResult) -> str:
    """The detail of a poll in the history: Exec's status of the job, or the failure."""
    match poll_result:
        case JobFound(job):
            return job.status
        case PollFailed(detail=detail):
            return detail
        case _:
            return ""
