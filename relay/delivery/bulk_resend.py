"""Resends all deliveries of a filter, in batches, so that other transactions run in between."""

from collections.abc import Callable

from relay import formats
from relay.model import Instant
from relay.store.engine.database import Store, Tx
from relay.store.engine.paging import WalkPosition
from relay.store.tables import deliveries
from relay.store.tables.deliveries import DeliveryFilter

BATCH = 500
"""Deliveries that one transaction makes due again: a single transaction for all would hold up every other."""


async def resend_matching(
    store: Store, which: DeliveryFilter, most: int, now: Instant, wake: Callable[[], None]
) -> int:
    """Makes at most `most` deliveries due again, oldest first, and returns how many. Calls `wake` after each batch.

    Deliveries of disabled endpoints are left alone. Raises StoreError; the batches before it stay.
    """
    count, cursor = 0, None

    def work(tx: Tx) -> tuple[int, WalkPosition | None]:
        return deliveries.resend_batch(tx, which, now, min(BATCH, most - count), formats.min_interval, cursor)

    while count < most:
        resent, cursor = await store.write(work)
        count += resent
        wake()
        if cursor is None:
            break
    return count
