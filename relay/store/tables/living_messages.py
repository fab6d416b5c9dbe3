"""Living messages: the note of a chat's message, by which a later event of the job finds it."""

import json
from typing import Any

from sqlalchemy import Row, delete, func, select, update

from relay.model import FINAL_EVENTS, Delivery, EventType, LivingMessage, MessageState
from relay.store.engine import dialect
from relay.store.engine.database import Tx
from relay.store.engine.schema import deliveries, living_messages


def _is(message: LivingMessage) -> tuple[Any, ...]:
    table = living_messages.c
    return (
        table.workspace == message.workspace,
        table.job_id == message.job_id,
        table.endpoint_id == message.endpoint_id,
    )


def _row(message: LivingMessage) -> dict[str, Any]:
    row = {name: getattr(message, name) for name in message.__slots__}
    return row | {"state": message.state.value, "address": json.dumps(dict(message.address))}


def _message(row: Row[Any]) -> LivingMessage:
    values = dict(row._mapping)
    return LivingMessage(**values | {"state": MessageState(values["state"]), "address": json.loads(values["address"])})


def lock(tx: Tx, delivery: Delivery) -> LivingMessage | None:
    """The message of the delivery's job and endpoint, locked until the transaction ends."""
    query = select(living_messages).where(
        living_messages.c.workspace == delivery.workspace,
        living_messages.c.job_id == delivery.job_id,
        living_messages.c.endpoint_id == delivery.endpoint_id,
    )
    row = tx.execute(query.with_for_update()).one_or_none()
    return _message(row) if row else None


def add(tx: Tx, message: LivingMessage) -> bool:
    """Adds a message; False if the job and endpoint have one already."""
    return bool(dialect.insert_new(tx, living_messages, [_row(message)]))


def save(tx: Tx, message: LivingMessage) -> None:
    """Writes all values of the message; the caller holds its lease."""
    tx.execute(update(living_messages).where(*_is(message)), _row(message))


def remove(tx: Tx, message: LivingMessage) -> None:
    """Forgets a message that the service did not take."""
    tx.execute(delete(living_messages).where(*_is(message)))


def count_open(tx: Tx, endpoint_id: str) -> int:
    """How many messages at the endpoint say that their job has started."""
    is_open = (living_messages.c.endpoint_id == endpoint_id, living_messages.c.state == MessageState.POSTED.value)
    return int(tx.execute(select(func.count()).select_from(living_messages).where(*is_open)).scalar_one())


def has_ended(tx: Tx, delivery: Delivery) -> bool:
    """Whether the endpoint has a delivery of the job's ending, in whatever state."""
    endings = [type.value for type in FINAL_EVENTS]
    query = select(deliveries.c.id).where(
        deliveries.c.workspace == delivery.workspace,
        deliveries.c.job_id == delivery.job_id,
        deliveries.c.endpoint_id == delivery.endpoint_id,
        deliveries.c.event_type.in_(endings),
    )
    return delivery.event_type is EventType.STARTED and tx.execute(query.limit(1)).first() is not None
