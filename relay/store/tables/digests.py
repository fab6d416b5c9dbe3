"""Digests: deliveries of one endpoint that one other delivery sends together.

The members are ordinary deliveries without a next attempt. Their state is written in the transaction that writes the
state of the digest, so none of them is lost or sent twice.
"""

from collections.abc import Sequence

from sqlalchemy import select, update

from relay.model import UNGATHERED, Delivery, DeliveryStatus, Instant
from relay.store.engine.database import Tx
from relay.store.engine.schema import deliveries
from relay.store.tables.outbox import COLUMNS, delivery_of

_PENDING = deliveries.c.status == DeliveryStatus.PENDING.value


def lock_ungathered(tx: Tx, endpoint_id: str, limit: int) -> list[Delivery]:
    """At most `limit` deliveries that wait for the endpoint's digest, due or not, the oldest first; locked.

    The caller holds the endpoint, so that two relays gather one after the other.
    """
    query = select(*COLUMNS).where(deliveries.c.endpoint_id == endpoint_id, deliveries.c.digest_id == UNGATHERED)
    query = query.where(_PENDING, deliveries.c.next_attempt_at.is_not(None))
    query = query.order_by(deliveries.c.created_at, deliveries.c.id).limit(limit)
    return [delivery_of(row) for row in tx.execute(query.with_for_update(skip_locked=True))]


def send_alone(tx: Tx, id: str, now: Instant) -> None:
    """Makes the only member of a digest due now, as a message of its own."""
    tx.execute(update(deliveries).where(deliveries.c.id == id), {"digest_id": id, "next_attempt_at": now})


def gather(tx: Tx, ids: Sequence[str], digest_id: str) -> None:
    """Makes the deliveries members of a digest: they have no attempt of their own."""
    members = update(deliveries).where(deliveries.c.id.in_(ids))
    tx.execute(members, {"digest_id": digest_id, "next_attempt_at": None, "reason": f"part of the digest {digest_id}"})


def record_result(tx: Tx, digest_id: str, now: Instant) -> None:
    """Gives the members the status and the reason of their digest, if it has ended."""
    ended = select(deliveries.c.status, deliveries.c.reason).where(deliveries.c.id == digest_id)
    digest = tx.execute(ended).one_or_none()
    if digest is None or digest.status == DeliveryStatus.PENDING.value:
        return
    members = update(deliveries).where(
        deliveries.c.digest_id == digest_id,
        deliveries.c.next_attempt_at.is_(None),
        deliveries.c.status != DeliveryStatus.DELIVERED.value,
    )
    tx.execute(members, {"status": digest.status, "reason": digest.reason, "ended_at": now})


def members(tx: Tx, digest_id: str, limit: int) -> list[Delivery]:
    """The members of a digest, the oldest first."""
    query = select(*COLUMNS).where(deliveries.c.digest_id == digest_id, deliveries.c.id != digest_id)
    return [
        delivery_of(row) for row in tx.execute(query.order_by(deliveries.c.created_at, deliveries.c.id).limit(limit))
    ]
