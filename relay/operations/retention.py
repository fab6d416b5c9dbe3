"""Tidying: what ended longer ago than `storage.retention` is deleted, and what was held so long is given up.

What may go is read first, and deleted in small transactions, between which deliveries and registrations go on. Of
several relays on a store one tidies, and for the next hour no other.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from relay.model import MINUTE, Instant
from relay.store.engine.database import Store
from relay.store.engine.paging import WalkPosition
from relay.store.tables import idempotency, leader_leases, pruning, sessions

JOBS = 50
"""That one transaction deletes at the most."""

ROWS = 500
"""That one transaction deletes or changes at the most, about."""

_LEASE_NAME = "tidying"
_LEASE_TTL = 10 * MINUTE
_RERUN_AFTER = 55 * MINUTE
"""Less than an hour, so that every hourly round of the same relay finds it free again."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CleanupResult:
    """What one round did."""

    jobs: int
    """Deleted, with everything about them."""
    given_up: int
    """Deliveries that were held too long."""


class RetentionJob:
    """Keeps the store from growing for ever."""

    def __init__(self, store: Store, retention: int, clock: Callable[[], Instant], owner: str) -> None:
        self._store, self._retention, self._clock, self._owner = store, retention, clock, owner

    async def tick(self) -> CleanupResult:
        """Gives up and deletes all that is old enough, unless another relay does or just did. Raises StoreError."""
        if not await self._may_go_on():
            return CleanupResult(0, 0)
        tidied = await self._tidy(self._clock())
        await self._may_go_on(_RERUN_AFTER)
        return tidied

    async def _may_go_on(self, time: int = _LEASE_TTL) -> bool:
        now = self._clock()
        return await self._store.write(
            lambda tx: leader_leases.acquire_lease(tx, _LEASE_NAME, self._owner, now, now + time)
        )

    async def _tidy(self, now: Instant) -> CleanupResult:
        before = now - self._retention
        await self._store.write(lambda tx: sessions.prune(tx, now))
        while await self._store.write(lambda tx: idempotency.prune(tx, now - idempotency.TTL, ROWS)):
            pass
        while await self._store.write(lambda tx: pruning.delete_operator_events(tx, before, JOBS)):
            pass
        given_up = gone = 0
        async for held in self._found(partial(pruning.expired_held, before=before, most=ROWS)):
            given_up += await self._store.write(partial(pruning.expire_held, ids=held, before=before, now=now))
        async for jobs in self._found(partial(pruning.old_jobs, before=before, most=JOBS)):
            while jobs:
                some, jobs = await self._store.write(partial(pruning.delete_jobs, jobs=jobs, before=before, most=ROWS))
                gone += some
        async for unused in self._found(partial(pruning.old_endpoints, before=before, most=ROWS)):
            await self._store.write(partial(pruning.delete_endpoints, ids=unused))
        return CleanupResult(gone, given_up)

    async def _found(self, find: Callable[..., tuple[list[T], WalkPosition | None]]) -> AsyncIterator[list[T]]:
        """What a walk finds, part by part."""
        place: WalkPosition | None = None
        while True:
            some, place = await self._store.read(partial(find, after=place))
            if some and not await self._may_go_on():
                return  # it took so long that another took over
            if some:
                yield some
            if place is None:
                return
