"""Watches: what the relay remembers of the jobs that it polls."""

from dataclasses import dataclass
from enum import StrEnum

from relay.model.job import ScenarioJob
from relay.times import Instant


class WatchState(StrEnum):
    """`active` is polled; the others are not."""

    ACTIVE = "active"
    SETTLED = "settled"  # Exec said how it ended
    NOT_FOUND = "not_found"  # Exec does not know it
    EXPIRED = "expired"  # not ended within polling.max_age
    WITHDRAWN = "withdrawn"  # nobody waits for it any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The relay's polling record of one job."""

    workspace: str
    job_id: str
    state: WatchState
    created_at: Instant
    job: ScenarioJob | None = None
    """As last seen at Exec; None before the first good poll."""
    polls: int = 0
    last_poll_at: Instant | None = None
    next_poll_at: Instant | None = None
    """None unless `active`."""
    next_poll_reason: str = ""
    failures: int = 0
    """Failed polls since the last good one."""
    not_found_count: int = 0
    """Polls in a row that Exec answered with 404."""
    not_found_since: Instant | None = None
    last_error: str | None = None
    ended_at: Instant | None = None
    """When the watch left `active`."""
    exec_callback: bool = False
    """Exec was given the relay's callback with this job: until it comes, only safety polls are made."""
    callback_received_at: Instant | None = None
    """When Exec's callback, which is only a hint, was last heeded."""
    unconfirmed_hints: int = 0
    """Hints in a row that a poll did not bear out."""
    unconfirmed_since: Instant | None = None
    """When a hint named a job that nobody had registered; None once Exec knows the job, or somebody registers it."""
    trace: str | None = None
    """That of the registration which began the watch, as `relay.telemetry.trace_context` has it."""

    @property
    def has_pending_hint(self) -> bool:
        """Whether a hint came that no poll was made for since."""
        return self.callback_received_at is not None and (
            self.last_poll_at is None or self.last_poll_at < self.callback_received_at
        )
