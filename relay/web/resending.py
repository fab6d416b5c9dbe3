"""Sending again all deliveries of a filter, in batches, between which other work goes on."""

from relay.model import Instant
from relay.service import Relay
from relay.store import deliveries
from relay.store.database import Tx
from relay.store.deliveries import Filter, Place

BATCH = 500
"""Deliveries that one transaction makes due again: one for all would hold every other up."""


async def resend(relay: Relay, which: Filter, most: int, now: Instant) -> int:
    """Makes at most `most` of them due again, oldest first. Returns how many; those of disabled endpoints are none."""
    done, place = 0, None

    def work(tx: Tx) -> tuple[int, Place | None]:
        return deliveries.resend_some(tx, which, now, min(BATCH, most - done), place)

    while done < most:
        some, place = await relay.store.write(work)
        done += some
        relay.wake()
        if place is None:
            break
    return done
