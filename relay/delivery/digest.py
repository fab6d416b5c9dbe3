"""Gathers the news that wait for an endpoint's digest into one delivery."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from relay import formats
from relay.formats.message_text import nested_object
from relay.model import (
    ID_BYTES,
    OPERATOR_WORKSPACE,
    AnyEventType,
    Delivery,
    DigestEventType,
    Endpoint,
    Event,
    EventContext,
    EventType,
    Instant,
    new_id,
)
from relay.store import Tx
from relay.store.engine.database import new_row_id, random_bytes
from relay.store.tables import digests, endpoints, events, outbox

MAX_MEMBERS = 1_000
"""Deliveries in one digest at most; what is left makes the next one."""
MAX_LISTED = 200
"""Jobs that the event of a digest names; the delivery's page lists all."""


def gather(tx: Tx, endpoint_id: str, now: Instant, public_url: str | None) -> int:
    """Gathers what waits for the endpoint's digest, due or not, into one delivery that is due now. Returns how many.

    A single one is sent by itself, as if there was no digest. The body is rendered here, once, so every attempt names
    the same jobs. Does nothing for a disabled endpoint. Locks the endpoint, then the deliveries.
    """
    endpoint = endpoints.lock_many(tx, [endpoint_id]).get(endpoint_id)
    if endpoint is None or not endpoint.enabled:
        return 0
    waiting = digests.lock_ungathered(tx, endpoint_id, MAX_MEMBERS)
    if len(waiting) == 1:
        digests.send_alone(tx, waiting[0].id, now)
    elif waiting:
        _add(tx, endpoint, waiting, now, public_url)
    return len(waiting)


def _add(tx: Tx, endpoint: Endpoint, waiting: Sequence[Delivery], now: Instant, public_url: str | None) -> None:
    id = new_row_id(tx, "dlv", now)
    page = f"{public_url}/deliveries/{id}" if public_url else None
    event = events.add(tx, digest_event(tx, _in_order(tx, waiting), now, page))
    body = formats.render(endpoint.format, event, None, endpoint.template)
    delivery = Delivery.of(event, endpoint.id, id=id, body=body, now=now, due_at=now)
    outbox.insert(tx, [(delivery, endpoint)])
    digests.gather(tx, [item.id for item in waiting], id)


def _in_order(tx: Tx, waiting: Sequence[Delivery]) -> list[Event]:
    """The events of the deliveries: scenarios that are ready first, starts last, each in the order of their time."""
    by_id = events.get_many(tx, {delivery.event_id for delivery in waiting})
    rank: dict[AnyEventType, int] = {EventType.COMPLETED: 0, EventType.CANCELLED: 1}
    return sorted(by_id.values(), key=lambda event: (rank.get(event.type, 2), event.occurred_at, event.id))


def digest_event(tx: Tx, gathered: Sequence[Event], now: Instant, page: str | None) -> Event:
    """The event of a digest of these events."""
    id = new_id("evt", now, random_bytes(tx, ID_BYTES))
    counts = Counter(event.type.value for event in gathered)
    return Event(
        id=id,
        workspace=OPERATOR_WORKSPACE,
        job_id=f"digest:{id}",
        type=DigestEventType.DIGEST,
        occurred_at=now,
        job={"counts": dict(counts), "jobs": [listed(event) for event in gathered[:MAX_LISTED]]},
        created_at=now,
        context=EventContext(page=page),
    )


def listed(event: Event) -> Mapping[str, Any]:
    """What a digest says about one job."""
    scenario = nested_object(event.job, "scenario")
    return {
        "job_id": event.job_id,
        "workspace": event.workspace,
        "event": event.type.value,
        "name": scenario.get("name"),
        "url": scenario.get("url"),
        "page": event.context.page,
        "requested_by": event.context.requested_by,
    }
