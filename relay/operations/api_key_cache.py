"""The API keys of the store, at hand without a query for each request, and yet no older than a second.

Keys are made and revoked by `relay keys`, in the store itself: every relay on it learns of that within `CACHE_TTL`.
"""

import asyncio
from collections.abc import Callable, Sequence

from relay.errors import StoreError
from relay.model import HOUR, SECOND, Instant
from relay.store.engine.database import Store, Tx
from relay.store.tables import api_keys
from relay.store.tables.api_keys import StoredApiKey

CACHE_TTL = SECOND
"""Milliseconds for which what was read is believed: so long a revoked key may still work."""

MAX_KEYS = 1_000
"""Keys that a store may have; all of them are read at once."""

LAST_USED_RESOLUTION = HOUR
"""Milliseconds between two notes that a key is used."""


class ApiKeyCache:
    """The keys of one store, read again when somebody asks and what was read has become old."""

    def __init__(self, store: Store, clock: Callable[[], Instant]) -> None:
        self._store, self._clock = store, clock
        self._live: Sequence[StoredApiKey] = ()
        self._were_made = False
        self._read_at: Instant | None = None
        self._reading = asyncio.Lock()
        self._used: dict[str, Instant] = {}

    async def active_keys(self) -> Sequence[StoredApiKey]:
        """The keys that are not revoked; while the store fails, as they were before. Raises StoreError at first."""
        await self._refresh()
        return self._live

    async def any_ever_created(self) -> bool:
        """Whether there was ever a key, revoked ones included; as with `active_keys`."""
        await self._refresh()
        return self._were_made

    def mark_used(self, key: StoredApiKey) -> None:
        """A request came with this key; `flush_last_used` tells the store, once an hour."""
        now = self._clock()
        if key.last_used_at is None or not 0 <= now - key.last_used_at < LAST_USED_RESOLUTION:
            self._used[key.id] = now

    async def flush_last_used(self) -> None:
        """Writes what was used since, where there is anything to write. Raises StoreError."""
        if not self._used:
            return
        used, now = self._used, self._clock()
        self._used = {}
        await self._store.write(lambda tx: api_keys.mark_used(tx, used, now))

    async def _refresh(self) -> None:
        if self._is_fresh():
            return
        async with self._reading:
            if self._is_fresh():
                return
            now = self._clock()
            try:
                self._live, self._were_made = await self._store.read(_read)
            except StoreError:
                # What can be had without the store, metrics above all, is had: nobody can revoke a key meanwhile.
                if self._read_at is None:
                    raise
            self._read_at = now

    def _is_fresh(self) -> bool:
        # guard: revoked-within-a-second
        return self._read_at is not None and 0 <= self._clock() - self._read_at < CACHE_TTL


def _read(tx: Tx) -> tuple[Sequence[StoredApiKey], bool]:
    live = api_keys.active(tx)
    return live, bool(live) or api_keys.any_ever_created(tx)  # guard: closed-for-good
