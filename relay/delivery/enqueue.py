"""Enqueues an event: adds a delivery for each subscriber to the outbox, with its body rendered once."""

from collections.abc import Iterable
from dataclasses import replace

from relay import formats
from relay.model import Delivery, DeliveryStatus, Endpoint, Event, EventType, Instant, quiet_until
from relay.store.engine.database import Tx, new_row_id
from relay.store.tables import outbox
from relay.store.tables.endpoints import lock_disabled
from relay.store.tables.outbox import Enqueued, Leasing
from relay.store.tables.registrations import Subscriber

HELD_BY_QUIET = (EventType.STARTED, EventType.COMPLETED, EventType.CANCELLED)
"""What quiet hours hold: a failure may need somebody now."""
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
    endpoint are held: pending, without a next attempt. In an endpoint's quiet hours news of success wait until their
    end. Locks the disabled endpoints among the subscribers.
    """
    subscribers, enqueued = list(subscribers), Enqueued()
    disabled = lock_disabled(tx, {endpoint.id for endpoint, _ in subscribers if not endpoint.enabled})
    for start in range(0, len(subscribers), _BATCH):
        at_once, quiet = [], []
        for subscriber in subscribers[start : start + _BATCH]:
            endpoint = subscriber[0]
            until = None if endpoint.id in disabled else _quiet_until(event, endpoint, now)
            due_at = None if endpoint.id in disabled else until or now + first_delay
            delivery = _delivery(tx, event, subscriber, now, due_at, trace)
            if until is None:
                at_once.append((delivery, endpoint))
            else:
                quiet.append((replace(delivery, reason=f"held by the quiet hours {endpoint.quiet}"), endpoint))
        for new, may_lease in ((at_once, not first_delay), (quiet, False)):
            if not new:
                continue
            inserted = outbox.insert(tx, new, leasing if may_lease else None)
            enqueued.added += inserted.added
            enqueued.leased += inserted.leased
    return enqueued


def _quiet_until(event: Event, endpoint: Endpoint, now: Instant) -> Instant | None:
    """Until when the endpoint's quiet hours hold the event; None if they do not.

    If the endpoint gets the start of jobs too, its message is edited at once, without a mention: nobody is woken, and
    no message says for a night that the job is running.
    """
    if event.type not in HELD_BY_QUIET:
        return None
    has_living_message = formats.has_living_messages(endpoint.format) and EventType.STARTED in endpoint.events
    return None if has_living_message else quiet_until(endpoint.quiet, now)


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
