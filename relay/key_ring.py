"""The API keys of the store, at hand without a query for each request, and yet no older than a second.

Keys are made and revoked by `relay keys`, in the store itself: every relay on it learns of that within `FRESH`.
"""

import asyncio
from collections.abc import Callable, Sequence

from relay.errors import StoreError
from relay.model import HOUR, SECOND, Instant
from relay.store import api_keys
from relay.store.api_keys import StoredKey
from relay.store.database import Store, Tx

FRESH = SECOND
"""Milliseconds for which what was read is believed: so long a revoked key may still work."""

MOST = 1_000
"""Keys that a store may have; all of them are read at once."""

COARSE = HOUR
"""Milliseconds between two notes that a key is used."""


class KeyRing:
    """The keys of one store, read again when somebody asks and what was read has become old."""

    def __init__(self, store: Store, clock: Callable[[], Instant]) -> None:
        self._store, self._clock = store, clock
        self._live: Sequence[StoredKey] = ()
        self._were_made = False
        self._read_at: Instant | None = None
        self._reading = asyncio.Lock()
        self._used: dict[str, Instant] = {}

    async def live(self) -> Sequence[StoredKey]:
        """The keys that are not revoked; while the store fails, as they were before. Raises StoreError at first."""
        await self._refresh()
        return self._live

    async def were_made(self) -> bool:
        """Whether there was ever a key, revoked ones included; as with `live`."""
        await self._refresh()
        return self._were_made

    def use(self, key: StoredKey) -> None:
        """A request came with this key; `write_down` tells the store, once an hour."""
        now = self._clock()
        if key.last_used_at is None or not 0 <= now - key.last_used_at < COARSE:
            self._used[key.id] = now

    async def write_down(self) -> None:
        """Writes what was used since, where there is anything to write. Raises StoreError."""
        if not self._used:
            return
        used, now = self._used, self._clock()
        self._used = {}
        await self._store.write(lambda tx: api_keys.use(tx, used, now))

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
        return self._read_at is not None and 0 <= self._clock() - self._read_at < FRESH


def _read(tx: Tx) -> tuple[Sequence[StoredKey], bool]:
    live = api_keys.live(tx)
    return live, bool(live) or api_keys.were_made(tx)  # guard: closed-for-good
