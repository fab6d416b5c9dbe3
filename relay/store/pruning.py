"""Deleting what is old: a job goes with everything about it, so that nothing is left that points nowhere."""

from sqlalchemy import and_, delete, or_, select

from relay.model import DeliveryStatus, EndpointKind, Instant
from relay.store.database import Tx
from relay.store.schema import attempts, deliveries, endpoints, events, looks, registrations, watches


def jobs(tx: Tx, before: Instant, most: int) -> int:
    """Deletes at most `most` jobs that ended before `before` and have no delivery pending or ended since.

    Returns how many went.
    """
    in_use = select(deliveries.c.id).where(
        deliveries.c.workspace == watches.c.workspace,
        deliveries.c.job_id == watches.c.job_id,
        or_(deliveries.c.status == DeliveryStatus.PENDING.value, deliveries.c.ended_at >= before),
    )
    old = tx.execute(
        select(watches.c.workspace, watches.c.job_id)
        .where(watches.c.ended_at.is_not(None), watches.c.ended_at < before, ~in_use.exists())
        .order_by(watches.c.ended_at)
        .limit(most)
    ).all()
    for workspace, job_id in old:
        sent = select(deliveries.c.id).where(deliveries.c.workspace == workspace, deliveries.c.job_id == job_id)
        tx.execute(delete(attempts).where(attempts.c.delivery_id.in_(sent)))
        for table in (deliveries, events, registrations, looks, watches):
            tx.execute(delete(table).where(and_(table.c.workspace == workspace, table.c.job_id == job_id)))
    return len(old)


def unused_endpoints(tx: Tx, before: Instant, most: int) -> int:
    """Deletes ad hoc endpoints made before `before` that no registration or delivery names. Returns how many went."""
    named = or_(
        select(registrations.c.id).where(registrations.c.endpoint_id == endpoints.c.id).exists(),
        select(deliveries.c.id).where(deliveries.c.endpoint_id == endpoints.c.id).exists(),
    )
    ids = (
        tx.execute(
            select(endpoints.c.id)
            .where(endpoints.c.kind == EndpointKind.AD_HOC.value, endpoints.c.created_at < before, ~named)
            .order_by(endpoints.c.created_at)
            .limit(most)
        )
        .scalars()
        .all()
    )
    if ids:
        tx.execute(delete(endpoints).where(endpoints.c.id.in_(ids)))
    return len(ids)
