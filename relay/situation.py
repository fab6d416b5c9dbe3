"""How a workspace is placed: its requests, what was learned of its jobs, and whether it waits."""

from dataclasses import dataclass

from relay import budget, durations
from relay.budget import Allowance
from relay.model import Instant
from relay.pace import Pace, read_durations, read_ledger
from relay.store import watches, workspaces
from relay.store.database import Tx

COUNTED = 100_000
"""Watches and deliveries that are counted; of more, as of an outage's, a number says no more than this one does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is shown of a workspace. Durations and the price in seconds."""

    name: str
    allowance: Allowance
    left: budget.Left
    opens_at: Instant
    """When the budget allows the next look; now or earlier where it does."""
    seen: int
    """Ended jobs that the durations were learned of."""
    median: float
    p90: float
    queued: float
    price: float | None
    next_look_at: Instant | None
    paused_until: Instant | None
    paused_because: str | None


def active(tx: Tx, name: str) -> int:
    """How many jobs the workspace watches, counted up to 100,000: of all that is told of it this alone costs more with
    more of them."""
    return watches.count_active(tx, name, COUNTED)


def situation(tx: Tx, name: str, allowance: Allowance, pace: Pace | None, now: Instant) -> Situation:
    """How the workspace is placed; `pace` is how closely it is looked at for now, None where nothing has been yet."""
    state = workspaces.get(tx, name)
    ledger, known = read_ledger(state.ledger), read_durations(state.durations)
    law = pace.law if pace else durations.law(known)
    waits = state.paused_until is not None and state.paused_until > now
    return Situation(
        name=name,
        allowance=allowance,
        left=budget.left(ledger, allowance, now),
        opens_at=max(budget.opens_at(ledger, allowance, now), state.paused_until or 0),
        seen=len(known.seen),
        median=law.median,
        p90=law.p90,
        queued=durations.usual_wait(known),
        price=pace.price if pace else None,
        next_look_at=watches.next_due(tx, name),
        paused_until=state.paused_until if waits else None,
        paused_because=state.pause_reason if waits else None,
    )
