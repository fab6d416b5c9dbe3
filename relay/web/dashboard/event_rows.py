"""Deliveries grouped by event, as lists show them: one event is one row, with its endpoints in it."""

from collections.abc import Sequence
from dataclasses import dataclass

from relay.model import Delivery, Instant
from relay.store import Tx
from relay.store.tables.delivery_groups import RANK, DeliveryGroup
from relay.web.dashboard.delivery_rows import DeliveryRow, delivery_rows


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event with its deliveries."""

    rows: Sequence[DeliveryRow]
    hidden: int
    """Deliveries that match the filters, and are not shown."""
    others: int
    """Deliveries of the event that do not match the filters."""

    @property
    def first(self) -> Delivery:
        return self.rows[0].delivery

    @property
    def scenario(self) -> str:
        """The scenario's name; "" if Exec gave none."""
        return self.rows[0].scenario

    @property
    def created_at(self) -> Instant:
        return min(row.delivery.created_at for row in self.rows)


def event_rows(tx: Tx, groups: Sequence[DeliveryGroup], now: Instant) -> list[EventRow]:
    """The groups with names and problems: three reads for any number of them."""
    shown = delivery_rows(tx, [delivery for group in groups for delivery in group.deliveries], now)
    of_event: dict[str, list[DeliveryRow]] = {}
    for row in shown:
        of_event.setdefault(row.delivery.event_id, []).append(row)
    for siblings in of_event.values():
        siblings.sort(key=lambda row: (RANK[row.delivery.status], (row.endpoint and row.endpoint.name) or ""))
    return [
        EventRow(rows, group.matching - len(rows), group.total - group.matching)
        for group in groups
        if (rows := of_event.get(group.event_id))
    ]
