"""Notifications between the relays on one PostgreSQL: when work becomes due, a relay with free capacity starts at once.

A notification is only a hint: without it, another relay finds the work on its next tick.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from relay.errors import StoreError
from relay.model import Instant
from relay.store import Store
from relay.telemetry import Telemetry

MIN_INTERVAL = 0.01
"""Minimum seconds between two notifications: one wakes the others as well as a hundred."""

_TEST = "?"
"""Ends the sender of a notification by which a relay tests whether it hears any."""

_TEST_PATIENCE = 2
"""Seconds until the test has failed."""

_RECONNECT_DELAYS = (1, 2, 5, 15, 30)
"""Seconds before the connection for notifications is opened again, by the number of failures in a row."""


class ClusterNotifier:
    """Wakes the other relays on this store, and this relay when they do."""

    def __init__(self, store: Store, owner: str, wake: Callable[[], None], telemetry: Telemetry) -> None:
        self._store, self._owner, self._wake, self._telemetry = store, owner, wake, telemetry
        self._requested, self._heard_test = asyncio.Event(), asyncio.Event()
        self._test: asyncio.Task[None] | None = None
        self._has_warned = False
        self.is_listening = False
        """Whether notifications of other relays arrive; without them the tick finds the work."""
        self.silent_since: Instant | None = None
        """Since when they do not; None while they do, and before that is known."""

    def notify_others(self) -> None:
        """Wakes the other relays soon."""
        self._requested.set()

    async def run(self) -> None:
        """Sends and receives notifications until cancelled. Returns at once if no other relay can use the store."""
        if self._store.is_exclusive:
            return
        try:
            await asyncio.gather(self._notify_forever(), self._listen_forever())
        finally:
            if self._test is not None:
                self._test.cancel()

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
                        self._on_notification(sender)
            except StoreError as error:
                self._set_listening(False)
                if not failures:
                    text = "LISTEN failed and is repeated; until then this relay finds new work on its next tick: %s"
                    self._telemetry.log.warning(text, error)
            await asyncio.sleep(_RECONNECT_DELAYS[min(failures, len(_RECONNECT_DELAYS) - 1)])
            failures += 1

    def _on_notification(self, sender: str) -> None:
        if sender == "":
            self._set_listening(True)
            self._test = asyncio.create_task(self._test_listening())
        if sender == self._owner + _TEST:
            self._heard_test.set()
        elif sender != self._owner and not sender.endswith(_TEST):
            self._wake()

    def _set_listening(self, is_listening: bool) -> None:
        self.is_listening = is_listening
        if is_listening:
            self.silent_since = None
        elif self.silent_since is None:
            self.silent_since = self._store.clock()
        self._telemetry.metrics.listening.set(is_listening)

    async def _test_listening(self) -> None:
        """Notifies this relay itself: behind some poolers LISTEN succeeds, and no notification ever comes."""
        self._heard_test.clear()
        try:
            await self._store.notify(self._owner + _TEST)
            async with asyncio.timeout(_TEST_PATIENCE):
                await self._heard_test.wait()
        except StoreError:
            return  # the listener has its own trouble with the database, and says so
        except TimeoutError:
            self._set_listening(False)
            if not self._has_warned:
                self._has_warned = True
                self._telemetry.log.warning(
                    "this relay does not hear its own NOTIFY: storage.url leads through a pooler or to a replica that "
                    "swallows notifications; new work of other relays is found on the next tick. Use a session pooler, "
                    "or PostgreSQL itself"
                )
