"""Deliveries for the API and the dashboard: lists, counts, attempts, and resends."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Row, bindparam, case, func, literal, select, update

from relay.model import SECOND, Attempt, Delivery, DeliveryStatus, Instant
from relay.store.engine import paging
from relay.store.engine.database import Tx
from relay.store.engine.paging import WalkPosition
from relay.store.engine.schema import attempts, deliveries, endpoints
from relay.store.tables import endpoints as subscribers
from relay.store.tables.filters import Conditions, DeliveryFilter
from relay.store.tables.outbox import COLUMNS, IS_IN_DIGEST, delivery_of

_ENDPOINT_ENABLED = (
    select(endpoints.c.id)
    .where(endpoints.c.id == deliveries.c.endpoint_id, endpoints.c.disabled_at.is_(None))
    .correlate(deliveries)
    .exists()
)

_ORDER = (deliveries.c.created_at, deliveries.c.id)

RESET_FOR_RESEND: dict[str, Any] = {
    "status": DeliveryStatus.PENDING.value,
    "attempts_in_run": 0,
    "trigger": "resend",
    "ended_at": None,
    "reason": None,
    "leased_by": None,
    "digest_id": case((deliveries.c.digest_id.is_(None), None), else_=deliveries.c.id),  # sent by itself
    "host": select(endpoints.c.host).where(endpoints.c.id == deliveries.c.endpoint_id).scalar_subquery(),
}
_DEFAULT_INTERVAL = SECOND // 50
_SHARE_FOR_RESENDS = 0.8


def get(tx: Tx, id: str) -> Delivery | None:
    """The delivery with this id."""
    row = tx.execute(select(*COLUMNS).where(deliveries.c.id == id)).one_or_none()
    return delivery_of(row) if row else None


def of_job(tx: Tx, workspace: str, job_id: str, limit: int) -> list[Delivery]:
    """The deliveries of a job, oldest first."""
    query = select(*COLUMNS).where(deliveries.c.workspace == workspace, deliveries.c.job_id == job_id)
    return [delivery_of(row) for row in tx.execute(query.order_by(deliveries.c.created_at).limit(limit))]


def attempts_of(tx: Tx, id: str) -> Sequence[Attempt]:
    """All attempts of a delivery, oldest first."""
    query = select(attempts).where(attempts.c.delivery_id == id).order_by(attempts.c.number, attempts.c.id)
    return [Attempt(**row._mapping) for row in tx.execute(query)]


def page(tx: Tx, page: paging.Page, delivery_filter: DeliveryFilter) -> tuple[list[Delivery], str | None]:
    """One page of deliveries, newest first, and the cursor of the next (`paging.read_page`)."""
    query = select(*COLUMNS).where(*delivery_filter.indexed)
    rows, cursor = paging.read_page(tx, query, _ORDER, page, delivery_filter.unindexed)
    return [delivery_of(row) for row in rows], cursor


def count(tx: Tx, delivery_filter: DeliveryFilter, limit: int | None = None) -> int:
    """How many deliveries match, counted up to `limit`. For a filter with unindexed conditions: `count_some`."""
    matching = select(literal(1)).select_from(deliveries).where(*delivery_filter.all).limit(limit).subquery()
    return int(tx.execute(select(func.count()).select_from(matching)).scalar_one())


def count_some(
    tx: Tx,
    delivery_filter: DeliveryFilter,
    sendable: bool,
    after: WalkPosition | None = None,
    max_scanned: int = paging.MAX_SCANNED,
) -> tuple[int, WalkPosition | None]:
    """How many of the next deliveries after `after`, oldest first, match, and where to go on (None: at the end).

    `sendable` counts only what `resend_batch` would send.
    """
    query = select(*_ORDER).where(*delivery_filter.indexed)
    end = paging.walk_end(tx, query, _ORDER, after, max_scanned)
    matching = paging.walk(query, _ORDER, after, end).where(*delivery_filter.unindexed)
    if sendable:
        matching = matching.where(*_sendable(delivery_filter))
    return int(tx.execute(select(func.count()).select_from(matching.subquery())).scalar_one()), end


def _sendable(delivery_filter: DeliveryFilter) -> Conditions:
    """What can be resent. Of a digest's members the digest is, unless they are named."""
    ended = deliveries.c.status != DeliveryStatus.PENDING.value
    is_named = delivery_filter.job_id is not None or delivery_filter.ids is not None
    return (ended, _ENDPOINT_ENABLED, *(() if is_named else (~IS_IN_DIGEST,)))


def pending(tx: Tx, limit: int) -> int:
    """How many deliveries are pending, held ones included, counted up to `limit`."""
    return count(tx, DeliveryFilter(status=DeliveryStatus.PENDING), limit=limit)


def resend(tx: Tx, id: str, now: Instant, by: str | None = None) -> bool:
    """Restarts the schedule of an ended delivery, due now. False if it is pending or its endpoint is not enabled.

    The webhook-id stays, so that a receiver can recognise a repeat. `by` is who asked for it. Locks the endpoint, so
    that it stays enabled until the commit.
    """
    subscribers.lock_many(tx, tx.execute(select(deliveries.c.endpoint_id).where(deliveries.c.id == id)).scalars().all())
    query = update(deliveries).where(deliveries.c.id == id, deliveries.c.status != DeliveryStatus.PENDING.value)
    values = {**RESET_FOR_RESEND, "next_attempt_at": now, "triggered_by": by}
    return tx.execute(query.where(_ENDPOINT_ENABLED).values(**values)).rowcount == 1


def resend_batch(
    tx: Tx,
    delivery_filter: DeliveryFilter,
    now: Instant,
    limit: int,
    min_interval: Callable[[str], int | None],
    after: WalkPosition | None = None,
    by: str | None = None,
) -> tuple[int, WalkPosition | None]:
    """As `resend`, for at most `limit` deliveries of a filter, oldest first, after the position `after`.

    Resends are spaced out at 80% of the endpoint's rate limit (50/s if it has none), so that new deliveries are not
    delayed. `min_interval` gives the milliseconds between two requests for a format, or None. Reads a bounded number of
    rows. Locks the endpoints, then the deliveries, and reads both again: a delivery that another relay resends
    meanwhile is left out. Returns how many, and the position to continue after (None: there are no more).
    """
    query = (
        select(deliveries.c.id, deliveries.c.created_at, deliveries.c.endpoint_id, endpoints.c.format)
        .join(endpoints, endpoints.c.id == deliveries.c.endpoint_id)
        .where(*delivery_filter.indexed)
    )
    end = paging.walk_end(tx, select(*_ORDER).where(*delivery_filter.indexed), _ORDER, after)
    matching = paging.walk(query, _ORDER, after, end).where(*delivery_filter.unindexed, *_sendable(delivery_filter))
    rows = tx.execute(matching.limit(limit)).all()
    resent = _resend_rows(tx, rows, delivery_filter, now, min_interval, by) if rows else 0
    return resent, ((rows[-1].created_at, rows[-1].id) if len(rows) == limit else end)


def _resend_rows(
    tx: Tx,
    rows: Sequence[Row[Any]],
    delivery_filter: DeliveryFilter,
    now: Instant,
    min_interval: Callable[[str], int | None],
    by: str | None,
) -> int:
    locked = subscribers.lock_many(tx, {row.endpoint_id for row in rows})
    enabled = {id for id, endpoint in locked.items() if endpoint.enabled}
    still_ended = select(deliveries.c.id).where(
        *delivery_filter.all_tested,
        deliveries.c.id.in_([row.id for row in rows]),
        deliveries.c.status != DeliveryStatus.PENDING.value,
    )
    ended = set(tx.execute(still_ended.order_by(deliveries.c.id).with_for_update()).scalars())
    slots = {id: _next_free_slot(tx, id, now) for id in enabled}
    resent = []
    for row in rows:
        if row.id not in ended or row.endpoint_id not in enabled:
            continue
        resent.append({"delivery": row.id, "at": slots[row.endpoint_id]})
        slots[row.endpoint_id] += round((min_interval(row.format) or _DEFAULT_INTERVAL) / _SHARE_FOR_RESENDS)
    if resent:
        values = {**RESET_FOR_RESEND, "next_attempt_at": bindparam("at"), "triggered_by": by}
        tx.execute(update(deliveries).where(deliveries.c.id == bindparam("delivery")).values(**values), resent)
    return len(resent)


def _next_free_slot(tx: Tx, endpoint_id: str, now: Instant) -> Instant:
    """When the last scheduled resend of the endpoint is due, or `now`."""
    last = (
        select(func.max(deliveries.c.next_attempt_at))
        .where(deliveries.c.endpoint_id == endpoint_id, deliveries.c.next_attempt_at.is_not(None))
        .where(deliveries.c.trigger == "resend", deliveries.c.attempts_in_run == 0, deliveries.c.leased_by.is_(None))
    )
    last_at: Instant | None = tx.execute(last).scalar()
    return now if last_at is None else max(now, last_at + 1)


def resend_or_retry_now(tx: Tx, id: str, now: Instant, by: str | None = None) -> bool:
    """Resends an ended delivery, and makes a waiting one due now. False if neither applies: it is due, held or in
    flight, or its endpoint is not enabled.
    """
    return resend(tx, id, now, by) or retry_now(tx, id, now, by)


def retry_now(tx: Tx, id: str, now: Instant, by: str | None = None) -> bool:
    """Makes a delivery that waits for its next attempt due now. False if it is due, held or in flight."""
    waits = (deliveries.c.next_attempt_at > now, deliveries.c.leased_by.is_(None))
    query = update(deliveries).where(deliveries.c.id == id, *waits)
    alone = case((deliveries.c.digest_id.is_(None), None), else_=deliveries.c.id)
    values = {"next_attempt_at": now, "trigger": "resend", "digest_id": alone, "triggered_by": by}
    return tx.execute(query.values(**values)).rowcount == 1
