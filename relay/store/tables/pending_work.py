"""What waits to be done, as a tick asks first: one statement, however much waits."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import exists, func, literal, null, select, true

from relay.model import Instant
from relay.store.engine import dialect
from relay.store.engine.database import Tx
from relay.store.engine.schema import deliveries, replays, sending, watches, workspaces
from relay.store.tables import watches as watching
from relay.store.tables.event_feed import OLDEST_UNNUMBERED
from relay.store.tables.sending import Suspension

_NEXT_POLL = (
    select(func.min(watches.c.next_poll_at))
    .where(watches.c.workspace == workspaces.c.name, watches.c.next_poll_at.is_not(None))
    .correlate(workspaces)
)
_NEXT_ATTEMPT = select(func.min(deliveries.c.next_attempt_at)).where(deliveries.c.next_attempt_at.is_not(None))
_ONE = select(literal(1).label("one")).subquery()
_FOUND = select(
    select(sending.c.suspended_at).scalar_subquery().label("suspended_at"),
    select(sending.c.reason).scalar_subquery().label("reason"),
    _NEXT_ATTEMPT.scalar_subquery().label("delivery_due_at"),
    exists(select(replays.c.id).where(replays.c.ended_at.is_(None))).label("is_replaying"),
    workspaces.c.name,
    _NEXT_POLL.scalar_subquery().label("poll_due_at"),
    workspaces.c.paused_until,
    workspaces.c.ledger,
).select_from(_ONE.outerjoin(workspaces, true()))
_ASK = _FOUND.add_columns(null().label("unnumbered_since"))
_ASK_MANY_WRITERS = _FOUND.add_columns(OLDEST_UNNUMBERED.scalar_subquery().label("unnumbered_since"))
"""A row for each workspace, or one without a name if there is none; what is of no workspace is in all of them."""


@dataclass(frozen=True, slots=True)
class PendingPolls:
    """What decides whether a workspace is polled now."""

    due_at: Instant | None
    """When its next poll is due; None if none is planned."""
    paused_until: Instant | None
    ledger: str | None
    """The spent requests, as stored: `workspaces.decode_ledger` reads them."""


@dataclass(frozen=True, slots=True)
class PendingWork:
    """What waits."""

    suspension: Suspension | None
    """Since when and why nothing is sent; None if deliveries are sent."""
    delivery_due_at: Instant | None
    """When the next attempt of a delivery is due; None if none is planned."""
    unnumbered_since: Instant | None
    """When the oldest event was created that has no position in the feed yet; None if all have one, as in a
    database with one writer."""
    is_replaying: bool
    """Whether a replay goes on."""
    polls: Mapping[str, PendingPolls]
    """By workspace; one that no relay has locked yet is left out, so ask `polls_of`."""


def find(tx: Tx) -> PendingWork:
    """What waits."""
    rows = tx.execute(_ASK if dialect.has_one_writer(tx) else _ASK_MANY_WRITERS).all()
    row = rows[0]
    return PendingWork(
        suspension=None if row.suspended_at is None else Suspension(row.suspended_at, row.reason or ""),
        delivery_due_at=row.delivery_due_at,
        unnumbered_since=row.unnumbered_since,
        is_replaying=row.is_replaying,
        polls={
            one.name: PendingPolls(one.poll_due_at, one.paused_until, one.ledger)
            for one in rows
            if one.name is not None
        },
    )


def polls_of(tx: Tx, workspace: str, found: Mapping[str, PendingPolls]) -> PendingPolls:
    """What decides whether a workspace is polled now; `found` is what `find` has found in this transaction."""
    return found.get(workspace) or PendingPolls(watching.next_due(tx, workspace), None, None)
