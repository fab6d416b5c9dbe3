"""Notifications between the relays on one PostgreSQL: when work becomes due, a relay with free capacity starts at once.

A notification is only a hint: without it, another relay finds the work on its next tick.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from relay.errors import StoreError
from relay.store import Store
from relay.telemetry import Telemetry

MIN_INTERVAL = 0.05
"""Minimum seconds between two notifications: one wakes the others as well as a hundred."""

_RECONNECT_DELAYS = (1, 2, 5, 15, 30)
"""Seconds before the connection for notifications is opened again, by the number of failures in a row."""


class ClusterNotifier:
    """Wakes the other relays on this store, and this relay when they do."""

    def __init__(self, store: Store, owner: str, wake: Callable[[], None], telemetry: Telemetry) -> None:
        self._store, self._owner, self._wake, self._telemetry = store, owner, wake, telemetry
        self._requested = asyncio.Event()

    def notify_others(self) -> None:
        """Wakes the other relays soon."""
        self._requested.set()

    async def run(self) -> None:
        """Sends and receives notifications until cancelled. Returns at once if no other relay can use the store."""
        if not self._store.is_exclusive:
            await asyncio.gather(self._notify_forever(), self._listen_forever())

    async def _notify_forever(self) -> None:
        while True:
            await self._requested.wait()
            self._requested.clear()
            try:
                await self._store.notify(self._owner)
            except StoreError as error:
                text = "NOTIFY failed; other relays find the new work on their next tick: %s"
                self._telemetry.log.debug(text, error)
            await asyncio.sleep(MIN_INTERVAL)

    async def _listen_forever(self) -> None:
        failures = 0
        while True:
            try:
                async with aclosing(self._store.notifications()) as senders:
                    async for sender in senders:
                        failures = 0
                        if sender != self._owner:
                            self._wake()
            except StoreError as error:
                if not failures:
                    text = "LISTEN failed and is repeated; until then this relay finds new work on its next tick: %s"
                    self._telemetry.log.warning(text, error)
            await asyncio.sleep(_RECONNECT_DELAYS[min(failures, len(_RECONNECT_DELAYS) - 1)])
            failures += 1
