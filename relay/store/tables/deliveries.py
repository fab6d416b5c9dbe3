"""Deliveries for the API and the dashboard: lists, counts, attempts, and resends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Update, bindparam, case, func, literal, select, tuple_, update

from relay.model import SECOND, Attempt, Delivery, DeliveryStatus, Instant
from relay.store.engine import paging
from relay.store.engine.database import Tx
from relay.store.engine.paging import WalkPosition
from relay.store.engine.schema import attempts, deliveries, endpoints
from relay.store.tables import endpoints as subscribers
from relay.store.tables.outbox import COLUMNS, IS_IN_DIGEST, delivery_of

_ENDPOINT_ENABLED = (
    select(endpoints.c.id).where(endpoints.c.id == deliveries.c.endpoint_id, endpoints.c.disabled_at.is_(None)).exists()
)

_RESET_FOR_RESEND = {
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """A selection of deliveries; None means any."""

    status: DeliveryStatus | None = None
    job_id: str | None = None
    endpoint_id: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    digest_id: str | None = None
    """Members of this digest."""
    ended_before: Instant | None = None
    """Ended at this instant or before."""

    def narrow(self, query: Any) -> Any:
        """The query (or update), with these conditions."""
        statement: Select[Any] | Update = query
        if self.status is not None:
            statement = statement.where(deliveries.c.status == self.status.value)
        if self.job_id is not None:
            statement = statement.where(deliveries.c.job_id == self.job_id)
        if self.endpoint_id is not None:
            statement = statement.where(deliveries.c.endpoint_id == self.endpoint_id)
        if self.digest_id is not None:
            statement = statement.where(deliveries.c.digest_id == self.digest_id, deliveries.c.id != self.digest_id)
        if self.since is not None:
            statement = statement.where(deliveries.c.created_at >= self.since)
        if self.until is not None:
            statement = statement.where(deliveries.c.created_at < self.until)
        if self.ended_before is not None:
            statement = statement.where(deliveries.c.ended_at <= self.ended_before)
        return statement


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
    """One page of deliveries, newest first, and the cursor of the next."""
    query = delivery_filter.narrow(select(*COLUMNS))
    order = (deliveries.c.created_at, deliveries.c.id)
    rows = tx.execute(paging.apply_page(query, order, page)).all()
    page_rows, cursor = paging.split_page(rows, page, order)
    return [delivery_of(row) for row in page_rows], cursor


def count(tx: Tx, delivery_filter: DeliveryFilter, sendable: bool = False, limit: int | None = None) -> int:
    """How many deliveries match, counted up to `limit`; `sendable` counts only what `resend_batch` would send."""
    query = delivery_filter.narrow(select(literal(1)).select_from(deliveries)).limit(limit)
    if sendable:
        query = query.where(_ENDPOINT_ENABLED, *(() if delivery_filter.job_id else (~IS_IN_DIGEST,)))
    matching = query.subquery()
    return int(tx.execute(select(func.count()).select_from(matching)).scalar_one())


def pending(tx: Tx, limit: int) -> int:
    """How many deliveries are pending, held ones included, counted up to `limit`."""
    return count(tx, DeliveryFilter(status=DeliveryStatus.PENDING), limit=limit)


def resend(tx: Tx, id: str, now: Instant) -> bool:
    """Restarts the schedule of an ended delivery, due now. False if it is pending or its endpoint is not enabled.

    The webhook-id stays, so that a receiver can recognise a repeat. Locks the endpoint, so that it stays enabled until
    the commit.
    """
    subscribers.lock_many(tx, tx.execute(select(deliveries.c.endpoint_id).where(deliveries.c.id == id)).scalars().all())
    query = update(deliveries).where(deliveries.c.id == id, deliveries.c.status != DeliveryStatus.PENDING.value)
    return tx.execute(query.where(_ENDPOINT_ENABLED).values(**_RESET_FOR_RESEND, next_attempt_at=now)).rowcount == 1


def resend_batch(
    tx: Tx,
    delivery_filter: DeliveryFilter,
    now: Instant,
    limit: int,
    min_interval: Callable[[str], int | None],
    after: WalkPosition | None = None,
) -> tuple[int, WalkPosition | None]:
    """As `resend`, for at most `limit` deliveries of a filter, oldest first, after the position `after`.

    Resends are spaced out at 80% of the endpoint's rate limit (50/s if it has none), so that new deliveries are not
    delayed. `min_interval` gives the milliseconds between two requests for a format, or None. Locks the endpoints, then
    the deliveries, and reads both again: a delivery that another relay resends meanwhile is left out. Returns how many,
    and the position to continue after (None: there are no more).
    """
    query = delivery_filter.narrow(
        select(deliveries.c.id, deliveries.c.created_at, deliveries.c.endpoint_id, endpoints.c.format)
        .join(endpoints, endpoints.c.id == deliveries.c.endpoint_id)
        .where(deliveries.c.status != DeliveryStatus.PENDING.value, endpoints.c.disabled_at.is_(None))
    )
    if delivery_filter.job_id is None:
        query = query.where(~IS_IN_DIGEST)  # the digest is resent
    if after is not None:
        query = query.where(
            tuple_(deliveries.c.created_at, deliveries.c.id) > tuple_(literal(after[0]), literal(after[1]))
        )
    rows = tx.execute(query.order_by(deliveries.c.created_at, deliveries.c.id).limit(limit)).all()
    if not rows:
        return 0, None
    locked = subscribers.lock_many(tx, {row.endpoint_id for row in rows})
    enabled = {id for id, endpoint in locked.items() if endpoint.enabled}
    still_ended = delivery_filter.narrow(select(deliveries.c.id)).where(
        deliveries.c.id.in_([row.id for row in rows]), deliveries.c.status != DeliveryStatus.PENDING.value
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
        reset = update(deliveries).where(deliveries.c.id == bindparam("delivery"))
        tx.execute(reset.values(**_RESET_FOR_RESEND, next_attempt_at=bindparam("at")), resent)
    return len(resent), ((rows[-1].created_at, rows[-1].id) if len(rows) == limit else None)


def _next_free_slot(tx: Tx, endpoint_id: str, now: Instant) -> Instant:
    """When the last scheduled resend of the endpoint is due, or `now`."""
    last = (
        select(func.max(deliveries.c.next_attempt_at))
        .where(deliveries.c.endpoint_id == endpoint_id, deliveries.c.next_attempt_at.is_not(None))
        .where(deliveries.c.trigger == "resend", deliveries.c.attempts_in_run == 0, deliveries.c.leased_by.is_(None))
    )
    last_at: Instant | None = tx.execute(last).scalar()
    return now if last_at is None else max(now, last_at + 1)


def resend_or_retry_now(tx: Tx, id: str, now: Instant) -> bool:
    """Resends an ended delivery, and makes a waiting one due now. False if neither applies: it is due, held or in
    flight, or its endpoint is not enabled.
    """
    return resend(tx, id, now) or retry_now(tx, id, now)


def retry_now(tx: Tx, id: str, now: Instant) -> bool:
    """Makes a delivery that waits for its next attempt due now. False if it is due, held or in flight."""
    waits = (deliveries.c.next_attempt_at > now, deliveries.c.leased_by.is_(None))
    query = update(deliveries).where(deliveries.c.id == id, *waits)
    alone = case((deliveries.c.digest_id.is_(None), None), else_=deliveries.c.id)
    return tx.execute(query.values(next_attempt_at=now, trigger="resend", digest_id=alone)).rowcount == 1
