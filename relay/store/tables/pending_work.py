"""What waits to be done, as a tick asks first: one statement, and one for each workspace, however much waits."""

from dataclasses import dataclass

from sqlalchemy import bindparam, exists, func, select

from relay.model import Instant
from relay.store.engine.database import Tx
from relay.store.engine.schema import deliveries, replays, sending, watches, workspaces
from relay.store.tables.event_feed import OLDEST_UNNUMBERED
from relay.store.tables.sending import Suspension

_DUE_DELIVERY = select(func.min(deliveries.c.next_attempt_at)).where(deliveries.c.next_attempt_at.is_not(None))
_WORK = select(
    select(sending.c.suspended_at).scalar_subquery().label("suspended_at"),
    select(sending.c.reason).scalar_subquery().label("reason"),
    _DUE_DELIVERY.scalar_subquery().label("delivery_due_at"),
    OLDEST_UNNUMBERED.scalar_subquery().label("unnumbered_since"),
    exists(select(replays.c.id).where(replays.c.ended_at.is_(None))).label("is_replaying"),
)
_OF_WORKSPACE = workspaces.c.name == bindparam("of")
_POLLS = select(
    select(func.min(watches.c.next_poll_at))
    .where(watches.c.workspace == bindparam("of"), watches.c.next_poll_at.is_not(None))
    .scalar_subquery()
    .label("due_at"),
    select(workspaces.c.paused_until).where(_OF_WORKSPACE).scalar_subquery().label("paused_until"),
    select(workspaces.c.ledger).where(_OF_WORKSPACE).scalar_subquery().label("ledger"),
)


@dataclass(frozen=True, slots=True)
class PendingWork:
    """What waits, besides polls."""

    suspension: Suspension | None
    """Since when and why nothing is sent; None if deliveries are sent."""
    delivery_due_at: Instant | None
    """When the next attempt of a delivery is due; None if none is planned."""
    unnumbered_since: Instant | None
    """When the oldest event was created that has no position in the feed yet; None if all have one."""
    is_replaying: bool
    """Whether a replay goes on."""


@dataclass(frozen=True, slots=True)
class PendingPolls:
    """What decides whether a workspace is polled now."""

    due_at: Instant | None
    """When its next poll is due; None if none is planned."""
    paused_until: Instant | None
    ledger: str | None
    """The spent requests, as stored: `workspaces.decode_ledger` reads them."""


def find(tx: Tx) -> PendingWork:
    """What waits, besides polls."""
    row = tx.execute(_WORK).one()
    suspension = None if row.suspended_at is None else Suspension(row.suspended_at, row.reason or "")
    return PendingWork(suspension, row.delivery_due_at, row.unnumbered_since, row.is_replaying)


def polls(tx: Tx, workspace: str) -> PendingPolls:
    """The next poll of a workspace, and what may hold it up."""
    return PendingPolls(*tx.execute(_POLLS, {"of": workspace}).one())
