"""Sending again all deliveries of a filter, in batches, between which other work goes on."""

from relay import formats
from relay.model import Instant
from relay.service import Relay
from relay.store.engine.database import Tx
from relay.store.tables import deliveries
from relay.store.tables.deliveries import Cursor, DeliveryFilter

BATCH = 500
"""Deliveries that one transaction makes due again: one for all would hold every other up."""


async def resend_matching(relay: Relay, which: DeliveryFilter, most: int, now: Instant) -> int:
    """Makes at most `most` of them due again, oldest first. Returns how many; those of disabled endpoints are none."""
    done, place = 0, None

    def work(tx: Tx) -> tuple[int, Cursor | None]:
        return deliveries.resend_batch(tx, which, now, min(BATCH, most - done), formats.min_interval, place)

    while done < most:
        some, place = await relay.store.write(work)
        done += some
        relay.wake()
        if place is None:
            break
    return done
