"""Bodies of what is not delivered, rendered again if their endpoint gets another format.

A delivery keeps its body, so that every attempt is the same. But another service does not take the body of the one
before: what waits for a person to give a new URL would fail there for good.
"""

from relay import formats
from relay.model import Endpoint
from relay.store import Tx
from relay.store.tables import events, outbox, registrations

MAX_BODIES = 2_000
"""The newest ones: a second of the writer's time. Older ones keep their bodies."""
_BATCH = 500


def render_again(tx: Tx, endpoint: Endpoint) -> None:
    """Renders the endpoint's pending and failed deliveries in its format. The caller holds the endpoint."""
    newest = outbox.undelivered(tx, endpoint.id, MAX_BODIES)
    for first in range(0, len(newest), _BATCH):
        undelivered = newest[first : first + _BATCH]
        event_of = events.get_many(tx, {delivery.event_id for delivery in undelivered})
        ids = {delivery.registration_id for delivery in undelivered if delivery.registration_id}
        registration_of = registrations.get_many(tx, ids)
        bodies = {
            delivery.id: formats.render(
                endpoint.format,
                event_of[delivery.event_id],
                registration_of.get(delivery.registration_id or ""),
                endpoint.template,
            )
            for delivery in undelivered
            if delivery.event_id in event_of
        }
        outbox.replace_bodies(tx, bodies)
