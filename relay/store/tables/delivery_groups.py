"""Deliveries grouped by event, as pages list them: one event with its deliveries to all endpoints."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import func, literal, select

from relay.model import Delivery, DeliveryStatus, Instant
from relay.store.engine import paging
from relay.store.engine.database import Tx
from relay.store.engine.schema import deliveries
from relay.store.tables.filters import DeliveryFilter
from relay.store.tables.outbox import COLUMNS, delivery_of

MAX_PER_EVENT = 8
"""Deliveries of one event that a list shows."""
_MAX_MATCHES = 2_000
"""Deliveries of the events of one page that are looked at."""

RANK = {
    status: rank
    for rank, status in enumerate(
        (DeliveryStatus.FAILED, DeliveryStatus.PENDING, DeliveryStatus.DELIVERED, DeliveryStatus.CANCELLED)
    )
}
"""The order of the deliveries of an event, by status."""

_POSITION = (deliveries.c.created_at, deliveries.c.id)
_WITHOUT_BODY = [literal(b"").label("body") if column.name == "body" else column for column in COLUMNS]


class _Match(NamedTuple):
    """A delivery that matches a filter."""

    event_id: str
    created_at: Instant
    id: str


@dataclass(frozen=True, slots=True)
class DeliveryGroup:
    """An event and those of its deliveries that match a filter, without their bodies; those that wait or failed first.

    The first deliveries only, `matching` are all that match, `total` all that there are.
    """

    event_id: str
    deliveries: Sequence[Delivery]
    matching: int
    total: int


def page(
    tx: Tx, page: paging.Page, max_events: int, delivery_filter: DeliveryFilter
) -> tuple[list[DeliveryGroup], str | None]:
    """The groups of one page, newest first, and the cursor of the next page; None if there is none.

    `page.limit` counts deliveries. A group is on the page of its newest delivery that matches, and complete there.
    """
    query = select(deliveries.c.event_id, *_POSITION).where(*delivery_filter.indexed)
    rows, cursor = paging.read_page(tx, query, _POSITION, page, delivery_filter.unindexed)
    events: dict[str, None] = {}
    for row in rows:
        if len(events) == max_events and row.event_id not in events:
            break
        events[row.event_id] = None
        last = row
    if len(events) == max_events and rows[-1] is not last:
        cursor = paging.encode(last.created_at, last.id)
    return _groups(tx, _complete(tx, list(events), page.cursor, delivery_filter)), cursor


def _complete(
    tx: Tx, events: Sequence[str], cursor: str | None, delivery_filter: DeliveryFilter
) -> dict[str, list[_Match]]:
    """All matching deliveries of the events, by event, without events that an earlier page had."""
    query = select(deliveries.c.event_id, *_POSITION).where(
        deliveries.c.event_id.in_(events), *delivery_filter.all_tested
    )
    found: dict[str, list[_Match]] = {event: [] for event in events}
    rows = sorted(tx.execute(query.limit(_MAX_MATCHES)), key=lambda row: (row.created_at, row.id), reverse=True)
    for row in rows:
        found[row.event_id].append(_Match(*row))
    if cursor is None:
        return found
    return {event: rows for event, rows in found.items() if rows and (rows[0][1:]) < paging.decode(cursor)}


def _groups(tx: Tx, matches: dict[str, list[_Match]]) -> list[DeliveryGroup]:
    rows = get_many(tx, [match.id for of_event in matches.values() for match in of_event])
    counts = select(deliveries.c.event_id, func.count()).where(deliveries.c.event_id.in_(matches))
    totals = {row[0]: row[1] for row in tx.execute(counts.group_by(deliveries.c.event_id))}
    groups = []
    for event, of_event in matches.items():
        found = [rows[match.id] for match in of_event if match.id in rows]
        found.sort(key=lambda delivery: (RANK[delivery.status], delivery.created_at, delivery.id))
        groups.append(DeliveryGroup(event, found[:MAX_PER_EVENT], len(of_event), totals.get(event, len(of_event))))
    return groups


def get_many(tx: Tx, ids: Collection[str]) -> dict[str, Delivery]:
    """The deliveries with these ids, without their bodies, by id."""
    rows = tx.execute(select(*_WITHOUT_BODY).where(deliveries.c.id.in_(ids)))
    return {row.id: delivery_of(row) for row in rows}


def latest(tx: Tx, max_events: int, among: int) -> list[DeliveryGroup]:
    """The newest events with their deliveries: at most `max_events`, among the newest `among` deliveries."""
    groups, _ = page(tx, paging.Page(among), max_events, DeliveryFilter())
    return groups
