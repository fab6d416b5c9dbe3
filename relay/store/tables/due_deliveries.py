"""Due deliveries: the longest due, or round robin over endpoints. Reads only; `outbox.lease` leases the chosen ones."""

from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    BindParameter,
    ColumnElement,
    Integer,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal,
    select,
    tuple_,
)

from relay.model import UNGATHERED, DueDelivery, EndpointKind, Instant
from relay.store.engine.database import Tx
from relay.store.engine.schema import deliveries, endpoints

_DUE_COLUMNS = [deliveries.c[name] for name in ("id", "host", "endpoint_id", "next_attempt_at", "owner", "digest_id")]
_DUE_COLUMNS += [endpoints.c[name] for name in ("format", "disabled_at", "paused_until", "failures", "next_slot_at")]
_DUE_COLUMNS += [endpoints.c.kind, endpoints.c.succeeded_at]
_ahead = deliveries.alias("ahead")


def is_pending(table: Any) -> ColumnElement[bool]:
    """The condition that a row of `deliveries`, or of an alias of it, has a next attempt."""
    condition: ColumnElement[bool] = table.c.next_attempt_at.is_not(None)
    return condition


def _round_robin_cte(now: Any, after: Any, per_endpoint: Any, max_steps: Any) -> CTE:
    """Ids of deliveries round robin: after each the next due one of its endpoint, or the first of the next endpoint."""
    columns = (deliveries.c.id, deliveries.c.endpoint_id, deliveries.c.next_attempt_at)
    in_turn = (_ahead.c.endpoint_id, _ahead.c.next_attempt_at, _ahead.c.id)
    waiting = select(_ahead.c.id).where(is_pending(_ahead)).order_by(*in_turn).limit(1)
    first = waiting.where(_ahead.c.endpoint_id > after).scalar_subquery()
    steps = select(*columns, literal(1).label("of_one"), literal(1).label("step")).where(deliveries.c.id == first)
    earlier_steps = steps.cte("steps", recursive=True)
    of_same = waiting.where(
        _ahead.c.endpoint_id == earlier_steps.c.endpoint_id,
        tuple_(_ahead.c.next_attempt_at, _ahead.c.id) > tuple_(earlier_steps.c.next_attempt_at, earlier_steps.c.id),
        _ahead.c.next_attempt_at <= now,
        earlier_steps.c.of_one < per_endpoint,
    )
    of_next = waiting.where(_ahead.c.endpoint_id > earlier_steps.c.endpoint_id)
    next_id = func.coalesce(
        of_same.correlate(earlier_steps).scalar_subquery(), of_next.correlate(earlier_steps).scalar_subquery()
    )
    of_one = case((deliveries.c.endpoint_id == earlier_steps.c.endpoint_id, earlier_steps.c.of_one + 1), else_=1)
    joined = earlier_steps.join(deliveries, deliveries.c.id == next_id)
    return earlier_steps.union_all(
        select(*columns, of_one, earlier_steps.c.step + 1).select_from(joined).where(earlier_steps.c.step < max_steps)
    )


# --- built once: building a statement costs more than running it ----------------------------------------------------

_NOW: BindParameter[int] = bindparam("now", type_=BigInteger)
_LIMIT: BindParameter[int] = bindparam("limit", type_=Integer)
_IS_DUE = and_(is_pending(deliveries), deliveries.c.next_attempt_at <= _NOW)
_WITH_ENDPOINT = deliveries.outerjoin(endpoints, endpoints.c.id == deliveries.c.endpoint_id)

_COUNT_DUE: Select[Any] = select(func.count()).select_from(select(literal(1)).where(_IS_DUE).limit(_LIMIT).subquery())
_DUE: Select[Any] = (
    select(*_DUE_COLUMNS)
    .select_from(_WITH_ENDPOINT)
    .where(_IS_DUE)
    .order_by(deliveries.c.next_attempt_at)
    .limit(_LIMIT)
)
_STEPS = _round_robin_cte(_NOW, bindparam("after", type_=Text), bindparam("each", type_=Integer), _LIMIT)
_DUE_ROUND_ROBIN: Select[Any] = (
    select(*_DUE_COLUMNS)
    .select_from(
        _STEPS.join(deliveries, deliveries.c.id == _STEPS.c.id).outerjoin(
            endpoints, endpoints.c.id == deliveries.c.endpoint_id
        )
    )
    .order_by(_STEPS.c.step)
)


def has_at_least_due(tx: Tx, now: Instant, number: int) -> bool:
    """Whether at least `number` deliveries are due. Counts in the index, which costs far less than reading them."""
    count: int = tx.execute(_COUNT_DUE, {"now": now, "limit": number}).scalar_one()
    return count >= number


def due(tx: Tx, now: Instant, limit: int) -> list[DueDelivery]:
    """Due deliveries, the longest due first."""
    return [_due(row) for row in tx.execute(_DUE, {"now": now, "limit": limit})]


def due_round_robin(tx: Tx, now: Instant, after: str, per_endpoint: int, limit: int) -> tuple[list[DueDelivery], str]:
    """Due deliveries, endpoint by endpoint in the order of their ids, at most `per_endpoint` of one.

    However long the queue of one endpoint, the next is one step in the index `deliveries_round_robin` away. Steps
    that meet an endpoint with nothing due count towards `limit`, and return nothing.

    Starts after the endpoint `after`. Returns also the endpoint to continue after; '' if the last one was reached.
    """
    rows = tx.execute(_DUE_ROUND_ROBIN, {"now": now, "after": after, "each": per_endpoint, "limit": limit}).all()
    last = rows[-1].endpoint_id if len(rows) >= limit else ""
    return [_due(row) for row in rows if row.next_attempt_at <= now], last


def oldest_due(tx: Tx, now: Instant) -> Instant | None:
    """When the longest-due delivery became due; None if none is due."""
    query = select(func.min(deliveries.c.next_attempt_at)).where(
        deliveries.c.next_attempt_at.is_not(None), deliveries.c.next_attempt_at <= now
    )
    return tx.execute(query).scalar()


def _due(row: Row[Any]) -> DueDelivery:
    id, host, endpoint_id, next_attempt_at, owner, digest_id, *of_endpoint = tuple(row)
    format, disabled_at, paused_until, failures, next_slot_at, kind, succeeded_at = of_endpoint
    return DueDelivery(
        id=id,
        host=host,
        endpoint_id=endpoint_id,
        next_attempt_at=next_attempt_at,
        endpoint_enabled=format is not None and disabled_at is None,
        format=format or "standard",
        paused_until=paused_until,
        failures=failures or 0,
        owner=owner,
        is_ungathered=digest_id == UNGATHERED,
        next_slot_at=next_slot_at,
        is_proven=succeeded_at is not None or kind == EndpointKind.STANDING.value,
    )
