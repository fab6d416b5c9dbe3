"""Replays: what is sent again to an endpoint, a few deliveries at a time.

A replay's row is locked before its endpoint and its deliveries.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Row, bindparam, delete, select, update

from relay.model import DeliveryStatus, Instant, Replay
from relay.store.engine import paging
from relay.store.engine.database import Tx
from relay.store.engine.schema import deliveries, replays
from relay.store.tables.deliveries import RESET_FOR_RESEND
from relay.store.tables.filters import DeliveryFilter
from relay.store.tables.outbox import IS_IN_DIGEST

REPLAY = "replay"
"""The trigger of a delivery that a replay made due."""

_ORDER = (deliveries.c.created_at, deliveries.c.id)
_ACTIVE = replays.c.ended_at.is_(None)
_FIND_ACTIVE = select(replays.c.id).where(_ACTIVE).order_by(replays.c.created_at).limit(bindparam("limit"))


def _replay(row: Row[Any]) -> Replay:
    return Replay(**row._mapping)


def add(tx: Tx, replay: Replay) -> None:
    """Adds a replay."""
    tx.execute(replays.insert(), asdict(replay))


def active(tx: Tx, limit: int) -> Sequence[str]:
    """The ids of replays that have not ended, the oldest first."""
    return tx.execute(_FIND_ACTIVE, {"limit": limit}).scalars().all()


def active_of(tx: Tx, endpoint_id: str) -> Replay | None:
    """The replay of an endpoint that has not ended."""
    row = tx.execute(select(replays).where(_ACTIVE, replays.c.endpoint_id == endpoint_id).limit(1)).one_or_none()
    return _replay(row) if row else None


def of_endpoint(tx: Tx, endpoint_id: str, limit: int) -> list[Replay]:
    """The newest replays of an endpoint."""
    query = select(replays).where(replays.c.endpoint_id == endpoint_id)
    return [_replay(row) for row in tx.execute(query.order_by(replays.c.created_at.desc()).limit(limit))]


def lock_active(tx: Tx, id: str) -> Replay | None:
    """The replay, locked; None if it ended or another transaction works on it."""
    query = select(replays).where(_ACTIVE, replays.c.id == id).with_for_update(skip_locked=True)
    row = tx.execute(query).one_or_none()
    return _replay(row) if row else None


def stop(tx: Tx, endpoint_id: str, now: Instant, reason: str) -> int:
    """Ends the replay of an endpoint. What it has made due is still sent. Returns how many there were."""
    query = update(replays).where(_ACTIVE, replays.c.endpoint_id == endpoint_id)
    return tx.execute(query, {"ended_at": now, "reason": reason}).rowcount


def stop_all(tx: Tx, now: Instant, reason: str) -> None:
    """As `stop`, for all endpoints."""
    tx.execute(update(replays).where(_ACTIVE), {"ended_at": now, "reason": reason})


def end(tx: Tx, replay: Replay, now: Instant, reason: str | None = None) -> None:
    """Records the end of a locked replay."""
    tx.execute(update(replays).where(replays.c.id == replay.id), {"ended_at": now, "reason": reason})


def filter_of(replay: Replay) -> DeliveryFilter:
    """What it sends: deliveries that were delivered in its time."""
    return DeliveryFilter(
        status=DeliveryStatus.DELIVERED,
        endpoint_id=replay.endpoint_id,
        ended_since=replay.since,
        ended_before=replay.until - 1,
    )


def send_next(tx: Tx, replay: Replay, now: Instant, limit: int) -> Replay:
    """Makes the next `limit` deliveries of a locked replay due, oldest first, and records how far it is.

    Reads a bounded number of rows, so it may make none due, and yet not be at its end. The caller holds the endpoint.
    """
    after = None if replay.walked_at is None or replay.walked_id is None else (replay.walked_at, replay.walked_id)
    selected = filter_of(replay)
    query = select(*_ORDER).where(*selected.indexed)
    end_of_step = paging.walk_end(tx, query, _ORDER, after)
    matching = paging.walk(query, _ORDER, after, end_of_step).where(*selected.unindexed, ~IS_IN_DIGEST)
    rows = tx.execute(matching.limit(limit)).all()
    ids = _lock(tx, [row.id for row in rows])
    if ids:
        values = {**RESET_FOR_RESEND, "next_attempt_at": now, "trigger": REPLAY, "triggered_by": replay.triggered_by}
        tx.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(**values))
    position = (rows[-1].created_at, rows[-1].id) if len(rows) == limit else end_of_step
    changed = replace(replay, sent=replay.sent + len(ids), ended_at=now if position is None else None)
    if position is not None:
        changed = replace(changed, walked_at=position[0], walked_id=position[1])
    tx.execute(update(replays).where(replays.c.id == replay.id), asdict(changed))
    return changed


def _lock(tx: Tx, ids: Sequence[str]) -> Sequence[str]:
    """Locks those of the deliveries that are still delivered."""
    delivered = DeliveryFilter(status=DeliveryStatus.DELIVERED)
    query = select(deliveries.c.id).where(deliveries.c.id.in_(ids), *delivered.all_tested)
    return tx.execute(query.order_by(deliveries.c.id).with_for_update()).scalars().all() if ids else []


def under_way(tx: Tx, endpoint_id: str, now: Instant, limit: int) -> tuple[int, bool]:
    """How many deliveries of an endpoint are due or being sent, counted up to `limit`, and whether one that no replay
    made due waits to be sent."""
    # Those that wait for a later attempt come last in the index: leases are short.
    query = (
        select(deliveries.c.leased_by, deliveries.c.next_attempt_at, deliveries.c.trigger)
        .where(deliveries.c.endpoint_id == endpoint_id, deliveries.c.next_attempt_at.is_not(None))
        .order_by(deliveries.c.next_attempt_at)
        .limit(2 * limit)
    )
    rows = tx.execute(query).all()
    due = [row for row in rows if row.leased_by is None and row.next_attempt_at <= now]
    in_flight = [row for row in rows if row.leased_by is not None]
    return min(len(due) + len(in_flight), limit), any(row.trigger != REPLAY for row in due)


def prune(tx: Tx, before: Instant, limit: int) -> int:
    """Deletes replays that ended before `before`, `limit` at most. Returns how many."""
    old = select(replays.c.id).where(replays.c.ended_at < before).limit(limit)
    number: int = tx.execute(delete(replays).where(replays.c.id.in_(old))).rowcount
    return number
