"""A workspace's status: its requests, what the relay learned of its jobs, and whether it is paused."""

from dataclasses import dataclass

from relay.model import Instant
from relay.polling import request_budget
from relay.polling.request_budget import RateLimit
from relay.polling.schedule import job_durations
from relay.polling.schedule.policy import PollPolicy
from relay.store import Tx
from relay.store.tables import watches, workspaces

COUNTED = 100_000
"""Maximum number of watches and deliveries that are counted. A greater number would tell an operator nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceStatus:
    """What the API and the dashboard show of a workspace. Durations and the price are in seconds."""

    name: str
    rate_limit: RateLimit
    remaining: request_budget.Remaining
    opens_at: Instant
    """When the budget allows the next poll; now or earlier if it allows one now."""
    sample_size: int
    """The number of ended jobs from which the durations were learned."""
    median: float
    p90: float
    median_queue_seconds: float
    price: float | None
    next_poll_at: Instant | None
    paused_until: Instant | None
    pause_reason: str | None


def count_watched_jobs(tx: Tx, name: str) -> int:
    """Counts the jobs that the workspace watches, up to 100,000. It is the only part of the status that costs more
    with more jobs."""
    return watches.count_active(tx, name, COUNTED)


def load_workspace_status(
    tx: Tx, name: str, rate_limit: RateLimit, policy: PollPolicy | None, now: Instant
) -> WorkspaceStatus:
    """Reads the workspace's status; `policy` is its current poll policy, None before the first poll."""
    state = workspaces.get(tx, name)
    ledger, durations = state.ledger, state.durations
    distribution = policy.distribution if policy else job_durations.fit_distribution(durations)
    is_paused = state.paused_until is not None and state.paused_until > now
    return WorkspaceStatus(
        name=name,
        rate_limit=rate_limit,
        remaining=request_budget.remaining(ledger, rate_limit, now),
        opens_at=max(request_budget.next_allowed_at(ledger, rate_limit, now), state.paused_until or 0),
        sample_size=len(durations.completed),
        median=distribution.median,
        p90=distribution.p90,
        median_queue_seconds=job_durations.median_queue_time(durations),
        price=policy.price if policy else None,
        next_poll_at=watches.next_due(tx, name),
        paused_until=state.paused_until if is_paused else None,
        pause_reason=state.pause_reason if is_paused else None,
    )
