"""The result of creating a job at Exec. `polling/exec_client.py` turns each answer into one of these values."""

from dataclasses import dataclass

from relay.model import ScenarioJob


@dataclass(frozen=True, slots=True)
class JobCreated:
    """Exec has the job, created now or by an earlier call with the same request_id."""

    job: ScenarioJob


@dataclass(frozen=True, slots=True)
class JobRejected:
    """Exec created no job; `message` is its reason."""

    status: int
    code: str
    message: str
    """For people; contains no key."""
    retry_after: int | None = None
    """Milliseconds to wait, if Exec asks for it."""


@dataclass(frozen=True, slots=True)
class JobCreationUnknown:
    """No usable answer: the job may or may not have been created."""

    kind: str
    """`status`, `timeout`, `connection` or `malformed`, as `PollFailed.kind`."""
    detail: str


CreateJobResult = JobCreated | JobRejected | JobCreationUnknown


def creation_outcome(result: CreateJobResult) -> str:
    """`created`, `rejected` or `unknown`, for the metric's label."""
    match result:
        case JobCreated():
            return "created"
        case JobRejected():
            return "rejected"
        case JobCreationUnknown():
            return "unknown"
