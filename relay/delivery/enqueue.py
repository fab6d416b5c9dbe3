"""Enqueues an event: adds a delivery for each subscriber to the outbox, with its body rendered once."""

from collections.abc import Iterable
from dataclasses import replace

from relay import formats
from relay.delivery.holding import Hold, hold_of
from relay.model import FINAL_EVENTS, UNGATHERED, Delivery, Endpoint, Event, EventType, Instant
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
    endpoint are held: pending, without a next attempt. Quiet hours and digests hold news of success at chats. An ending
    cancels the job's start that a chat has not got yet. Locks the disabled endpoints among the subscribers.
    """
    subscribers, enqueued, bodies = list(subscribers), Enqueued(), dict[str, bytes]()
    if event.type in FINAL_EVENTS and (chats := [item.id for item, _ in subscribers if _shows_starts(item)]):
        outbox.cancel_starts(tx, chats, (event.workspace, event.job_id), now, "the job ended before its start was sent")
    disabled = lock_disabled(tx, {endpoint.id for endpoint, _ in subscribers if not endpoint.enabled})
    for start in range(0, len(subscribers), _BATCH):
        sendable, holding = [], []
        for subscriber in subscribers[start : start + _BATCH]:
            endpoint, hold = subscriber[0], _hold(event, subscriber[0], now)
            due_at = hold.until if hold else now + first_delay
            delivery = Delivery.of(
                event,
                endpoint.id,
                subscriber[1],
                id=new_row_id(tx, "dlv", now),
                body=_render(event, subscriber, bodies),
                now=now,
                due_at=None if endpoint.id in disabled else due_at,
                trace=trace,
            )
            if hold is None:
                sendable.append((delivery, endpoint))
            else:
                digest_id = UNGATHERED if hold.is_gathered else None
                holding.append((replace(delivery, reason=hold.reason, digest_id=digest_id), endpoint))
        for new, may_lease in ((sendable, not first_delay), (holding, False)):
            if not new:
                continue
            inserted = outbox.insert(tx, new, leasing if may_lease else None)
            enqueued.added += inserted.added
            enqueued.leased += inserted.leased
    return enqueued


def _shows_starts(endpoint: Endpoint) -> bool:
    return EventType.STARTED in endpoint.events and formats.is_read_by_people(endpoint.format)


def _hold(event: Event, endpoint: Endpoint, now: Instant) -> Hold | None:
    """What holds the event. `LivingMessages` decides for a message that changes: its edits are never held."""
    return None if formats.has_living_messages(endpoint.format) else hold_of(endpoint, event.type, now)


def _render(event: Event, subscriber: Subscriber, shared: dict[str, bytes]) -> bytes:
    """The body; without a registration it is the same for all endpoints of one format: `shared` has these."""
    endpoint, registration = subscriber
    if registration is not None:
        return formats.render(endpoint.format, event, registration, endpoint.template)
    if (body := shared.get(endpoint.format_identity)) is None:
        body = shared[endpoint.format_identity] = formats.render(endpoint.format, event, None, endpoint.template)
    return body
