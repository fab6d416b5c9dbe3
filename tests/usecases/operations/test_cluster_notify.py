"""The bell: relays on one PostgreSQL wake each other, and do so again after whatever cut them off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

import psycopg
import pytest

from relay.operations import readiness
from relay.operations.cluster_notify import ClusterNotifier
from relay.store.engine.database import Store
from relay.telemetry import Telemetry
from tests.torture.postgresql import postgresql, url_at
from tests.torture.proxy import Proxy


class Rung:
    """A relay, as far as its bell goes: how often it was woken."""

    def __init__(self, store: Store, owner: str) -> None:
        self.store, self.woken = store, 0
        self.bell = ClusterNotifier(store, owner, self._wake, Telemetry())
        self._changed = asyncio.Event()

    def _wake(self) -> None:
        self.woken += 1
        self._changed.set()

    async def wakes(self) -> None:
        """Returns when it was woken once more."""
        self._changed.clear()
        await asyncio.wait_for(self._changed.wait(), 30)


@asynccontextmanager
async def two(url: str) -> AsyncIterator[tuple[Rung, Rung]]:
    """Two that listen."""
    found = [Rung(await Store.open(url), owner) for owner in ("own_1", "own_2")]
    running = []
    for one in found:
        running.append(asyncio.create_task(one.bell.run()))
        await one.wakes()
    yield found[0], found[1]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for one in found:
        await one.store.aclose()


def cut(server: psycopg.Connection, which: str) -> None:
    """Ends connections of the relays."""
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    server.execute(f"{ending} AND pid <> pg_backend_pid() AND query {which}")


async def test_a_notification_wakes_the_others_and_not_the_sender(postgres_url: str) -> None:
    """Many notifications within a moment wake the others once or twice."""
    async with two(postgres_url) as (ringer, other):
        before = ringer.woken
        for _ in range(100):
            ringer.bell.notify_others()
        await other.wakes()
        await asyncio.sleep(0.2)
        assert (ringer.woken, other.woken) in [(before, 2), (before, 3)]


async def test_a_lost_listener_reconnects_and_checks_for_missed_work(postgres_url: str) -> None:
    """As soon as it has a connection again, so notifications sent meanwhile do no harm by being lost."""
    async with two(postgres_url) as (ringer, other):
        with psycopg.connect(postgres_url, autocommit=True) as server:
            cut(server, "LIKE 'LISTEN%'")
            await other.wakes()
            ringer.bell.notify_others()
            await other.wakes()
            cut(server, "NOT LIKE 'LISTEN%'")
            ringer.bell.notify_others()
            await other.wakes()


async def test_the_notifier_ends_at_once_on_sqlite(sqlite_store: Store) -> None:
    """No other relay can use the store."""
    await asyncio.wait_for(Rung(sqlite_store, "own_1").bell.run(), 30)


async def test_a_connection_that_was_cut_without_a_word_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is forwarded any more, and nothing closed: the listener notices, and hears again afterwards."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(postgresql(tmp_path))
        proxy = Proxy(server.port)
        await proxy.mend()
        stack.push_async_callback(proxy.break_off)
        store, other = await Store.open(url_at(proxy.port)), await Store.open(server.url)
        stack.push_async_callback(store.aclose)
        stack.push_async_callback(other.aclose)
        one = Rung(store, "own_1")
        running = asyncio.create_task(one.bell.run())
        stack.callback(running.cancel)
        await one.wakes()
        await asyncio.wait_for(one.bell._heard_test.wait(), 30)
        proxy.hold_up()
        async with asyncio.timeout(30):
            while "no longer answers on the connection that listens" not in caplog.text:
                await asyncio.sleep(0.05)
        assert one.bell.is_listening is False
        silent = readiness.notifications(one.bell.silent_since)
        assert silent.ok  # the ticks find the work
        assert silent.text.startswith("other relays are not heard since 20")
        before = one.woken
        await proxy.mend()
        async with asyncio.timeout(30):
            while one.woken == before:  # it listens again, and finds what it missed
                await asyncio.sleep(0.05)
        assert one.bell.is_listening is True
        assert readiness.notifications(one.bell.silent_since).text == "other relays are heard"
        await other.notify("own_2")
        async with asyncio.timeout(30):
            while one.woken == before + 1:
                await asyncio.sleep(0.05)


class Swallowing:
    """A database behind a pooler that takes LISTEN and NOTIFY, and delivers nothing."""

    is_exclusive = False

    def clock(self) -> int:
        """Any time."""
        return 1

    async def notify(self, sender: str) -> None:
        """As if it had worked."""

    async def notifications(self) -> AsyncIterator[str]:
        """The connection stands, and stays silent."""
        yield ""
        await asyncio.Event().wait()


async def test_notifications_that_never_arrive_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    """Once, with the cause; the ticks go on without."""
    bell = ClusterNotifier(cast(Store, Swallowing()), "own_1", lambda: None, Telemetry())
    running = asyncio.create_task(bell.run())
    async with asyncio.timeout(30):
        while "does not hear its own NOTIFY" not in caplog.text:
            await asyncio.sleep(0.05)
    assert bell.is_listening is False
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
