"""Whether the relay sends: a store that was restored or cloned has deliveries that were made elsewhere already.

So a restore suspends sending, and so does a start under another public URL or instance. Jobs are registered and polled
meanwhile; their deliveries wait until a person resumes sending, or discards what waits.
"""

from dataclasses import dataclass

from sqlalchemy import and_, exists, func, literal, or_, select, update

from relay.model import DeliveryStatus, EndpointKind, Instant
from relay.store.engine import dialect
from relay.store.engine.database import Tx
from relay.store.engine.schema import deliveries, endpoints, replays, sending, watches

DISCARD_REASON = "discarded: the store was restored or cloned"

_STATE = select(sending.c.suspended_at, sending.c.reason)
_LOCK_USE = select(sending.c.public_url, sending.c.instance).with_for_update()
_PENDING = deliveries.c.status == DeliveryStatus.PENDING.value
_WATCH_OF_DELIVERY = and_(watches.c.workspace == deliveries.c.workspace, watches.c.job_id == deliveries.c.job_id)


@dataclass(frozen=True, slots=True)
class Suspension:
    """Nothing is sent."""

    since: Instant
    reason: str
    """Why, as a clause: `the store was restored ...`."""


def suspension(tx: Tx) -> Suspension | None:
    """The suspension; None if the relay sends."""
    row = tx.execute(_STATE).one_or_none()
    return None if row is None or row.suspended_at is None else Suspension(row.suspended_at, row.reason or "")


def suspend(tx: Tx, reason: str, now: Instant) -> bool:
    """Suspends sending. False if it is suspended already, which stays as it is."""
    _ensure_row(tx)
    running = update(sending).where(sending.c.suspended_at.is_(None))
    return tx.execute(running, {"suspended_at": now, "reason": reason}).rowcount == 1


def resume(tx: Tx) -> bool:
    """Ends the suspension. False if there is none."""
    suspended = update(sending).where(sending.c.suspended_at.is_not(None))
    return tx.execute(suspended, {"suspended_at": None, "reason": None}).rowcount == 1


def adopt(tx: Tx, public_url: str | None, instance: str | None, now: Instant) -> str | None:
    """To be called as a relay starts: records its public URL and its instance. Returns why it suspends sending: the
    store was last used under another one, and has something to send. None if there is no reason.
    """
    _ensure_row(tx)
    last = tx.execute(_LOCK_USE).one()
    reasons = [
        f"the store was last used {text.format(before)}, and this relay is {text.format(current or 'without one')}"
        for text, before, current in (
            ("as instance {}", last.instance, instance),
            ("under the public URL {}", last.public_url, public_url),
        )
        if before not in (None, current)
    ]
    if (last.public_url, last.instance) != (public_url, instance):
        tx.execute(update(sending), {"public_url": public_url, "instance": instance})
    if reasons and _has_something_to_send(tx) and suspend(tx, reasons[0], now):
        return reasons[0]
    return None


def waiting(tx: Tx, limit: int) -> int:
    """How many deliveries wait and would be attempted, counted up to `limit`; those that are held for a disabled
    endpoint do not count."""
    rows = select(literal(1)).select_from(deliveries).where(deliveries.c.next_attempt_at.is_not(None)).limit(limit)
    return int(tx.execute(select(func.count()).select_from(rows.subquery())).scalar_one())


def discard_batch(tx: Tx, since: Instant, now: Instant, limit: int) -> int:
    """Cancels at most `limit` of the pending deliveries that the suspension is about. Returns how many.

    Those of jobs that were registered after `since` stay: nobody was told of them.
    """
    is_newer = exists().where(_WATCH_OF_DELIVERY, watches.c.created_at > since)
    is_news_since = and_(deliveries.c.created_at > since, ~exists().where(_WATCH_OF_DELIVERY))
    query = select(deliveries.c.id).where(_PENDING, ~is_newer, ~is_news_since).order_by(deliveries.c.id).limit(limit)
    ids = tx.execute(query.with_for_update()).scalars().all()
    ended = {"status": DeliveryStatus.CANCELLED.value, "ended_at": now, "reason": DISCARD_REASON}
    ended |= {"next_attempt_at": None, "leased_by": None}
    tx.execute(update(deliveries).where(deliveries.c.id.in_(ids)), ended)
    return len(ids)


def _has_something_to_send(tx: Tx) -> bool:
    """Whether anything waits to be sent, or an active job or an endpoint that is not of the configuration exists."""
    added = and_(endpoints.c.kind == EndpointKind.STANDING.value, endpoints.c.source != "config")
    replayed = exists().where(replays.c.ended_at.is_(None))
    found = or_(
        exists().where(_PENDING), replayed, exists().where(watches.c.next_poll_at.is_not(None)), exists().where(added)
    )
    return bool(tx.execute(select(found)).scalar_one())


def _ensure_row(tx: Tx) -> None:
    dialect.insert_new(tx, sending, [{"id": 0}])
