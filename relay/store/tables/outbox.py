"""The outbox: pending deliveries are leased, attempted, and their results recorded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Integer,
    Row,
    Text,
    Update,
    and_,
    bindparam,
    case,
    literal_column,
    null,
    or_,
    select,
    update,
)

from relay.model import (
    UNGATHERED,
    Attempt,
    Delivery,
    DeliveryStatus,
    DueDelivery,
    Endpoint,
    EventType,
    Instant,
    parse_event_type,
)
from relay.store.engine import many_rows
from relay.store.engine.database import Tx
from relay.store.engine.schema import attempts, deliveries, endpoints
from relay.store.tables.due_deliveries import is_pending

COLUMNS = [deliveries.c[name] for name in Delivery.__slots__]
_VALUES, _ATTEMPT_VALUES = attrgetter(*Delivery.__slots__), attrgetter(*Attempt.__slots__)

SCHEDULE = "schedule"
"""The trigger of deliveries that nobody sent by hand."""
_PENDING = deliveries.c.status == DeliveryStatus.PENDING.value
IS_IN_DIGEST = and_(
    deliveries.c.digest_id.is_not(None), deliveries.c.digest_id != UNGATHERED, deliveries.c.digest_id != deliveries.c.id
)
"""The condition that another delivery, that of a digest, sends it."""


def _literal(status: DeliveryStatus) -> ColumnElement[str]:
    return literal_column(f"'{status.value}'")


# --- statements of every delivery, built once: building one costs more than running it ------------------------------

_NOW: BindParameter[int] = bindparam("now", type_=BigInteger)

# rule: lease-only-due
_LEASABLE = select(deliveries.c.id).where(
    many_rows.is_among(deliveries.c.id, "ids"), deliveries.c.next_attempt_at <= _NOW
)
_LEASE = (
    update(deliveries)
    .where(deliveries.c.id.in_(_LEASABLE.with_for_update(skip_locked=True)))
    .values(next_attempt_at=bindparam("until"), leased_by=bindparam("token"))  # rule: lease-expires
    .returning(*COLUMNS, deliveries.c.host, deliveries.c.trigger, deliveries.c.triggered_by)
)


def _record_result(new: many_rows.Values) -> Update:
    # rule: result-needs-lease
    is_ours = and_(deliveries.c.leased_by == new["token"], deliveries.c.status == _literal(DeliveryStatus.PENDING))
    is_success = new["status"] == _literal(DeliveryStatus.DELIVERED)  # rule: success-counts-always
    return (
        update(deliveries)
        .where(deliveries.c.id == new["delivery"], or_(is_ours, is_success))
        .values(
            status=new["status"],  # rule: states-in-order
            attempts_in_run=new["attempts_in_run"],
            next_attempt_at=new["next_attempt_at"],  # rule: ended-is-not-due
            ended_at=new["ended_at"],
            reason=new["reason"],
            status_code=new["status_code"],
            attempts=case((deliveries.c.attempts < new["number"], new["number"]), else_=deliveries.c.attempts),
            leased_by=null(),
        )
    )


_RESULT = ("status", "attempts_in_run", "next_attempt_at", "ended_at", "reason", "status_code")
_RECORD_RESULT = many_rows.ForEach(
    {name: deliveries.c[name].type for name in _RESULT} | {"delivery": Text(), "token": Text(), "number": Integer()},
    _record_result,
)
_ADD_ATTEMPTS = many_rows.ForEach(
    {name: attempts.c[name].type for name in Attempt.__slots__},
    lambda new: many_rows.insert_values(attempts.insert(), new),
)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to attempt a delivery until `until`, and to record the result."""

    token: str
    """Fences the result: a result under an earlier lease changes nothing, even of the same owner."""
    until: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedDelivery:
    """A leased delivery, with the host it goes to."""

    delivery: Delivery
    host: str
    trigger: str
    lease: Lease
    triggered_by: str | None = None


Leased = tuple[LeasedDelivery, Endpoint]
"""A leased delivery, and the endpoint it goes to."""


class Leasing(Protocol):
    """Decides which new deliveries are attempted at once: `relay.delivery.admission.Reservation`."""

    def lease(self, new: Sequence[DueDelivery]) -> Mapping[str, Lease]:
        """Leases for the deliveries that may start at once, by delivery id."""


@dataclass(slots=True)
class Enqueued:
    """The deliveries that an event added to the outbox."""

    added: int = 0
    leased: list[Leased] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryUpdate:
    """The state of a delivery after an attempt."""

    delivery_id: str
    status: DeliveryStatus
    attempts_in_run: int
    next_attempt_at: Instant | None
    ended_at: Instant | None
    reason: str | None
    attempt: Attempt
    lease: Lease


def delivery_of(row: Row[Any]) -> Delivery:
    """The delivery in a row whose first columns are `COLUMNS`."""
    values = dict(zip(Delivery.__slots__, row, strict=False))
    values["status"] = DeliveryStatus(values["status"])
    values["event_type"] = parse_event_type(values["event_type"])
    return Delivery(**values)


def insert(tx: Tx, new: Sequence[tuple[Delivery, Endpoint]], leasing: Leasing | None = None) -> Enqueued:
    """Adds new deliveries, each with its endpoint, unless the endpoint has one of the event already.

    A cancelled delivery of the event becomes pending again and counts as added. What `leasing` leases is inserted as
    leased. The caller holds the endpoints (`lock_disabled`).
    """
    leases: Mapping[str, Lease] = {}
    if leasing is not None:
        leases = leasing.lease([_due(delivery, endpoint) for delivery, endpoint in new])
    rows = [_row(delivery, endpoint, leases.get(delivery.id)) for delivery, endpoint in new]
    enqueued = Enqueued(added=many_rows.insert_each_new(tx, deliveries, rows))
    if enqueued.added < len(new):
        ids = {delivery.id for delivery, _ in new}
        inserted = set(tx.execute(select(deliveries.c.id).where(deliveries.c.id.in_(ids))).scalars())
        enqueued.added += sum(_revive(tx, delivery) for delivery, _ in new if delivery.id not in inserted)
        new = [item for item in new if item[0].id in inserted]
    for delivery, endpoint in new:
        if (lease := leases.get(delivery.id)) is not None:
            leased = LeasedDelivery(delivery=delivery, host=endpoint.host, trigger=SCHEDULE, lease=lease)
            enqueued.leased.append((leased, endpoint))
    return enqueued


def _row(delivery: Delivery, endpoint: Endpoint, lease: Lease | None) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(Delivery.__slots__, _VALUES(delivery), strict=True))
    row["status"], row["event_type"] = delivery.status.value, delivery.event_type.value
    row["host"], row["trigger"], row["triggered_by"], row["leased_by"] = endpoint.host, SCHEDULE, None, None
    if lease is not None:
        row["next_attempt_at"], row["leased_by"] = lease.until, lease.token
    return row


def _due(delivery: Delivery, endpoint: Endpoint) -> DueDelivery:
    return DueDelivery(
        id=delivery.id,
        host=endpoint.host,
        endpoint_id=endpoint.id,
        next_attempt_at=delivery.created_at if delivery.next_attempt_at is None else delivery.next_attempt_at,
        endpoint_enabled=delivery.next_attempt_at is not None,
        format=endpoint.format,
        paused_until=endpoint.paused_until,
        failures=endpoint.failures,
        owner=delivery.owner,
        is_proven=endpoint.is_proven,
    )


def _revive(tx: Tx, new: Delivery) -> int:
    """Makes the endpoint's delivery of the event pending again if it was cancelled. Returns 1 or 0."""
    cancelled = update(deliveries).where(
        deliveries.c.event_id == new.event_id,
        deliveries.c.endpoint_id == new.endpoint_id,
        deliveries.c.status == DeliveryStatus.CANCELLED.value,
    )
    names = ("registration_id", "body", "next_attempt_at", "reason", "trace", "owner", "digest_id")
    values = {name: getattr(new, name) for name in names}
    reset = {"status": DeliveryStatus.PENDING.value, "ended_at": None, "attempts_in_run": 0}
    return tx.execute(cancelled, values | reset).rowcount


def lease(tx: Tx, ids: Sequence[str], now: Instant, lease: Lease) -> list[LeasedDelivery]:
    """Leases the deliveries that are still due; skips rows that another transaction holds."""
    if not ids:
        return []
    rows = tx.execute(_LEASE, {"ids": ids, "now": now, "until": lease.until, "token": lease.token})
    return [
        LeasedDelivery(
            delivery=delivery_of(row),
            host=row.host,
            trigger=row.trigger,
            lease=lease,
            triggered_by=row.triggered_by,
        )
        for row in rows
    ]


def record_results(tx: Tx, updates: Sequence[DeliveryUpdate]) -> None:
    """Writes the results of leased deliveries, and their attempts.

    A cancelled delivery stays cancelled, and one that is leased again keeps its new lease, unless the attempt
    succeeded: a success is recorded under any lease. Locks the deliveries by id.
    """
    updates = sorted(updates, key=attrgetter("delivery_id"))
    results = [
        {
            "delivery": item.delivery_id,
            "token": item.lease.token,
            "status": item.status.value,
            "attempts_in_run": item.attempts_in_run,
            "next_attempt_at": item.next_attempt_at,
            "ended_at": item.ended_at,
            "reason": item.reason,
            "number": item.attempt.number,
            "status_code": item.attempt.status_code,
        }
        for item in updates
    ]
    many_rows.execute_each(tx, _RECORD_RESULT, results)
    made = [dict(zip(Attempt.__slots__, _ATTEMPT_VALUES(item.attempt), strict=True)) for item in updates]
    many_rows.execute_each(tx, _ADD_ATTEMPTS, made)


def hold_for_disabled(tx: Tx, endpoint_id: str, now: Instant, limit: int) -> int:
    """Holds at most `limit` due deliveries of a disabled endpoint: they have no next attempt. Returns how many.

    Locks the endpoint. If it is enabled, nothing is held, as nothing would release it again.
    """
    # Without a condition on disabled_at: a row that a condition leaves out is not locked, and may be enabled next.
    endpoint = select(endpoints.c.disabled_at).where(endpoints.c.id == endpoint_id).with_for_update(read=True)
    if (row := tx.execute(endpoint).one_or_none()) is not None and row.disabled_at is None:
        return 0
    return _reschedule(tx, dict.fromkeys(_lock_unleased(tx, endpoint_id, now, now, limit), None))


def postpone(
    tx: Tx, endpoint_id: str, now: Instant, until: Instant, next_instant: Callable[[], Instant], limit: int = 1_000
) -> int:
    """Postpones the deliveries of a paused endpoint that are due by `until`, each to its own instant `later()`.

    Takes at most `limit`, the longest due first. Returns how many.
    """
    return _reschedule(tx, {id: next_instant() for id in _lock_unleased(tx, endpoint_id, now, until, limit)})


def _lock_unleased(tx: Tx, endpoint_id: str, now: Instant, until: Instant, limit: int) -> Sequence[str]:
    """Locks the deliveries of an endpoint that are due by `until` and not leased."""
    is_unleased = or_(deliveries.c.next_attempt_at <= now, deliveries.c.leased_by.is_(None))
    query = select(deliveries.c.id).where(deliveries.c.endpoint_id == endpoint_id, is_pending(deliveries), is_unleased)
    query = query.where(deliveries.c.next_attempt_at <= until).order_by(deliveries.c.next_attempt_at).limit(limit)
    return tx.execute(query.with_for_update(skip_locked=True)).scalars().all()


def _reschedule(tx: Tx, until: Mapping[str, Instant | None]) -> int:
    if until:
        tx.execute(
            update(deliveries)
            .where(deliveries.c.id == bindparam("delivery"))
            .values(next_attempt_at=bindparam("at"), leased_by=None),
            [{"delivery": id, "at": at} for id, at in until.items()],
        )
    return len(until)


def release_one(tx: Tx, id: str, due_at: Instant, lease: Lease) -> None:
    """Ends a lease without an attempt: the delivery is due at `due_at`."""
    leased = update(deliveries).where(deliveries.c.id == id, deliveries.c.leased_by == lease.token)
    tx.execute(leased, {"next_attempt_at": due_at, "leased_by": None})


def hold(tx: Tx, id: str, until: Instant, reason: str, digest_id: str | None, lease: Lease) -> None:
    """Ends a lease without an attempt: the delivery is held until `until`, for `reason`."""
    leased = update(deliveries).where(deliveries.c.id == id, deliveries.c.leased_by == lease.token)
    tx.execute(leased, {"next_attempt_at": until, "reason": reason, "digest_id": digest_id, "leased_by": None})


def release(tx: Tx, now: Instant, owner: str | None = None) -> int:
    """Ends leases, so that their deliveries are due now: those of `owner`, or all if it is None. Returns how many.

    Only a relay that is alone on the store may end all. The token of a lease starts with its owner and a full stop.
    """
    leased: ColumnElement[bool] = deliveries.c.leased_by.is_not(None)
    if owner is not None:
        leased = deliveries.c.leased_by.startswith(f"{owner}.", autoescape=True)
    query = update(deliveries).where(deliveries.c.status == DeliveryStatus.PENDING.value, leased)
    return tx.execute(query, {"next_attempt_at": now, "leased_by": None}).rowcount


def release_held(tx: Tx, endpoint_id: str, now: Instant) -> int:
    """Makes the held deliveries of an enabled endpoint due now. Returns how many."""
    query = update(deliveries).where(
        deliveries.c.endpoint_id == endpoint_id,
        deliveries.c.status == DeliveryStatus.PENDING.value,
        deliveries.c.next_attempt_at.is_(None),
        ~IS_IN_DIGEST,
    )
    return tx.execute(query, {"next_attempt_at": now, "attempts_in_run": 0}).rowcount


def cancel(tx: Tx, endpoint_id: str, job: tuple[str, str], now: Instant, reason: str) -> None:
    """Cancels the pending deliveries of an endpoint and a job (workspace, job id)."""
    of_job = (deliveries.c.workspace == job[0], deliveries.c.job_id == job[1])
    tx.execute(
        update(deliveries).where(deliveries.c.endpoint_id == endpoint_id, _PENDING, *of_job), _cancelled(now, reason)
    )


def cancel_starts(tx: Tx, endpoint_ids: Sequence[str], job: tuple[str, str], now: Instant, reason: str) -> None:
    """Cancels the deliveries of a job's start to these endpoints that are pending and not in flight."""
    of_job = (deliveries.c.workspace == job[0], deliveries.c.job_id == job[1])
    waiting = (_PENDING, deliveries.c.event_type == EventType.STARTED.value, deliveries.c.leased_by.is_(None))
    query = update(deliveries).where(*of_job, deliveries.c.endpoint_id.in_(endpoint_ids), *waiting, ~IS_IN_DIGEST)
    tx.execute(query, _cancelled(now, reason))


def cancel_some(tx: Tx, endpoint_id: str, now: Instant, reason: str, limit: int) -> int:
    """Cancels at most `limit` of the pending deliveries of an endpoint. Returns how many."""
    query = select(deliveries.c.id).where(deliveries.c.endpoint_id == endpoint_id, _PENDING).limit(limit)
    ids = tx.execute(query.with_for_update()).scalars().all()
    tx.execute(update(deliveries).where(deliveries.c.id.in_(ids)), _cancelled(now, reason))
    return len(ids)


def _cancelled(now: Instant, reason: str) -> dict[str, object]:
    ended = {"status": DeliveryStatus.CANCELLED.value, "ended_at": now, "reason": reason}
    return ended | {"next_attempt_at": None, "leased_by": None}


def update_host(tx: Tx, endpoint_id: str, host: str) -> None:
    """Moves the pending deliveries of an endpoint to its new host, whose limits they count against."""
    pending = deliveries.c.status == DeliveryStatus.PENDING.value
    tx.execute(update(deliveries).where(deliveries.c.endpoint_id == endpoint_id, pending), {"host": host})


def undelivered(tx: Tx, endpoint_id: str, limit: int) -> list[Delivery]:
    """The newest pending and failed deliveries of an endpoint."""
    is_undelivered = deliveries.c.status.in_([DeliveryStatus.PENDING.value, DeliveryStatus.FAILED.value])
    query = select(*COLUMNS).where(deliveries.c.endpoint_id == endpoint_id, is_undelivered)
    newest = query.order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc()).limit(limit)
    return [delivery_of(row) for row in tx.execute(newest)]


def replace_bodies(tx: Tx, bodies: Mapping[str, bytes]) -> None:
    """Gives deliveries, by id, another body. An attempt that is being made still sends the one before."""
    if bodies:
        rows = [{"delivery": id, "new_body": bodies[id]} for id in sorted(bodies)]
        tx.execute(
            update(deliveries).where(deliveries.c.id == bindparam("delivery")).values(body=bindparam("new_body")), rows
        )
