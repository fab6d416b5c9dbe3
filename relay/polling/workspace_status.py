"""How a workspace is placed: its requests, what was learned of its jobs, and whether it waits."""

from dataclasses import dataclass

from relay.model import Instant
from relay.polling import request_budget
from relay.polling.request_budget import RateLimit
from relay.polling.schedule import job_durations
from relay.polling.schedule.policy import PollPolicy
from relay.store.engine.database import Tx
from relay.store.tables import watches, workspaces

COUNTED = 100_000
"""Watches and deliveries that are counted; of more, as of an outage's, a number says no more than this one does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceStatus:
    """What is shown of a workspace. Durations and the price in seconds."""

    name: str
    allowance: RateLimit
    left: request_budget.Remaining
    opens_at: Instant
    """When the budget allows the next poll; now or earlier where it does."""
    sample_size: int
    """Ended jobs that the durations were learned of."""
    median: float
    p90: float
    median_queue_seconds: float
    price: float | None
    next_poll_at: Instant | None
    paused_until: Instant | None
    pause_reason: str | None


def count_watched_jobs(tx: Tx, name: str) -> int:
    """How many jobs the workspace watches, counted up to 100,000: of all that is told of it this alone costs more with
    more of them."""
    return watches.count_active(tx, name, COUNTED)


def workspace_status(
    tx: Tx, name: str, allowance: RateLimit, policy: PollPolicy | None, now: Instant
) -> WorkspaceStatus:
    """How the workspace is placed; `pace` is how closely it is polled for now, None where nothing has been yet."""
    state = workspaces.get(tx, name)
    ledger, known = state.ledger, state.durations
    law = policy.law if policy else job_durations.fit_distribution(known)
    waits = state.paused_until is not None and state.paused_until > now
    return WorkspaceStatus(
        name=name,
        allowance=allowance,
        left=request_budget.remaining(ledger, allowance, now),
        opens_at=max(request_budget.next_allowed_at(ledger, allowance, now), state.paused_until or 0),
        sample_size=len(known.completed),
        median=law.median,
        p90=law.p90,
        median_queue_seconds=job_durations.median_queue_time(known),
        price=policy.price if policy else None,
        next_poll_at=watches.next_due(tx, name),
        paused_until=state.paused_until if waits else None,
        pause_reason=state.pause_reason if waits else None,
    )
