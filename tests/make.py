"""Values for tests, each with everything filled in that the test does not care about."""

from typing import Any

from sqlalchemy import func, select

from relay.egress import EgressRules
from relay.model import FINAL_EVENTS, Endpoint, EndpointKind, Event, EventType, Instant, Secret, event_id, new_id
from relay.store import Tx
from relay.store.engine.schema import deliveries
from relay.store.tables import due_deliveries, outbox
from relay.store.tables.outbox import Lease, LeasedDelivery

NOON = 1_709_294_400_000
"""2024-03-01T12:00:00Z."""
SECRET = "whsec_" + "c2VjcmV0" * 5 + "c2Vj"
OPEN_RULES = EgressRules(allow_http=True, allow_networks=(), deny_networks=())


def make_endpoint(now: Instant = NOON, **fields: Any) -> Endpoint:
    """A healthy standing endpoint."""
    values: dict[str, Any] = {
        "id": new_id("ep", now),
        "kind": EndpointKind.STANDING,
        "name": None,
        "url": "https://example.com/callback",
        "host": "example.com:443",
        "format": "standard",
        "events": FINAL_EVENTS,
        "secrets": (Secret(SECRET),),
        "headers": {},
        "created_at": now,
    }
    return Endpoint(**{**values, **fields})


def make_event(job_id: str = "j1", type: EventType = EventType.COMPLETED, now: Instant = NOON) -> Event:
    """A job's ending."""
    return Event(
        id=event_id("default", job_id, type),
        workspace="default",
        job_id=job_id,
        type=type,
        occurred_at=now,
        job={"id": job_id, "status": type.value.removeprefix("job.")},
        created_at=now,
    )


def claim_due(tx: Tx, now: Instant, until: Instant, owner: str = "test", most: int = 100) -> list[LeasedDelivery]:
    """Leases what is due to `owner`, as the dispatcher does where there is room for all."""
    lease = Lease(f"{owner}.{new_id('lease', now)}", until)
    return outbox.lease(tx, [due.id for due in due_deliveries.due(tx, now, most)], now, lease)


def next_delivery_due(tx: Tx) -> Instant | None:
    """When the next delivery is due; None if none is pending."""
    query = select(func.min(deliveries.c.next_attempt_at)).where(deliveries.c.next_attempt_at.is_not(None))
    return tx.execute(query).scalar()
