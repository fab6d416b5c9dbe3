"""Events: the immutable facts."""

import json
from typing import Any

from sqlalchemy import Row, select

from relay.model import ENDINGS, Event, EventType
from relay.store import dialect
from relay.store.database import Tx
from relay.store.schema import events


def _row(event: Event) -> dict[str, Any]:
    row = {name: getattr(event, name) for name in event.__slots__}
    row["type"] = event.type.value
    row["job"] = json.dumps(event.job, ensure_ascii=False)
    return row


def _event(row: Row[Any]) -> Event:
    values = dict(row._mapping)
    values["type"] = EventType(values["type"])
    values["job"] = json.loads(values["job"])
    return Event(**values)


def add(tx: Tx, event: Event) -> Event:
    """Adds the event. Where the same fact is there already (same id), that one stays and is returned."""
    if dialect.insert_new(tx, events, [_row(event)]) == 1:
        return event
    return get(tx, event.id) or event


def get(tx: Tx, id: str) -> Event | None:
    row = tx.execute(select(events).where(events.c.id == id)).one_or_none()
    return _event(row) if row else None


def of_job(tx: Tx, workspace: str, job_id: str) -> list[Event]:
    """All events of a job, oldest first."""
    query = select(events).where(events.c.workspace == workspace, events.c.job_id == job_id)
    return [_event(row) for row in tx.execute(query.order_by(events.c.created_at))]


def ending(tx: Tx, workspace: str, job_id: str) -> Event | None:
    """How the job ended, the latest word where there are several."""
    endings = [event for event in of_job(tx, workspace, job_id) if event.type in ENDINGS]
    return endings[-1] if endings else None
