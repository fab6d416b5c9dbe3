"""A cache of the store's API keys, never older than a second, so that a request needs no query.

`relay keys` creates and revokes keys in the store itself; every relay on that store applies it within `CACHE_TTL`.
"""

import asyncio
from collections.abc import Callable, Sequence

from relay.errors import StoreError
from relay.model import HOUR, SECOND, Instant
from relay.store import Store, Tx
from relay.store.tables import api_keys
from relay.store.tables.api_keys import StoredApiKey

CACHE_TTL = SECOND
"""Maximum age of the cache in milliseconds: a revoked key works for no longer than this."""

MAX_KEYS = 1_000
"""Maximum number of keys in a store, because they are all read at once."""

LAST_USED_RESOLUTION = HOUR
"""Milliseconds between two updates of the time at which a key was last used."""


class ApiKeyCache:
    """The keys of one store, read again on demand once they are older than CACHE_TTL."""

    def __init__(self, store: Store, clock: Callable[[], Instant]) -> None:
        self._store, self._clock = store, clock
        self._active: Sequence[StoredApiKey] = ()
        self._any_created = False
        self._read_at: Instant | None = None
        self._lock = asyncio.Lock()
        self._used: dict[str, Instant] = {}

    async def active_keys(self) -> Sequence[StoredApiKey]:
        """The keys that are not revoked. While the store fails, the last ones read; raises StoreError without any."""
        await self._refresh()
        return self._active

    async def any_ever_created(self) -> bool:
        """Whether any key was ever created, revoked ones included. Raises StoreError as `active_keys` does."""
        await self._refresh()
        return self._any_created

    def expire(self) -> None:
        """Lets the next request read the keys again, after this relay itself has changed them."""
        self._read_at = None

    def mark_used(self, key: StoredApiKey) -> None:
        """Notes that a request used this key; `flush_last_used` stores it, once an hour for each key."""
        now = self._clock()
        if key.last_used_at is None or not 0 <= now - key.last_used_at < LAST_USED_RESOLUTION:
            self._used[key.id] = now

    async def flush_last_used(self) -> None:
        """Stores when keys were used since the last call, if any were. Raises StoreError."""
        if not self._used:
            return
        used, now = self._used, self._clock()
        self._used = {}
        await self._store.write(lambda tx: api_keys.mark_used(tx, used, now))

    async def _refresh(self) -> None:
        if self._is_fresh():
            return
        async with self._lock:
            if self._is_fresh():
                return
            now = self._clock()
            try:
                self._active, self._any_created = await self._store.read(_read)
            except StoreError:
                # Metrics and other calls without the store still work, and nobody can revoke a key meanwhile.
                if self._read_at is None:
                    raise
            self._read_at = now

    def _is_fresh(self) -> bool:
        # guard: revoked-within-a-second
        return self._read_at is not None and 0 <= self._clock() - self._read_at < CACHE_TTL


def _read(tx: Tx) -> tuple[Sequence[StoredApiKey], bool]:
    active = api_keys.active(tx)
    return active, bool(active) or api_keys.any_ever_created(tx)  # guard: closed-for-good
