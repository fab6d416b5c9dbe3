"""Watches: what the relay remembers of the jobs that it looks at."""

from dataclasses import dataclass
from enum import StrEnum

from relay.model.jobs import ScenarioJob
from relay.times import Instant


class WatchState(StrEnum):
    """`active` is looked at; the others are not."""

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
    """As last seen at Exec; None before the first good look."""
    looks: int = 0
    last_look_at: Instant | None = None
    next_look_at: Instant | None = None
    """None unless `active`."""
    next_look_why: str = ""
    failures: int = 0
    """Failed looks since the last good one."""
    missing: int = 0
    """Looks in a row that Exec answered with 404."""
    missing_since: Instant | None = None
    last_error: str | None = None
    ended_at: Instant | None = None
    """When the watch left `active`."""
    exec_callback: bool = False
    """Exec was given the relay's callback with this job: until it comes, only safety looks are made."""
    hinted_at: Instant | None = None
    """When Exec's callback, which is only a hint, was last heeded."""
    hints: int = 0
    """Hints in a row that a look did not bear out."""
    unconfirmed_since: Instant | None = None
    """When a hint named a job that nobody had registered; None once Exec knows the job, or somebody registers it."""
    trace: str | None = None
    """That of the registration which began the watch, as `relay.traces` has it."""

    @property
    def is_hinted(self) -> bool:
        """Whether a hint came that no look was made for since."""
        return self.hinted_at is not None and (self.last_look_at is None or self.last_look_at < self.hinted_at)
