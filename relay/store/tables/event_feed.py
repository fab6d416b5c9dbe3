"""The order of the events: each gets the next position, without gaps, once it is committed.

A number that is drawn while an event is inserted may commit after a higher one, and a reader that has passed it never
sees the event. So on PostgreSQL a transaction of its own numbers what others have committed (`number`). Row `head` is
locked for it: positions become visible in their order, a rollback leaves no gap, and a transaction that stays open
holds back its own event alone. SQLite has one writer, which numbers an event as it inserts it.
"""

import secrets
from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from relay.model import OPERATOR_WORKSPACE, Instant
from relay.store.engine import dialect
from relay.store.engine.database import Tx
from relay.store.engine.schema import event_feed, events

BATCH = 500
"""Maximum number of events that one transaction numbers."""

_HEAD, _PRUNED = "head", "pruned"
_IDENTITY_BYTES = 8

_UNNUMBERED = (events.c.position.is_(None), events.c.workspace != OPERATOR_WORKSPACE)
_LOCK_HEAD = select(event_feed.c.position).where(event_feed.c.name == _HEAD).with_for_update(skip_locked=True)
_OLDEST_FIRST = (events.c.created_at, events.c.id)
_NEXT_UNNUMBERED = select(events.c.id).where(*_UNNUMBERED).order_by(*_OLDEST_FIRST).limit(BATCH)
_SET_HEAD = update(event_feed).where(event_feed.c.name == _HEAD).values(position=bindparam("position_"))
_RAISE_HEAD = (
    update(event_feed)
    .where(event_feed.c.name == _HEAD)
    .values(position=event_feed.c.position + 1)
    .returning(event_feed.c.position)
)
_SET_POSITION = update(events).where(events.c.id == bindparam("of")).values(position=bindparam("number_"))
"""Statements of every event, built once: building one costs more than running it."""

OLDEST_UNNUMBERED = select(events.c.created_at).where(*_UNNUMBERED).order_by(*_OLDEST_FIRST).limit(1)
"""When the oldest event was created that has no position yet."""


@dataclass(frozen=True, slots=True)
class FeedState:
    """Which feed it is, and the positions that it has."""

    identity: str
    head: int
    """The newest position; 0 while there is none."""
    pruned: int
    """The newest position that retention deleted; 0 if none."""


def state(tx: Tx) -> FeedState | None:
    """The state of the feed; None before its first event or reader."""
    rows = {row.name: row for row in tx.execute(select(event_feed))}
    if _HEAD not in rows:
        return None
    pruned = rows[_PRUNED].position if _PRUNED in rows else 0
    return FeedState(rows[_HEAD].identity, rows[_HEAD].position, pruned)


def ensure(tx: Tx) -> FeedState:
    """The state of the feed, which is made if there is none.

    It gets a new identity if its rows came from another database, by a restore. Then it locks row `head`.
    """
    _create(tx)
    storage = dialect.storage_identity(tx)
    from_elsewhere = (event_feed.c.name == _HEAD, event_feed.c.storage != storage)
    tx.execute(update(event_feed).where(*from_elsewhere), {"identity": _new_identity(), "storage": storage})
    feed_state = state(tx)
    if feed_state is None:
        raise RuntimeError("the feed was made and is not there")
    return feed_state


def _create(tx: Tx) -> None:
    storage = dialect.storage_identity(tx)
    row = {"name": _HEAD, "position": 0, "identity": _new_identity(), "storage": storage}
    dialect.insert_new(tx, event_feed, [row])


def _new_identity() -> str:
    return secrets.token_hex(_IDENTITY_BYTES)


def adopt(tx: Tx) -> None:
    """The feed came here with all of its events: it stays the same feed, in this database."""
    storage = {"storage": dialect.storage_identity(tx)}
    tx.execute(update(event_feed).where(event_feed.c.name == _HEAD), storage)


def number(tx: Tx) -> bool:
    """Numbers committed events, oldest first. False if some are left: many wait, or another relay is numbering.

    Locks row `head`, but never waits for it: the writer commits this with other work, and would cause deadlocks.
    """
    head = tx.execute(_LOCK_HEAD).scalar()
    if head is None:
        if state(tx) is None:  # to insert the row while another transaction changes it would wait for that one
            _create(tx)
        return False
    ids = tx.execute(_NEXT_UNNUMBERED).scalars().all()
    if ids:
        tx.execute(_SET_POSITION, [{"of": id, "number_": head + offset} for offset, id in enumerate(ids, 1)])
        tx.execute(_SET_HEAD, {"position_": head + len(ids)})
    return len(ids) < BATCH


def number_inserted(tx: Tx, id: str) -> None:
    """Numbers the event that this transaction has inserted, if the database has one writer: no other can commit before
    it."""
    if not dialect.has_one_writer(tx):
        return
    while (position := tx.execute(_RAISE_HEAD).scalar()) is None:
        _create(tx)
    tx.execute(_SET_POSITION, {"of": id, "number_": position})


def oldest_unnumbered(tx: Tx) -> Instant | None:
    """When the oldest event was created that has no position yet; None if all have one."""
    return tx.execute(OLDEST_UNNUMBERED).scalar()


def record_pruned(tx: Tx, position: int) -> None:
    """Retention deletes events up to this position: cursors before it are too old."""
    row = {"name": _PRUNED, "position": position, "identity": None, "storage": None}
    dialect.raise_to(tx, event_feed, event_feed.c.position, row)
