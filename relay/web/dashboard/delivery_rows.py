"""Deliveries as lists show them: the scenario, the endpoint, and why a delivery is not delivered yet."""

from collections.abc import Sequence
from dataclasses import dataclass

from relay.delivery import endpoint_health
from relay.model import Delivery, DeliveryStatus, Endpoint, Instant
from relay.store import Tx
from relay.store.tables import dashboard_queries, endpoints
from relay.web.dashboard.template_filters import relative_time


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One delivery with the names of its scenario and its endpoint."""

    delivery: Delivery
    scenario: str
    """The scenario's name; "" if Exec gave none."""
    endpoint: Endpoint | None
    """None if the endpoint was removed."""
    problem: str
    """Why the delivery is not delivered; "" if it is delivered or was not attempted yet."""
    waits_for: str
    """What a pending delivery waits for; "" for other deliveries."""

    @property
    def is_held(self) -> bool:
        """Whether the delivery waits until its endpoint is enabled."""
        pending = self.delivery.status is DeliveryStatus.PENDING
        return pending and self.delivery.next_attempt_at is None and not self.delivery.is_in_digest


def delivery_rows(tx: Tx, rows: Sequence[Delivery], now: Instant) -> list[DeliveryRow]:
    """The deliveries with names and problems: three reads for any number of deliveries."""
    receivers = endpoints.get_many(tx, {delivery.endpoint_id for delivery in rows})
    names = dashboard_queries.scenario_names(tx, rows)
    errors = dashboard_queries.last_errors(tx, rows)
    return [
        DeliveryRow(
            delivery,
            names.get((delivery.workspace, delivery.job_id), ""),
            receivers.get(delivery.endpoint_id),
            _problem(delivery, receivers.get(delivery.endpoint_id), errors.get(delivery.id)),
            waits_for(delivery, receivers.get(delivery.endpoint_id), now),
        )
        for delivery in rows
    ]


def waits_for(delivery: Delivery, endpoint: Endpoint | None, now: Instant) -> str:
    """What a pending delivery waits for, as a phrase; "" for a delivery that is not pending."""
    if delivery.status is not DeliveryStatus.PENDING:
        return ""
    if delivery.is_in_digest and delivery.next_attempt_at is None:
        return "its digest is sent in its place"
    if delivery.next_attempt_at is None:
        return "held until its endpoint is enabled"
    if endpoint is not None and endpoint_health.circuit_is_open(endpoint.failures):
        return f"held back: this endpoint fails, {endpoint.failures} in a row, one attempt at a time"
    if endpoint is not None and endpoint.paused_until is not None and endpoint.paused_until > now:
        return f"the receiver asked for a pause; deliveries continue {relative_time(endpoint.paused_until, now)}"
    if delivery.reason and delivery.next_attempt_at > now:
        return f"{delivery.reason}; {relative_time(delivery.next_attempt_at, now)}"
    number = delivery.attempts + 1
    if delivery.next_attempt_at <= now:
        return f"attempt {number} is due now"
    return f"attempt {number} is {relative_time(delivery.next_attempt_at, now)}"


def _problem(delivery: Delivery, endpoint: Endpoint | None, error: str | None) -> str:
    if delivery.status is DeliveryStatus.DELIVERED:
        return ""
    if delivery.status is not DeliveryStatus.PENDING:
        return delivery.reason or "every attempt failed"
    if delivery.next_attempt_at is None and not delivery.is_in_digest:
        return f"held: {(endpoint.disabled_reason if endpoint else None) or 'its endpoint is disabled'}"
    return f"attempt {delivery.attempts}: {error}" if error else ""
