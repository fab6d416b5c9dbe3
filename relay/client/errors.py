"""The client's errors."""

from relay.client.results import Job
from relay.errors import RelayError


class ClientError(RelayError):
    """Base of all below."""


class ApiError(ClientError):
    """The relay refused the request."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field


class CursorGone(ApiError):
    """Events after the cursor may be missing: it is older than the retention, or the database was restored.

    Nothing is skipped without a decision: go on with `oldest_cursor`, or with `newest_cursor` to leave them out.
    """

    def __init__(self, message: str, oldest_cursor: str, newest_cursor: str) -> None:
        super().__init__(410, "cursor_gone", message, "after")
        self.oldest_cursor, self.newest_cursor = oldest_cursor, newest_cursor


class Unreachable(ClientError):
    """No relay answers at the address."""


class WaitTimeout(ClientError):
    """The job has not ended in time. It goes on; `job` is what was last known of it, None if nothing."""

    def __init__(self, job_id: str, job: Job | None) -> None:
        super().__init__(f"job {job_id} has not ended in time")
        self.job_id, self.job = job_id, job
