"""The outbox: deliveries that are claimed, sent, then settled."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Row,
    Text,
    bindparam,
    case,
    insert,
    or_,
    select,
    update,
)

from relay import formats
from relay.model import Attempt, Delivery, DeliveryStatus, Event, EventType, Instant, new_id
from relay.store import dialect
from relay.store.database import Tx
from relay.store.endpoints import are_deaf
from relay.store.registrations import Subscriber
from relay.store.schema import attempts, deliveries, endpoints
from relay.store.waiting import waits

COLUMNS = [deliveries.c[name] for name in Delivery.__slots__]

# --- what every delivery needs, made once: to make a statement costs more than to run it ----------------------------

_NOW: BindParameter[int] = bindparam("now", type_=BigInteger)
_IDS: BindParameter[Sequence[str]] = bindparam("ids", expanding=True)

_LEASABLE = select(deliveries.c.id).where(deliveries.c.id.in_(_IDS), deliveries.c.next_attempt_at <= _NOW)
_LEASE = (
    update(deliveries)
    .where(deliveries.c.id.in_(_LEASABLE.with_for_update(skip_locked=True)))
    .values(next_attempt_at=bindparam("until"), leased_by=bindparam("owner"))
    .returning(*COLUMNS, deliveries.c.host, deliveries.c.trigger)
)
_SETTLE = (
    update(deliveries)
    .where(
        deliveries.c.id == bindparam("delivery"),
        ((deliveries.c.leased_by == bindparam("owner")) & (deliveries.c.status == DeliveryStatus.PENDING.value))
        | (bindparam("new_status", type_=Text) == DeliveryStatus.DELIVERED.value),
    )
    .values(
        status=bindparam("new_status"),
        tries=bindparam("new_tries"),
        next_attempt_at=bindparam("new_next_attempt_at"),
        ended_at=bindparam("new_ended_at"),
        reason=bindparam("new_reason"),
        attempts=case((deliveries.c.attempts < bindparam("number"), bindparam("number")), else_=deliveries.c.attempts),
        leased_by=None,
    )
)
_ADD_ATTEMPTS = insert(attempts)


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
    """The delivery of a row that begins with `COLUMNS`."""
    values = dict(zip(Delivery.__slots__, row, strict=False))
    values["status"] = DeliveryStatus(values["status"])
    values["event_type"] = EventType(values["event_type"])
    return Delivery(**values)


def enqueue(
    tx: Tx,
    event: Event,
    subscribers: Iterable[Subscriber],
    now: Instant,
    first_delay: int,
    trace: str | None = None,
) -> int:
    """Adds a delivery for each subscriber who has none of this event yet; a cancelled one is taken up again.

    The body is made here, once: what is stored is what every attempt and resend will send.

    `trace` is that of deliveries without a registration.

    A disabled endpoint's deliveries are held: pending, with no next attempt. Returns how many were added.
    """
    told = list(subscribers)
    deaf = are_deaf(tx, {endpoint.id for endpoint, _ in told if not endpoint.enabled})
    rows = []
    for endpoint, registration in told:
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
                "body": formats.render(endpoint.format, event, registration, endpoint.template),
                "trigger": "schedule",
                "created_at": now,
                "next_attempt_at": None if endpoint.id in deaf else now + first_delay,
                "trace": registration.trace if registration else trace,
            }
        )
    added = len(dialect.insert_new(tx, deliveries, rows))
    if added == len(rows):
        return added
    revived = 0
    for row in rows:
        again = update(deliveries).where(
            deliveries.c.event_id == row["event_id"],
            deliveries.c.endpoint_id == row["endpoint_id"],
            deliveries.c.status == DeliveryStatus.CANCELLED.value,
        )
        changes = {name: row[name] for name in ("status", "registration_id", "body", "next_attempt_at", "trace")}
        revived += tx.execute(again, changes | {"ended_at": None, "reason": None, "tries": 0}).rowcount
    return added + revived


def lease(tx: Tx, ids: Sequence[str], now: Instant, until: Instant, owner: str) -> list[Claim]:
    """Leases those of the deliveries that are still due to `owner` until `until`; what another has, it keeps."""
    if not ids:
        return []
    return [_claim(row) for row in tx.execute(_LEASE, {"ids": ids, "now": now, "until": until, "owner": owner})]


def _claim(row: Row[Any]) -> Claim:
    return Claim(delivery=delivery_of(row), host=row.host, trigger=row.trigger)


def settle(tx: Tx, settlements: Sequence[Settlement], owner: str) -> None:
    """Writes what became of deliveries that `owner` held, and their attempts.

    One that was cancelled meanwhile stays cancelled; one whose lease was taken over is left to its new owner, but a
    success is a success whoever reports it.
    """
    if not settlements:
        return
    tx.execute(
        _SETTLE,
        [
            {
                "delivery": item.delivery_id,
                "owner": owner,
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
        _ADD_ATTEMPTS, [{name: getattr(item.attempt, name) for name in Attempt.__slots__} for item in settlements]
    )


def hold(tx: Tx, endpoint_id: str, now: Instant, most: int) -> int:
    """The endpoint is disabled: what is due waits, with no next attempt, until it is enabled. Returns how many.

    Where it was enabled meanwhile, nothing is held: nobody would let it go again.
    """
    listens = select(endpoints.c.id).where(endpoints.c.id == endpoint_id, endpoints.c.disabled_at.is_(None))
    if tx.execute(listens.with_for_update(read=True)).one_or_none() is not None:
        return 0
    return _put_off(tx, dict.fromkeys(_waiting_of(tx, endpoint_id, now, now, most), None))


def put_off(
    tx: Tx, endpoint_id: str, now: Instant, until: Instant, later: Callable[[], Instant], most: int = 1_000
) -> int:
    """The endpoint is paused: what would be due by `until` waits, each delivery for an instant of its own.

    Returns how many there were, the longest due first, `most` at the most.
    """
    return _put_off(tx, {id: later() for id in _waiting_of(tx, endpoint_id, now, until, most)})


def _waiting_of(tx: Tx, endpoint_id: str, now: Instant, until: Instant, most: int) -> Sequence[str]:
    """What nobody holds and is to be sent by `until`."""
    free = or_(deliveries.c.next_attempt_at <= now, deliveries.c.leased_by.is_(None))
    query = select(deliveries.c.id).where(deliveries.c.endpoint_id == endpoint_id, waits(deliveries), free)
    query = query.where(deliveries.c.next_attempt_at <= until).order_by(deliveries.c.next_attempt_at).limit(most)
    return tx.execute(query.with_for_update(skip_locked=True)).scalars().all()


def _put_off(tx: Tx, until: Mapping[str, Instant | None]) -> int:
    if until:
        tx.execute(
            update(deliveries)
            .where(deliveries.c.id == bindparam("delivery"))
            .values(next_attempt_at=bindparam("at"), leased_by=None),
            [{"delivery": id, "at": at} for id, at in until.items()],
        )
    return len(until)


def give_back(tx: Tx, id: str, due_at: Instant, owner: str) -> None:
    """The lease that `owner` has ends unused: the delivery is due at `due_at`."""
    held = update(deliveries).where(deliveries.c.id == id, deliveries.c.leased_by == owner)
    tx.execute(held, {"next_attempt_at": due_at, "leased_by": None})


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
