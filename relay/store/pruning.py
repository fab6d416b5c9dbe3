"""Deleting what is old: a job goes with everything about it, so that nothing is left that points nowhere.

Both walk through what is old enough, in parts, and so cost that and not what the store holds: what can't go yet is
walked past once a round.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, literal, or_, select, tuple_

from relay.model import DeliveryStatus, EndpointKind, Instant
from relay.store.database import Tx
from relay.store.schema import attempts, deliveries, endpoints, events, looks, registrations, watches

Place = tuple[Instant, str]
"""Where a walk has come to, oldest first: when it ended (endpoints: was made), and its id."""

Part = tuple[int, Place | None]
"""How many went, and the place to go on after; None: that was all."""


def jobs(tx: Tx, before: Instant, most: int, after: Place | None = None) -> Part:
    """Deletes, of the next `most` jobs that ended before `before`, those with no delivery pending or ended since."""
    place = tuple_(watches.c.ended_at, watches.c.job_id)
    query = select(watches.c.workspace, watches.c.job_id, watches.c.ended_at)
    query = query.where(watches.c.ended_at.is_not(None), watches.c.ended_at < before)
    if after is not None:
        query = query.where(place > tuple_(*map(literal, after)))
    rows = tx.execute(query.order_by(*place).limit(most)).all()
    in_use = select(deliveries.c.workspace, deliveries.c.job_id).where(
        deliveries.c.job_id.in_([row.job_id for row in rows]),
        or_(deliveries.c.status == DeliveryStatus.PENDING.value, deliveries.c.ended_at >= before),
    )
    kept = {tuple(row) for row in tx.execute(in_use)}
    old = defaultdict(list)
    for row in rows:
        if (row.workspace, row.job_id) not in kept:
            old[row.workspace].append(row.job_id)
    for workspace, ids in old.items():
        _delete(tx, workspace, ids)
    return sum(map(len, old.values())), (rows[-1].ended_at, rows[-1].job_id) if len(rows) == most else None


def _delete(tx: Tx, workspace: str, ids: Sequence[str]) -> None:
    sent = select(deliveries.c.id).where(deliveries.c.workspace == workspace, deliveries.c.job_id.in_(ids))
    tx.execute(delete(attempts).where(attempts.c.delivery_id.in_(sent)))
    for table in (deliveries, events, registrations, looks, watches):
        tx.execute(delete(table).where(table.c.workspace == workspace, table.c.job_id.in_(ids)))


def unused_endpoints(tx: Tx, before: Instant, most: int, after: Place | None = None) -> Part:
    """Deletes, of the next `most` ad hoc endpoints made before `before`, those that nothing names any more."""
    place = tuple_(endpoints.c.created_at, endpoints.c.id)
    query = select(endpoints.c.created_at, endpoints.c.id)
    query = query.where(endpoints.c.kind == EndpointKind.AD_HOC.value, endpoints.c.created_at < before)
    if after is not None:
        query = query.where(place > tuple_(*map(literal, after)))
    rows = tx.execute(query.order_by(*place).limit(most)).all()
    # Asked one by one: of an endpoint in use the first row is enough, however many there are.
    unused = [row.id for row in rows if not any(_names(tx, table, row.id) for table in (registrations, deliveries))]
    if unused:
        tx.execute(delete(endpoints).where(endpoints.c.id.in_(unused)))
    return len(unused), (rows[-1].created_at, rows[-1].id) if len(rows) == most else None


def _names(tx: Tx, table: Any, endpoint_id: str) -> bool:
    return tx.execute(select(table.c.id).where(table.c.endpoint_id == endpoint_id).limit(1)).first() is not None
