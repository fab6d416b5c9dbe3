"""Tidying: what ended longer ago than `storage.retention` is deleted, and what was held so long is given up.

What may go is read first, and deleted in small transactions, between which deliveries and registrations go on.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from relay.model import DAY, Instant
from relay.store import idempotency, pruning, sessions
from relay.store.database import Store
from relay.store.pruning import Place

JOBS = 50
"""That one transaction deletes at the most."""

ROWS = 500
"""That one transaction deletes or changes at the most, about."""

IDEMPOTENCY_KEPT = DAY

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tidied:
    """What one round did."""

    jobs: int
    """Deleted, with everything about them."""
    given_up: int
    """Deliveries that were held too long."""


class Janitor:
    """Keeps the store from growing for ever."""

    def __init__(self, store: Store, retention: int, clock: Callable[[], Instant]) -> None:
        self._store, self._retention, self._clock = store, retention, clock

    async def tick(self) -> Tidied:
        """Gives up and deletes all that is old enough. Raises StoreError."""
        now = self._clock()
        before = now - self._retention
        await self._store.write(lambda tx: sessions.prune(tx, now))
        while await self._store.write(lambda tx: idempotency.prune(tx, now - IDEMPOTENCY_KEPT, ROWS)):
            pass
        given_up = gone = 0
        async for held in self._found(partial(pruning.held_too_long, before=before, most=ROWS)):
            given_up += await self._store.write(partial(pruning.give_up, ids=held, before=before, now=now))
        async for jobs in self._found(partial(pruning.old_jobs, before=before, most=JOBS)):
            while jobs:
                some, jobs = await self._store.write(partial(pruning.delete_jobs, jobs=jobs, before=before, most=ROWS))
                gone += some
        async for unused in self._found(partial(pruning.old_endpoints, before=before, most=ROWS)):
            await self._store.write(partial(pruning.delete_endpoints, ids=unused))
        return Tidied(gone, given_up)

    async def _found(self, find: Callable[..., tuple[list[T], Place | None]]) -> AsyncIterator[list[T]]:
        """What a walk finds, part by part."""
        place: Place | None = None
        while True:
            some, place = await self._store.read(partial(find, after=place))
            if some:
                yield some
            if place is None:
                return
