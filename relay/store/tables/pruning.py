"""Deleting old rows: a job is deleted with everything that belongs to it, so that no row refers to a missing one.

One transaction finds the rows that may be deleted, without locks; another checks them again and deletes them. A walk
goes through the rows that are old enough, in parts, so its cost does not grow with the store. It passes rows that must
stay once in each round.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    and_,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from relay.model import OPERATOR_WORKSPACE, DeliveryStatus, EndpointKind, Instant
from relay.store.engine.database import Tx
from relay.store.engine.paging import WalkPosition
from relay.store.engine.schema import (
    attempts,
    deliveries,
    endpoints,
    events,
    living_messages,
    polls,
    registrations,
    watches,
)
from relay.store.tables import event_feed
from relay.store.tables.watches import matches_jobs

Job = tuple[str, str]
"""Workspace and job id."""

_PENDING = deliveries.c.status == DeliveryStatus.PENDING.value
_HELD = and_(_PENDING, deliveries.c.next_attempt_at.is_(None))
_ITS_ENDPOINT = endpoints.c.id == deliveries.c.endpoint_id


def old_jobs(
    tx: Tx, before: Instant, limit: int, after: WalkPosition | None = None
) -> tuple[list[Job], WalkPosition | None]:
    """Of the next `limit` jobs that ended before `before`, those with no delivery that is pending or ended since.

    Returns also the position to continue after; None if there are no more.
    """
    query = select(watches.c.workspace, watches.c.job_id, watches.c.ended_at)
    query = query.where(watches.c.ended_at.is_not(None), watches.c.ended_at < before)
    rows, position = _next(tx, query, watches.c.ended_at, watches.c.job_id, limit, after)
    return _unused(tx, [(row.workspace, row.job_id) for row in rows], before), position


def delete_jobs(tx: Tx, jobs: Sequence[Job], before: Instant, limit: int) -> tuple[int, list[Job]]:
    """Deletes about `limit` rows of these jobs: attempts first, then the rows that they belong to.

    Returns how many jobs are deleted completely, and the jobs that have rows left. A job stays if another transaction
    holds it or it is active again.
    """
    ended = select(watches.c.workspace, watches.c.job_id).where(
        matches_jobs(watches, jobs), watches.c.ended_at < before
    )
    jobs = _unused(tx, [(row[0], row[1]) for row in tx.execute(ended.with_for_update(skip_locked=True))], before)
    if not jobs:
        return 0, []
    ended_deliveries = select(deliveries.c.id).where(matches_jobs(deliveries, jobs), ~_PENDING).limit(limit)
    ids = tx.execute(ended_deliveries.with_for_update(skip_locked=True)).scalars().all()
    remaining_rows = limit - _delete(tx, attempts, attempts.c.delivery_id.in_(ids), limit)
    remaining_rows -= _delete(tx, deliveries, deliveries.c.id.in_(ids), remaining_rows)
    if remaining_rows <= 0:
        return 0, list(jobs)
    # A delivery that another transaction resends stays, and with it its event and job.
    remaining = select(deliveries.c.workspace, deliveries.c.job_id).where(matches_jobs(deliveries, jobs))
    empty = sorted(set(jobs) - {(row[0], row[1]) for row in tx.execute(remaining)})
    for table in (polls, registrations):
        remaining_rows -= _delete(tx, table, matches_jobs(table, empty), remaining_rows)
    if remaining_rows <= 0:
        return 0, empty
    newest = select(func.max(events.c.position)).where(matches_jobs(events, empty))
    if (position := tx.execute(newest).scalar()) is not None:
        event_feed.record_pruned(tx, position)
    for table in (events, living_messages, watches):
        tx.execute(delete(table).where(matches_jobs(table, empty)))
    return len(empty), []


def old_deliveries(
    tx: Tx, before: Instant, limit: int, after: WalkPosition | None = None
) -> tuple[list[str], WalkPosition | None]:
    """Of the next `limit` deliveries created before `before`, those that ended before it too."""
    query = select(deliveries.c.created_at, deliveries.c.id, deliveries.c.ended_at)
    query = query.where(deliveries.c.created_at < before)
    rows, position = _next(tx, query, deliveries.c.created_at, deliveries.c.id, limit, after)
    return [row.id for row in rows if row.ended_at is not None and row.ended_at < before], position


def delete_deliveries(tx: Tx, ids: Sequence[str], before: Instant) -> int:
    """Deletes those of the deliveries that still ended before `before`, with their attempts. Returns how many."""
    ended = select(deliveries.c.id).where(deliveries.c.id.in_(ids), ~_PENDING, deliveries.c.ended_at < before)
    old = tx.execute(ended.with_for_update(skip_locked=True)).scalars().all()
    tx.execute(delete(attempts).where(attempts.c.delivery_id.in_(old)))
    return tx.execute(delete(deliveries).where(deliveries.c.id.in_(old))).rowcount


def delete_polls(tx: Tx, before: Instant, limit: int) -> int:
    """Deletes the polls before `before` among the `limit` oldest. Returns how many."""
    oldest = select(polls.c.id, polls.c.at).order_by(polls.c.id).limit(limit).subquery()
    return tx.execute(delete(polls).where(polls.c.id.in_(select(oldest.c.id).where(oldest.c.at < before)))).rowcount


def expired_held(
    tx: Tx, before: Instant, limit: int, after: WalkPosition | None = None
) -> tuple[list[str], WalkPosition | None]:
    """Of the next `limit` held deliveries created before `before`, those to expire: their endpoint was disabled before
    `before` too, or is removed."""
    query = select(deliveries.c.created_at, deliveries.c.id, endpoints.c.id.label("existing"), endpoints.c.disabled_at)
    query = query.select_from(deliveries.outerjoin(endpoints, _ITS_ENDPOINT))
    query = query.where(_HELD, deliveries.c.created_at < before)
    rows, position = _next(tx, query, deliveries.c.created_at, deliveries.c.id, limit, after)
    return [row.id for row in rows if row.existing is None or (row.disabled_at or before) < before], position


def expire_held(tx: Tx, ids: Sequence[str], before: Instant, now: Instant) -> int:
    """Ends those of the deliveries that are still held: failed with the endpoint's reason, cancelled if it is removed.

    Locks their endpoints first, so that their current state decides.
    """
    of_deliveries = select(deliveries.c.endpoint_id).where(deliveries.c.id.in_(ids))
    by_id = select(endpoints.c.id).where(endpoints.c.id.in_(of_deliveries)).order_by(endpoints.c.id)
    tx.execute(by_id.with_for_update(read=True)).all()
    disabled = select(endpoints.c.disabled_reason).where(_ITS_ENDPOINT).scalar_subquery()
    exists = select(endpoints.c.id).where(_ITS_ENDPOINT)
    still_held = exists.where(or_(endpoints.c.disabled_at.is_(None), endpoints.c.disabled_at >= before))
    reason = literal("held until it was too old; the endpoint is disabled: ") + func.coalesce(disabled, "")
    ended = {
        "status": case((exists.exists(), DeliveryStatus.FAILED.value), else_=DeliveryStatus.CANCELLED.value),
        "reason": case((exists.exists(), reason), else_="the endpoint was removed"),
        "ended_at": now,
    }
    query = update(deliveries).where(deliveries.c.id.in_(ids), _HELD, ~still_held.exists())
    return tx.execute(query.values(ended)).rowcount


def old_endpoints(
    tx: Tx, before: Instant, limit: int, after: WalkPosition | None = None
) -> tuple[list[str], WalkPosition | None]:
    """Of the next `limit` ad hoc endpoints created before `before`, those without registrations and deliveries."""
    query = select(endpoints.c.created_at, endpoints.c.id)
    query = query.where(endpoints.c.kind == EndpointKind.AD_HOC.value, endpoints.c.created_at < before)
    rows, position = _next(tx, query, endpoints.c.created_at, endpoints.c.id, limit, after)
    return _unreferenced(tx, [row.id for row in rows]), position


def delete_operator_events(tx: Tx, before: Instant, limit: int) -> int:
    """Deletes up to `limit` operator events made before `before` that have no pending delivery; returns how many."""
    old = select(events.c.id).where(events.c.workspace == OPERATOR_WORKSPACE, events.c.created_at < before)
    pending = select(deliveries.c.event_id).where(_PENDING, deliveries.c.workspace == OPERATOR_WORKSPACE)
    ids = tx.execute(old.where(events.c.id.not_in(pending)).order_by(events.c.id).limit(limit)).scalars().all()
    delivery_ids = select(deliveries.c.id).where(deliveries.c.event_id.in_(ids))
    tx.execute(delete(attempts).where(attempts.c.delivery_id.in_(delivery_ids)))
    tx.execute(delete(deliveries).where(deliveries.c.event_id.in_(ids)))
    tx.execute(delete(events).where(events.c.id.in_(ids)))
    return len(ids)


def delete_endpoints(tx: Tx, ids: Sequence[str]) -> int:
    """Deletes those of the endpoints that have no registrations and deliveries, and that no transaction holds."""
    query = select(endpoints.c.id).where(endpoints.c.id.in_(ids)).with_for_update(skip_locked=True)
    unreferenced = _unreferenced(tx, tx.execute(query).scalars().all())
    tx.execute(delete(endpoints).where(endpoints.c.id.in_(unreferenced)))
    return len(unreferenced)


def _next(
    tx: Tx, query: Select[Any], at: ColumnElement[Any], id: ColumnElement[Any], limit: int, after: WalkPosition | None
) -> tuple[Sequence[Any], WalkPosition | None]:
    """The next rows of a walk, and the position to continue after."""
    if after is not None:
        query = query.where(tuple_(at, id) > tuple_(*map(literal, after)))
    rows = tx.execute(query.order_by(at, id).limit(limit)).all()
    if len(rows) < limit:
        return rows, None
    last = rows[-1]._mapping
    return rows, (last[at], last[id])


def _unused(tx: Tx, jobs: Sequence[Job], before: Instant) -> list[Job]:
    """Those of the jobs without a delivery that is pending or ended since `before`."""
    query = select(deliveries.c.workspace, deliveries.c.job_id).where(matches_jobs(deliveries, jobs))
    in_use = {(row[0], row[1]) for row in tx.execute(query.where(or_(_PENDING, deliveries.c.ended_at >= before)))}
    return [job for job in jobs if job not in in_use]


def _unreferenced(tx: Tx, ids: Sequence[str]) -> list[str]:
    # One query for each: for an endpoint in use, the first row is enough, however many there are.
    return [id for id in ids if not any(_is_referenced(tx, table, id) for table in (registrations, deliveries))]


def _is_referenced(tx: Tx, table: Table, endpoint_id: str) -> bool:
    return tx.execute(select(table.c.id).where(table.c.endpoint_id == endpoint_id).limit(1)).first() is not None


def _delete(tx: Tx, table: Table, condition: ColumnElement[bool], limit: int) -> int:
    """Deletes at most `limit` rows; returns how many."""
    if limit <= 0:
        return 0
    return tx.execute(delete(table).where(table.c.id.in_(select(table.c.id).where(condition).limit(limit)))).rowcount
