"""Deliveries as lists show them: of which scenario, to whom, and where one did not go out, why."""

from collections.abc import Sequence
from dataclasses import dataclass

from relay.model import Delivery, DeliveryStatus, Endpoint
from relay.store.engine.database import Tx
from relay.store.tables import dashboard_queries, endpoints


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One delivery, and what people call its parts."""

    delivery: Delivery
    scenario: str
    """The scenario's name; "" where Exec told none."""
    endpoint: Endpoint | None
    """None where it was removed."""
    problem: str
    """Why it is not out, in words; "" where it is, or where nothing was tried yet."""

    @property
    def is_held(self) -> bool:
        """Whether it waits for its endpoint to be enabled."""
        return self.delivery.status is DeliveryStatus.PENDING and self.delivery.next_attempt_at is None


def delivery_rows(tx: Tx, found: Sequence[Delivery]) -> list[DeliveryRow]:
    """The deliveries with their names and troubles: three reads, however many they are."""
    receivers = endpoints.get_many(tx, {one.endpoint_id for one in found})
    names = dashboard_queries.scenario_names(tx, found)
    errors = dashboard_queries.last_errors(tx, found)
    return [
        DeliveryRow(
            one,
            names.get((one.workspace, one.job_id), ""),
            receivers.get(one.endpoint_id),
            _trouble(one, receivers.get(one.endpoint_id), errors.get(one.id)),
        )
        for one in found
    ]


def _trouble(delivery: Delivery, endpoint: Endpoint | None, error: str | None) -> str:
    if delivery.status is DeliveryStatus.DELIVERED:
        return ""
    if delivery.status is not DeliveryStatus.PENDING:
        return delivery.reason or "every attempt failed"
    if delivery.next_attempt_at is None:
        return f"held: {(endpoint.disabled_reason if endpoint else None) or 'its endpoint is disabled'}"
    return f"attempt {delivery.attempts}: {error}" if error else ""
