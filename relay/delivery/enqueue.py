"""Enqueues an event: adds a delivery for each subscriber to the outbox, with its body rendered once."""

from collections.abc import Iterable

from relay import formats
from relay.model import Delivery, DeliveryStatus, Event, Instant
from relay.store import Tx
from relay.store.engine.database import new_row_id
from relay.store.tables import outbox
from relay.store.tables.endpoints import lock_disabled
from relay.store.tables.outbox import Enqueued, Leasing
from relay.store.tables.registrations import Subscriber

_BATCH = 50
"""Bodies that are rendered and inserted together, so that memory holds only these and the leased ones."""


def enqueue(
    tx: Tx,
    event: Event,
    subscribers: Iterable[Subscriber],
    now: Instant,
    first_delay: int,
    trace: str | None = None,
    leasing: Leasing | None = None,
) -> Enqueued:
    """Adds a delivery for each subscriber that has none of this event yet; a cancelled one becomes pending again.

    Every attempt and resend sends the body that is rendered here. `first_delay` is in milliseconds; with a delay
    nothing is leased. Deliveries without a registration get the trace context `trace`. Deliveries to a disabled
    endpoint are held: pending, without a next attempt. Locks the disabled endpoints among the subscribers.
    """
    subscribers, enqueued = list(subscribers), Enqueued()
    disabled = lock_disabled(tx, {endpoint.id for endpoint, _ in subscribers if not endpoint.enabled})
    for start in range(0, len(subscribers), _BATCH):
        new = []
        for subscriber in subscribers[start : start + _BATCH]:
            due_at = None if subscriber[0].id in disabled else now + first_delay
            new.append((_delivery(tx, event, subscriber, now, due_at, trace), subscriber[0]))
        inserted = outbox.insert(tx, new, None if first_delay else leasing)
        enqueued.added += inserted.added
        enqueued.leased += inserted.leased
    return enqueued


def _delivery(
    tx: Tx, event: Event, subscriber: Subscriber, now: Instant, due_at: Instant | None, trace: str | None
) -> Delivery:
    endpoint, registration = subscriber
    return Delivery(
        id=new_row_id(tx, "dlv", now),
        event_id=event.id,
        event_type=event.type,
        workspace=event.workspace,
        job_id=event.job_id,
        endpoint_id=endpoint.id,
        registration_id=registration.id if registration else None,
        status=DeliveryStatus.PENDING,
        body=formats.render(endpoint.format, event, registration, endpoint.template),
        attempts=0,
        attempts_in_run=0,
        created_at=now,
        next_attempt_at=due_at,
        trace=registration.trace if registration else trace,
        owner=registration.owner if registration else None,
    )
