"""The bell: relays on one PostgreSQL tell each other that something is due, so that whoever is free begins at once.

A ring is no more than a hint: one that is lost costs as long as a tick takes.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from relay.errors import StoreError
from relay.store.engine.database import Store
from relay.telemetry import Telemetry

MIN_INTERVAL = 0.05
"""Seconds between two rings: one tells as much as a hundred."""

_RECONNECT_DELAYS = (1, 2, 5, 15, 30)
"""Seconds until the next try to listen, after so many in vain."""


class ClusterNotifier:
    """What wakes the other relays on this store, and this one when they do."""

    def __init__(self, store: Store, owner: str, wake: Callable[[], None], telemetry: Telemetry) -> None:
        self._store, self._owner, self._wake, self._telemetry = store, owner, wake, telemetry
        self._asked = asyncio.Event()

    def notify_others(self) -> None:
        """The others are woken soon."""
        self._asked.set()

    async def run(self) -> None:
        """Rings and listens until cancelled; returns at once where no other relay can be."""
        if not self._store.is_exclusive:
            await asyncio.gather(self._ring_forever(), self._listen_forever())

    async def _ring_forever(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._store.notify(self._owner)
            except StoreError as error:
                self._telemetry.log.debug("the other relays are not woken, their tick will: %s", error)
            await asyncio.sleep(MIN_INTERVAL)

    async def _listen_forever(self) -> None:
        in_vain = 0
        while True:
            try:
                async with aclosing(self._store.notifications()) as rings:
                    async for ringer in rings:
                        in_vain = 0
                        if ringer != self._owner:
                            self._wake()
            except StoreError as error:
                if not in_vain:
                    self._telemetry.log.warning("other relays can't be heard for now, ticks do without: %s", error)
            await asyncio.sleep(_RECONNECT_DELAYS[min(in_vain, len(_RECONNECT_DELAYS) - 1)])
            in_vain += 1
