"""Tidying: deletes what ended longer ago than `storage.retention`, in small batches between other work."""

from collections.abc import Callable

from relay.model import DAY, Instant
from relay.store import idempotency, pruning
from relay.store.database import Store

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
        gone = 0
        while some := await self._store.write(lambda tx: pruning.jobs(tx, before, BATCH)):
            gone += some
        while await self._store.write(lambda tx: pruning.unused_endpoints(tx, before, BATCH)):
            pass
        return gone
