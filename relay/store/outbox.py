"""The outbox: deliveries that are claimed, sent, then settled."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, case, func, insert, select, update

from relay import formats
from relay.model import Attempt, Delivery, DeliveryStatus, Event, EventType, Instant, new_id
from relay.store import dialect
from relay.store.database import Tx
from relay.store.registrations import Subscriber
from relay.store.schema import attempts, deliveries

COLUMNS = [deliveries.c[name] for name in Delivery.__slots__]

_SCAN = 2_000
"""Due rows that one claim considers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A delivery that this relay holds until its lease runs out."""

    delivery: Delivery
    host: str
    trigger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What becomes of a delivery after an attempt."""

    delivery_id: str
    status: DeliveryStatus
    tries: int
    next_attempt_at: Instant | None
    ended_at: Instant | None
    reason: str | None
    attempt: Attempt


def delivery_of(row: Row[Any]) -> Delivery:
    values = {name: row._mapping[name] for name in Delivery.__slots__}
    values["status"] = DeliveryStatus(values["status"])
    values["event_type"] = EventType(values["event_type"])
    return Delivery(**values)


def enqueue(tx: Tx, event: Event, subscribers: Iterable[Subscriber], now: Instant, first_delay: int) -> int:
    """Adds a delivery for each subscriber who has none of this event yet; a cancelled one is taken up again.

    The body is made here, once: what is stored is what every attempt and resend will send.

    A disabled endpoint's deliveries are held: pending, with no next attempt. Returns how many were added.
    """
    rows = []
    for endpoint, registration in subscribers:
        rows.append(
            {
                "id": new_id("dlv", now),
                "event_id": event.id,
                "event_type": event.type.value,
                "workspace": event.workspace,
                "job_id": event.job_id,
                "endpoint_id": endpoint.id,
                "registration_id": registration.id if registration else None,
                "host": endpoint.host,
                "status": DeliveryStatus.PENDING.value,
                "body": formats.render(endpoint.format, event, registration),
                "trigger": "schedule",
                "created_at": now,
                "next_attempt_at": now + first_delay if endpoint.enabled else None,
            }
        )
    added = dialect.insert_new(tx, deliveries, rows)
    if added == len(rows):
        return added
    revived = 0
    for row in rows:
        again = update(deliveries).where(
            deliveries.c.event_id == row["event_id"],
            deliveries.c.endpoint_id == row["endpoint_id"],
            deliveries.c.status == DeliveryStatus.CANCELLED.value,
        )
        changes = {name: row[name] for name in ("status", "registration_id", "body", "next_attempt_at")}
        revived += tx.execute(again, changes | {"ended_at": None, "reason": None, "tries": 0}).rowcount
    return added + revived


def claim(
    tx: Tx, now: Instant, most: int, per_host: int, room: Mapping[str, int], until: Instant, owner: str
) -> list[Claim]:
    """Leases due deliveries to `owner` until `until`: at most `most` in all and `per_host` a host.

    `room` says how many more a host may have where some are under way already.

    Hosts take turns, so that one with a long queue does not keep the others waiting.
    """
    due = (
        select(deliveries.c.id, deliveries.c.host, deliveries.c.next_attempt_at)
        .where(deliveries.c.next_attempt_at.is_not(None), deliveries.c.next_attempt_at <= now)
        .order_by(deliveries.c.next_attempt_at)
        .limit(_SCAN)
    )
    if busy := [host for host, free in room.items() if free <= 0]:
        due = due.where(deliveries.c.host.not_in(busy))
    scanned = due.subquery()
    turn = func.row_number().over(partition_by=scanned.c.host, order_by=scanned.c.next_attempt_at)
    ranked = select(scanned.c.id, scanned.c.next_attempt_at, turn.label("turn")).subquery()
    chosen = (
        select(ranked.c.id)
        .where(ranked.c.turn <= per_host)
        .order_by(ranked.c.turn, ranked.c.next_attempt_at)
        .limit(most)
    )
    rows = tx.execute(
        select(*[*COLUMNS, deliveries.c.host, deliveries.c.trigger])
        .where(deliveries.c.id.in_(chosen), deliveries.c.next_attempt_at <= now)
        .with_for_update(skip_locked=True)
    )
    left = dict(room)
    claims = []
    for row in rows:
        left[row.host] = left.get(row.host, per_host) - 1
        if left[row.host] >= 0:
            claims.append(Claim(delivery=delivery_of(row), host=row.host, trigger=row.trigger))
    if claims:
        tx.execute(
            update(deliveries).where(deliveries.c.id.in_([claim.delivery.id for claim in claims])),
            {"next_attempt_at": until, "leased_by": owner},
        )
    return claims


def settle(tx: Tx, settlements: Sequence[Settlement], owner: str) -> None:
    """Writes what became of deliveries that `owner` held, and their attempts.

    One that was cancelled meanwhile stays cancelled; one whose lease was taken over is left to its new owner, but a
    success is a success whoever reports it.
    """
    if not settlements:
        return
    held = deliveries.c.leased_by == owner
    pending = deliveries.c.status == DeliveryStatus.PENDING.value
    delivered = bindparam("new_status") == DeliveryStatus.DELIVERED.value
    tx.execute(
        update(deliveries)
        .where(deliveries.c.id == bindparam("delivery"), (held & pending) | delivered)
        .values(
            status=bindparam("new_status"),
            tries=bindparam("new_tries"),
            next_attempt_at=bindparam("new_next_attempt_at"),
            ended_at=bindparam("new_ended_at"),
            reason=bindparam("new_reason"),
            attempts=case(
                (deliveries.c.attempts < bindparam("number"), bindparam("number")), else_=deliveries.c.attempts
            ),
            leased_by=None,
        ),
        [
            {
                "delivery": item.delivery_id,
                "new_status": item.status.value,
                "new_tries": item.tries,
                "new_next_attempt_at": item.next_attempt_at,
                "new_ended_at": item.ended_at,
                "new_reason": item.reason,
                "number": item.attempt.number,
            }
            for item in settlements
        ],
    )
    tx.execute(
        insert(attempts),
        [{name: getattr(item.attempt, name) for name in Attempt.__slots__} for item in settlements],
    )


def hold(tx: Tx, ids: Sequence[str]) -> None:
    """The endpoint is disabled: these deliveries wait, with no next attempt, until it is enabled."""
    tx.execute(
        update(deliveries).where(deliveries.c.id.in_(ids), deliveries.c.status == DeliveryStatus.PENDING.value),
        {"next_attempt_at": None, "leased_by": None},
    )


def postpone(tx: Tx, until: dict[str, Instant]) -> None:
    """Gives deliveries back unsent, each due again at its instant."""
    if until:
        tx.execute(
            update(deliveries)
            .where(deliveries.c.id == bindparam("delivery"), deliveries.c.status == DeliveryStatus.PENDING.value)
            .values(next_attempt_at=bindparam("at"), leased_by=None),
            [{"delivery": id, "at": at} for id, at in until.items()],
        )


def release(tx: Tx, now: Instant, owner: str | None = None) -> int:
    """Gives leases back, due at once: those of `owner`, or with None everybody's (only one relay uses the store)."""
    query = update(deliveries).where(deliveries.c.status == DeliveryStatus.PENDING.value)
    query = query.where(deliveries.c.leased_by.is_not(None) if owner is None else deliveries.c.leased_by == owner)
    return tx.execute(query, {"next_attempt_at": now, "leased_by": None}).rowcount


def release_held(tx: Tx, endpoint_id: str, now: Instant) -> int:
    """The endpoint is enabled again: what was held for it is due."""
    query = update(deliveries).where(
        deliveries.c.endpoint_id == endpoint_id,
        deliveries.c.status == DeliveryStatus.PENDING.value,
        deliveries.c.next_attempt_at.is_(None),
    )
    return tx.execute(query, {"next_attempt_at": now, "tries": 0}).rowcount


def cancel(tx: Tx, endpoint_id: str, job: tuple[str, str] | None, now: Instant, reason: str) -> int:
    """Cancels pending deliveries of an endpoint: those of one job (workspace, job id), or with None all of them."""
    query = update(deliveries).where(
        deliveries.c.endpoint_id == endpoint_id, deliveries.c.status == DeliveryStatus.PENDING.value
    )
    if job is not None:
        query = query.where(deliveries.c.workspace == job[0], deliveries.c.job_id == job[1])
    gone = {"status": DeliveryStatus.CANCELLED.value, "next_attempt_at": None, "ended_at": now, "reason": reason}
    return tx.execute(query, gone | {"leased_by": None}).rowcount


def move(tx: Tx, endpoint_id: str, host: str) -> None:
    """The endpoint's URL has another host now: its pending deliveries count there."""
    pending = deliveries.c.status == DeliveryStatus.PENDING.value
    tx.execute(update(deliveries).where(deliveries.c.endpoint_id == endpoint_id, pending), {"host": host})


def oldest_due(tx: Tx, now: Instant) -> Instant | None:
    """Since when the longest-waiting due delivery is due; None where nothing waits."""
    query = select(func.min(deliveries.c.next_attempt_at)).where(
        deliveries.c.next_attempt_at.is_not(None), deliveries.c.next_attempt_at <= now
    )
    return tx.execute(query).scalar()


def next_due(tx: Tx) -> Instant | None:
    """When the next delivery is due, None where none waits."""
    query = select(func.min(deliveries.c.next_attempt_at)).where(deliveries.c.next_attempt_at.is_not(None))
    return tx.execute(query).scalar()
