"""Events: the immutable facts about jobs."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, func, select

from relay.model import (
    ENDINGS_AT_EXEC,
    FINAL_EVENTS,
    OPERATOR_WORKSPACE,
    AnyEventType,
    DigestEventType,
    Event,
    EventContext,
    EventType,
    Instant,
    ReplacedEvent,
    parse_event_type,
)
from relay.store.engine import dialect, paging
from relay.store.engine.database import Tx
from relay.store.engine.schema import events
from relay.store.tables import event_feed

_OF_JOBS = (
    select(events)
    .where(events.c.workspace == bindparam("of"), events.c.job_id.in_(bindparam("of_jobs", expanding=True)))
    .order_by(events.c.created_at)
)


def _row(event: Event) -> dict[str, Any]:
    row = {name: getattr(event, name) for name in event.__slots__}
    row["type"] = event.type.value
    row["job"] = json.dumps(event.job, ensure_ascii=False)
    row["context"] = json.dumps(asdict(event.context), ensure_ascii=False)
    replaced: ReplacedEvent | None = row.pop("replaces")
    return row | {
        "replaces_event_id": replaced.event_id if replaced else None,
        "replaces_type": replaced.type.value if replaced else None,
    }


def _event(row: Row[Any]) -> Event:
    values = dict(row._mapping)
    del values["position"]
    values["type"] = parse_event_type(values["type"])
    values["job"] = json.loads(values["job"])
    values["context"] = EventContext(**json.loads(values["context"]))
    replaced_id, replaced_type = values.pop("replaces_event_id"), values.pop("replaces_type")
    values["replaces"] = ReplacedEvent(replaced_id, EventType(replaced_type)) if replaced_id else None
    return Event(**values)


def add(tx: Tx, event: Event) -> Event:
    """Adds the event. If the same fact exists (same id), that one stays and is returned."""
    if dialect.insert_new(tx, events, [_row(event)]):
        if event.workspace != OPERATOR_WORKSPACE:
            event_feed.number_inserted(tx, event.id)
        return event
    return get(tx, event.id) or event


def get(tx: Tx, id: str) -> Event | None:
    """The event with this id."""
    row = tx.execute(select(events).where(events.c.id == id)).one_or_none()
    return _event(row) if row else None


def for_jobs(tx: Tx, workspace: str, job_ids: Sequence[str]) -> dict[str, list[Event]]:
    """All events of some jobs of a workspace, by job id, oldest first; a job without an event is left out."""
    found = defaultdict[str, list[Event]](list)
    for row in tx.execute(_OF_JOBS, {"of": workspace, "of_jobs": list(job_ids)}):
        found[row.job_id].append(_event(row))
    return found


def for_job(tx: Tx, workspace: str, job_id: str) -> list[Event]:
    """All events of a job, oldest first."""
    return for_jobs(tx, workspace, [job_id]).get(job_id, [])


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a reader wants; None means any."""

    types: tuple[AnyEventType, ...] | None = None
    job_id: str | None = None
    workspace: str | None = None

    def matches(self, event: Event) -> bool:
        """Whether the event is wanted."""
        return (
            (self.types is None or event.type in self.types)
            and self.job_id in (None, event.job_id)
            and self.workspace in (None, event.workspace)
        )


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """An event with its position in the feed."""

    position: int
    event: Event


def page(
    tx: Tx,
    page: paging.Page,
    types: AnyEventType | tuple[AnyEventType, ...] | None,
    job_id: str | None,
    workspace: str | None,
) -> tuple[list[Event], str | None]:
    """One page of events, newest first, and the cursor of the next; None means any. A digest is no event of its own."""
    event_filter = EventFilter((types,) if isinstance(types, str) else types, job_id, workspace)
    order = (events.c.created_at, events.c.id)
    query = select(events).where(*_conditions(event_filter), events.c.type != DigestEventType.DIGEST.value)
    rows = tx.execute(paging.apply_page(query, order, page)).all()
    page_rows, cursor = paging.split_page(rows, page, order)
    return [_event(row) for row in page_rows], cursor


def _conditions(event_filter: EventFilter) -> Iterator[ColumnElement[bool]]:
    if event_filter.types is not None and len(event_filter.types) == 1:
        yield events.c.type == event_filter.types[0].value
    elif event_filter.types is not None:
        yield events.c.type.in_([type.value for type in event_filter.types])
    if event_filter.job_id is not None:
        yield events.c.job_id == event_filter.job_id
    if event_filter.workspace is not None:
        yield events.c.workspace == event_filter.workspace


def after(tx: Tx, position: int, event_filter: EventFilter, limit: int) -> list[FeedEvent]:
    """The next events of the feed after a position, in its order, at most `limit`."""
    query = select(events).where(events.c.position > position, *_conditions(event_filter))
    rows = tx.execute(query.order_by(events.c.position).limit(limit))
    return [FeedEvent(row.position, _event(row)) for row in rows]


def id_at(tx: Tx, position: int) -> str | None:
    """The id of the event at a position; None if it was deleted, or never was."""
    id: str | None = tx.execute(select(events.c.id).where(events.c.position == position)).scalar()
    return id


def get_many(tx: Tx, ids: Iterable[str]) -> dict[str, Event]:
    """The events with these ids, by id."""
    return {row.id: _event(row) for row in tx.execute(select(events).where(events.c.id.in_(list(ids))))}


def count_since(tx: Tx, workspace: str, since: Instant) -> int:
    """How many events of the workspace were made after `since`, without digests."""
    query = select(func.count()).where(events.c.workspace == workspace, events.c.created_at > since)
    query = query.where(events.c.type != DigestEventType.DIGEST.value)
    number: int = tx.execute(query).scalar_one()
    return number


def final_event(tx: Tx, workspace: str, job_id: str) -> Event | None:
    """The final event of a job: Exec's own ending if there is one, else the latest with which the relay gave up."""
    endings = [event for event in for_job(tx, workspace, job_id) if event.type in FINAL_EVENTS]
    return max(endings, key=lambda event: event.type in ENDINGS_AT_EXEC) if endings else None
