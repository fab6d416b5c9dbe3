"""Retention: deletes what ended longer ago than `storage.retention`, and expires deliveries that were held as long.

Rows are found first, then deleted in small transactions, between which deliveries and registrations go on. If several
relays share a store, one of them does this, and no other for the next hour.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from relay.model import MINUTE, Instant
from relay.store import Store
from relay.store.engine.paging import WalkPosition
from relay.store.tables import audit, idempotency, leader_leases, pruning, replays, sessions

JOBS = 50
"""Maximum number of jobs that one transaction deletes."""

ROWS = 500
"""About how many rows one transaction deletes or changes at most."""

_LEASE_NAME = "retention"
_LEASE_TTL = 10 * MINUTE
_RERUN_AFTER = 55 * MINUTE
"""Less than an hour, so that the same relay can acquire the lease again every hour."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CleanupResult:
    """The result of one round."""

    jobs: int
    """Jobs deleted with everything that belongs to them."""
    expired: int
    """Deliveries that were held too long."""


class RetentionByKind(Protocol):
    """How long rows of a kind are kept, in milliseconds; None: as long as their job."""

    @property
    def deliveries(self) -> int | None:
        """Deliveries that ended, with their bodies and attempts."""

    @property
    def polls(self) -> int | None:
        """The log of polls."""

    @property
    def audit(self) -> int | None:
        """The audit log; None: for ever."""


class RetentionJob:
    """Limits the growth of the store: call `tick` every hour."""

    def __init__(
        self,
        store: Store,
        retention: int,
        clock: Callable[[], Instant],
        owner: str,
        retention_of: RetentionByKind | None = None,
    ) -> None:
        """`retention` is that of jobs, in milliseconds."""
        self._store, self._retention, self._clock, self._owner = store, retention, clock, owner
        self._of = retention_of

    async def tick(self) -> CleanupResult:
        """Expires and deletes all that is old enough, unless another relay does it or just did. Raises StoreError."""
        if not await self._acquire_lease():
            return CleanupResult(0, 0)
        result = await self._clean_up(self._clock())
        await self._acquire_lease(_RERUN_AFTER)
        return result

    async def _acquire_lease(self, duration: int = _LEASE_TTL) -> bool:
        now = self._clock()
        return await self._store.write(
            lambda tx: leader_leases.acquire_lease(tx, _LEASE_NAME, self._owner, now, now + duration)
        )

    async def _clean_up(self, now: Instant) -> CleanupResult:
        before = now - self._retention
        await self._store.write(lambda tx: sessions.prune(tx, now))
        while await self._store.write(lambda tx: idempotency.prune(tx, now - idempotency.TTL, ROWS)):
            pass
        while await self._store.write(lambda tx: pruning.delete_operator_events(tx, before, JOBS)):
            pass
        while await self._store.write(lambda tx: replays.prune(tx, before, ROWS)):
            pass
        expired = deleted = 0
        async for held_ids in self._walk(partial(pruning.expired_held, before=before, limit=ROWS)):
            expired += await self._store.write(partial(pruning.expire_held, ids=held_ids, before=before, now=now))
        async for jobs in self._walk(partial(pruning.old_jobs, before=before, limit=JOBS)):
            while jobs:
                count, jobs = await self._store.write(
                    partial(pruning.delete_jobs, jobs=jobs, before=before, limit=ROWS)
                )
                deleted += count
        await self._clean_up_by_kind(now)
        async for unused in self._walk(partial(pruning.old_endpoints, before=before, limit=ROWS)):
            await self._store.write(partial(pruning.delete_endpoints, ids=unused))
        return CleanupResult(deleted, expired)

    async def _clean_up_by_kind(self, now: Instant) -> None:
        """Deletes what is kept for another time than its job."""
        if self._of is None:
            return
        if (age := self._of.audit) is not None:
            while await self._store.write(partial(audit.prune, before=now - age, limit=ROWS)):
                pass
        if (age := self._of.polls) is not None:
            while await self._store.write(partial(pruning.delete_polls, before=now - age, limit=ROWS)):
                pass
        if (age := self._of.deliveries) is not None:
            async for ids in self._walk(partial(pruning.old_deliveries, before=now - age, limit=ROWS)):
                await self._store.write(partial(pruning.delete_deliveries, ids=ids, before=now - age))

    async def _walk(self, find: Callable[..., tuple[list[T], WalkPosition | None]]) -> AsyncIterator[list[T]]:
        """The rows that `find` returns, part by part, while this relay has the lease."""
        position: WalkPosition | None = None
        while True:
            rows, position = await self._store.read(partial(find, after=position))
            if rows and not await self._acquire_lease():
                return  # the round took so long that another relay acquired the lease
            if rows:
                yield rows
            if position is None:
                return
