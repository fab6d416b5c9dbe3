"""Events: the immutable facts about jobs."""

import json
from typing import Any

from sqlalchemy import Row, bindparam, func, select

from relay.model import (
    ENDINGS_AT_EXEC,
    FINAL_EVENTS,
    AnyEventType,
    Event,
    EventType,
    Instant,
    ReplacedEvent,
    parse_event_type,
)
from relay.store.engine import dialect, paging
from relay.store.engine.database import Tx
from relay.store.engine.schema import events

_OF_JOB = (
    select(events)
    .where(events.c.workspace == bindparam("of"), events.c.job_id == bindparam("of_job"))
    .order_by(events.c.created_at)
)


def _row(event: Event) -> dict[str, Any]:
    row = {name: getattr(event, name) for name in event.__slots__}
    row["type"] = event.type.value
    row["job"] = json.dumps(event.job, ensure_ascii=False)
    replaced: ReplacedEvent | None = row.pop("replaces")
    return row | {
        "replaces_event_id": replaced.event_id if replaced else None,
        "replaces_type": replaced.type.value if replaced else None,
    }


def _event(row: Row[Any]) -> Event:
    values = dict(row._mapping)
    values["type"] = parse_event_type(values["type"])
    values["job"] = json.loads(values["job"])
    replaced_id, replaced_type = values.pop("replaces_event_id"), values.pop("replaces_type")
    values["replaces"] = ReplacedEvent(replaced_id, EventType(replaced_type)) if replaced_id else None
    return Event(**values)


def add(tx: Tx, event: Event) -> Event:
    """Adds the event. If the same fact exists (same id), that one stays and is returned."""
    if dialect.insert_new(tx, events, [_row(event)]):
        return event
    return get(tx, event.id) or event


def get(tx: Tx, id: str) -> Event | None:
    """The event with this id."""
    row = tx.execute(select(events).where(events.c.id == id)).one_or_none()
    return _event(row) if row else None


def for_job(tx: Tx, workspace: str, job_id: str) -> list[Event]:
    """All events of a job, oldest first."""
    return [_event(row) for row in tx.execute(_OF_JOB, {"of": workspace, "of_job": job_id})]


def page(
    tx: Tx, page: paging.Page, type: AnyEventType | None, job_id: str | None, workspace: str | None
) -> tuple[list[Event], str | None]:
    """One page of events, newest first, and the cursor of the next; None means any."""
    filters = {events.c.type: type and type.value, events.c.job_id: job_id, events.c.workspace: workspace}
    query = select(events).where(*(column == value for column, value in filters.items() if value is not None))
    order = (events.c.created_at, events.c.id)
    rows = tx.execute(paging.apply_page(query, order, page)).all()
    shown, cursor = paging.split_page(rows, page, order)
    return [_event(row) for row in shown], cursor


def count_since(tx: Tx, workspace: str, since: Instant) -> int:
    """How many events of the workspace were made after `since`."""
    query = select(func.count()).where(events.c.workspace == workspace, events.c.created_at > since)
    number: int = tx.execute(query).scalar_one()
    return number


def final_event(tx: Tx, workspace: str, job_id: str) -> Event | None:
    """The final event of a job: Exec's own ending if there is one, else the latest with which the relay gave up."""
    endings = [event for event in for_job(tx, workspace, job_id) if event.type in FINAL_EVENTS]
    return max(endings, key=lambda event: event.type in ENDINGS_AT_EXEC) if endings else None
