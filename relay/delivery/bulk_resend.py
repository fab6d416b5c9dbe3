"""Bulk resend: all deliveries that match a filter, in batches, so that other transactions run in between."""

from collections.abc import Callable

from relay import formats
from relay.model import Instant
from relay.store import Store, Tx
from relay.store.engine.paging import WalkPosition
from relay.store.tables import deliveries
from relay.store.tables.deliveries import DeliveryFilter

BATCH = 500
"""Deliveries that one transaction makes due again. One transaction for all would block every other for too long."""


async def resend_matching(
    store: Store, filter: DeliveryFilter, limit: int, now: Instant, wake: Callable[[], None]
) -> int:
    """Makes at most `limit` deliveries due again, oldest first. Returns how many. Calls `wake` after each batch.

    Deliveries of disabled endpoints stay as they are. Raises StoreError; batches that are committed stay.
    """
    count, cursor = 0, None

    def work(tx: Tx) -> tuple[int, WalkPosition | None]:
        return deliveries.resend_batch(tx, filter, now, min(BATCH, limit - count), formats.min_interval, cursor)

    while count < limit:
        resent, cursor = await store.write(work, at_end=True)
        count += resent
        wake()
        if cursor is None:
            break
    return count
