"""An API key that registers hundreds of URLs that never answer, or stop answering, delays no other key's deliveries."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from relay import registration
from relay.endpoints.spec import EndpointSpec
from relay.model import SECOND
from relay.registration import RegistrationSpec
from relay.store.engine.database import Tx
from tests.flows.conftest import Start, World

HOSTS = 100
SLOTS = 64
SLOW = {"timeout": "30s"}
"""Longer than a test takes: no slot of a silent host is free before the test ends."""


class Crowd:
    """Receivers on addresses of their own, which answer until they fall silent."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.is_silent = True
        self.answered = 0
        self.waiting = 0
        self._came = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                if self.is_silent:
                    self.waiting += 1
                else:
                    self.answered += 1
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                async with self._came:
                    self._came.notify_all()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def has(self, *, waiting: int = 0, answered: int = 0) -> None:
        """Returns when so many requests are waiting, and so many were answered."""
        async with asyncio.timeout(30), self._came:
            await self._came.wait_for(lambda: self.waiting >= waiting and self.answered >= answered)


@asynccontextmanager
async def crowd_of(number: int) -> AsyncIterator[Crowd]:
    """So many receivers, each on a loopback address of its own."""
    crowd = Crowd()
    servers = [await asyncio.start_server(crowd.serve, f"127.1.0.{n + 1}", 0) for n in range(number)]
    crowd.urls = ["http://{}:{}/".format(*server.sockets[0].getsockname()) for server in servers]
    yield crowd
    for server in servers:
        server.close()


async def register(world: World, job: str, urls: list[str], owner: str) -> None:
    """Registers a batch with an API key."""

    def work(tx: Tx) -> None:
        for url in urls:
            request = RegistrationSpec(job_id=job, callback=EndpointSpec(url), owner=owner)
            checked = registration.validate(request, world.relay.rules, world.relay.clients)
            registration.register(tx, checked, world.clock())

    await world.relay.store.write(work)
    world.relay.dispatcher.wake()


async def poll(world: World) -> None:
    await world.relay.poller.tick()
    await world.relay.poller.idle()


@contextmanager
def dispatching(world: World) -> Iterator[None]:
    running = asyncio.create_task(world.relay.dispatcher.run())
    try:
        yield
    finally:
        running.cancel()


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize("first", ["silent", "answering"])
async def test_silent_hosts_of_one_key_delay_no_other_key(start: Start, first: str) -> None:
    """100 hosts of one key never answer, or stop after one answer. While they hold all slots that one key can have, a
    new URL of another key, an older one and a standing endpoint are notified."""
    async with start(delivery=SLOW) as world, crowd_of(HOSTS) as crowd:
        old, new = (world.exec.add(lasts=1_000).id for _ in range(2))
        world.clock.advance(5 * SECOND)
        with dispatching(world):
            await register(world, old, [f"{world.receiver_url}/known"], "other")
            await poll(world)
            await world.receiver.wait_for(1, within=30 * SECOND)
            if first == "answering":
                crowd.is_silent = False
                await register(world, old, crowd.urls, "attacker")
                await crowd.has(answered=HOSTS)
                await world.relay.dispatcher.idle()
                crowd.is_silent = True
            await register(world, new, crowd.urls, "attacker")
            await poll(world)
            await crowd.has(waiting=SLOTS // 4 if first == "silent" else SLOTS - SLOTS // 8)
            urls = [f"{world.receiver_url}/{path}" for path in ("known", *(f"fresh{n}" for n in range(20)))]
            await register(world, new, urls, "other")
            await world.receiver.wait_for(1 + len(urls), within=10 * SECOND)
            assert {one.path for one in world.received()} >= {"/known", *(f"/fresh{n}" for n in range(20))}
            assert crowd.waiting <= SLOTS - SLOTS // 8
        await world.relay.egress.aclose()
