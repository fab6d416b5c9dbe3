"""Watches: the jobs that the relay polls."""

from dataclasses import dataclass
from enum import StrEnum

from relay.model.job import ScenarioJob
from relay.times import Instant

HELD_REASON = "Exec has to confirm other jobs of the same API key first"
"""The reason of the next poll of a job that waits for a slot of `relay.polling.unconfirmed_jobs`."""


class WatchState(StrEnum):
    """`active` is polled; the others are not."""

    ACTIVE = "active"
    SETTLED = "settled"  # Exec reported its end
    NOT_FOUND = "not_found"  # Exec does not know it
    EXPIRED = "expired"  # not ended within polling.max_age
    WITHDRAWN = "withdrawn"  # no registration waits for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The relay's polling record of one job."""

    workspace: str
    job_id: str
    state: WatchState
    created_at: Instant
    job: ScenarioJob | None = None
    """The job as of the last successful poll; None before it."""
    polls: int = 0
    last_poll_at: Instant | None = None
    next_poll_at: Instant | None = None
    """None unless `active`."""
    next_poll_reason: str = ""
    failures: int = 0
    """Failed polls since the last successful one."""
    not_found_count: int = 0
    """Polls in a row that Exec answered with 404."""
    not_found_since: Instant | None = None
    last_error: str | None = None
    ended_at: Instant | None = None
    """When the watch left `active`."""
    exec_callback: bool = False
    """Exec has the relay's callback URL for this job: until the callback, only fallback polls are made."""
    callback_received_at: Instant | None = None
    """When Exec's callback, which is only a hint, was last accepted."""
    unconfirmed_hints: int = 0
    """Hints in a row that a poll did not confirm."""
    unconfirmed_since: Instant | None = None
    """When a hint named an unregistered job. None once a poll finds the job or it is registered."""
    given_up_event_id: str | None = None
    """The `job.not_found` or `job.expired` that an earlier watch of the job ended with: its real ending replaces it."""
    trace: str | None = None
    """The trace context of the registration that created the watch (`relay.telemetry.trace_context`)."""
    owner: str | None = None
    """The name of the API key that registered the job: the last one while Exec has not confirmed it. None if no key
    did, for instance if Exec's callback named the job."""

    @property
    def is_unconfirmed(self) -> bool:
        """Whether no poll has answered since the registration: the job id may be wrong."""
        return self.job is None and not self.not_found_count and not self.failures

    @property
    def has_pending_hint(self) -> bool:
        """Whether a hint was received after the last poll."""
        return self.callback_received_at is not None and (
            self.last_poll_at is None or self.last_poll_at < self.callback_received_at
        )
