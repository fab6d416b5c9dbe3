"""Deliveries as people ask for them: lists, one with its attempts, resends, pruning."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Update, func, select, update

from relay.model import Attempt, Delivery, DeliveryStatus, Instant
from relay.store import paging
from relay.store.database import Tx
from relay.store.outbox import COLUMNS, delivery_of
from relay.store.schema import attempts, deliveries, endpoints

_SENDABLE = (
    select(endpoints.c.id).where(endpoints.c.id == deliveries.c.endpoint_id, endpoints.c.disabled_at.is_(None)).exists()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which deliveries; None means any."""

    status: DeliveryStatus | None = None
    job_id: str | None = None
    endpoint_id: str | None = None
    since: Instant | None = None
    until: Instant | None = None

    def narrow(self, query: Any) -> Any:
        """The query (or update), with these conditions."""
        narrowed: Select[Any] | Update = query
        if self.status is not None:
            narrowed = narrowed.where(deliveries.c.status == self.status.value)
        if self.job_id is not None:
            narrowed = narrowed.where(deliveries.c.job_id == self.job_id)
        if self.endpoint_id is not None:
            narrowed = narrowed.where(deliveries.c.endpoint_id == self.endpoint_id)
        if self.since is not None:
            narrowed = narrowed.where(deliveries.c.created_at >= self.since)
        if self.until is not None:
            narrowed = narrowed.where(deliveries.c.created_at < self.until)
        return narrowed


def get(tx: Tx, id: str) -> Delivery | None:
    row = tx.execute(select(*COLUMNS).where(deliveries.c.id == id)).one_or_none()
    return delivery_of(row) if row else None


def of_job(tx: Tx, workspace: str, job_id: str, most: int) -> list[Delivery]:
    """The deliveries of a job, oldest first."""
    query = select(*COLUMNS).where(deliveries.c.workspace == workspace, deliveries.c.job_id == job_id)
    return [delivery_of(row) for row in tx.execute(query.order_by(deliveries.c.created_at).limit(most))]


def attempts_of(tx: Tx, id: str) -> Sequence[Attempt]:
    """All attempts of a delivery, oldest first."""
    query = select(attempts).where(attempts.c.delivery_id == id).order_by(attempts.c.number, attempts.c.id)
    return [Attempt(**row._mapping) for row in tx.execute(query)]


def page(tx: Tx, page: paging.Page, which: Filter) -> tuple[list[Delivery], str | None]:
    """One page of deliveries, newest first, and the cursor of the next."""
    query = which.narrow(select(*COLUMNS))
    rows = tx.execute(paging.newest_first(query, deliveries.c.created_at, deliveries.c.id, page)).all()
    kept, cursor = paging.cut(rows, page, "created_at", "id")
    return [delivery_of(row) for row in kept], cursor


def count(tx: Tx, which: Filter, sendable: bool = False) -> int:
    """How many there are; `sendable`: only those whose endpoint is there and enabled."""
    query = which.narrow(select(func.count()).select_from(deliveries))
    return int(tx.execute(query.where(_SENDABLE) if sendable else query).scalar_one())


def pending(tx: Tx) -> int:
    """Deliveries that are not ended, held ones included."""
    return count(tx, Filter(status=DeliveryStatus.PENDING))


def resend(tx: Tx, which: Filter | str, now: Instant) -> int:
    """Starts the schedule anew for ended deliveries: one by id, or all of a filter. Returns how many.

    The webhook-id stays, so that a receiver that had it already can tell. One that is pending, or whose endpoint is
    gone or disabled, stays as it is.
    """
    query = update(deliveries).where(deliveries.c.status != DeliveryStatus.PENDING.value)
    query = query.where(deliveries.c.id == which) if isinstance(which, str) else which.narrow(query)
    query = query.where(_SENDABLE)
    again = {"status": DeliveryStatus.PENDING.value, "next_attempt_at": now, "tries": 0, "trigger": "resend"}
    return tx.execute(query, again | {"ended_at": None, "reason": None, "leased_by": None}).rowcount


def hasten(tx: Tx, id: str, now: Instant) -> bool:
    """A pending delivery that waits for its next attempt is due now. False where it is due, held or under way."""
    waits = (deliveries.c.next_attempt_at > now, deliveries.c.leased_by.is_(None))
    query = update(deliveries).where(deliveries.c.id == id, *waits)
    return tx.execute(query, {"next_attempt_at": now, "trigger": "resend"}).rowcount == 1
