"""Tidying: deletes what ended longer ago than `storage.retention`, in small batches between other work."""

from collections.abc import Callable

from relay.model import DAY, Instant
from relay.store import idempotency, pruning
from relay.store.database import Store, Tx
from relay.store.pruning import Part, Place

BATCH = 200
IDEMPOTENCY_KEPT = DAY


class Janitor:
    """Keeps the store from growing for ever."""

    def __init__(self, store: Store, retention: int, clock: Callable[[], Instant]) -> None:
        self._store, self._retention, self._clock = store, retention, clock

    async def tick(self) -> int:
        """Deletes all that is old enough. Returns how many jobs went. Raises StoreError."""
        now = self._clock()
        before = now - self._retention
        await self._store.write(lambda tx: idempotency.prune(tx, now - IDEMPOTENCY_KEPT))
        gone = await self._walk(lambda tx, after: pruning.jobs(tx, before, BATCH, after))
        await self._walk(lambda tx, after: pruning.unused_endpoints(tx, before, BATCH, after))
        return gone

    async def _walk(self, prune: Callable[[Tx, Place | None], Part]) -> int:
        gone, place = await self._store.write(lambda tx: prune(tx, None))
        while place is not None:
            some, place = await self._store.write(lambda tx, after=place: prune(tx, after))  # type: ignore[misc]
            gone += some
        return gone
