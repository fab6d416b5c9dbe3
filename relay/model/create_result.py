"""Creating a job at Exec: what may come of it. The adapter (`polling/exec_client.py`) turns Exec's answer into one of
these."""

from dataclasses import dataclass

from relay.model import ScenarioJob


@dataclass(frozen=True, slots=True)
class JobCreated:
    """Exec has the job: made now, or by an earlier call with the same request_id."""

    job: ScenarioJob


@dataclass(frozen=True, slots=True)
class JobRejected:
    """Exec made no job, and said why, in its own words."""

    status: int
    code: str
    message: str
    """For people; holds no key."""
    retry_after: int | None = None
    """Milliseconds, where Exec asked for them."""


@dataclass(frozen=True, slots=True)
class JobCreationUnknown:
    """No usable answer: the job may have been made, or not."""

    kind: str
    """`status`, `timeout`, `connection` or `malformed`, as of a poll's fault."""
    detail: str


CreateJobResult = JobCreated | JobRejected | JobCreationUnknown
