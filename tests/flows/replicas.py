"""Several whole relays on one PostgreSQL, in one loop, that share the time and the world around them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from relay.model import Instant
from relay.sandbox.exec_server import ExecSettings, FakeExec
from relay.sandbox.local_server import serve
from relay.sandbox.receiver import Receiver
from relay.service import Relay
from tests.conftest import Clock
from tests.flows.conftest import World
from tests.make import SECRET


class Replicas(World):
    """The relays work at the same time; `relay` is the first of them, by which jobs are registered."""

    relays: list[Relay]

    async def settle(self) -> Instant | None:
        """Lets the relays do all that is due now. Returns when the next poll or delivery is due."""
        before = None
        while True:
            await self.each(Relay.tick)
            await self.each(lambda one: one.poller.idle())
            await self.each(lambda one: one.dispatcher.tick())
            await self.each(lambda one: one.dispatcher.idle())
            due = await self.next_due()
            done = (len(self.exec.records.requests), len(self.receiver.received), due)
            if due is None or due > self.clock() or done == before:
                return due
            before = done

    async def each(self, work: Callable[[Relay], Any]) -> None:
        """Runs one call at all relays at the same time."""
        await asyncio.gather(*(work(one) for one in self.relays))

    async def kill(self, dead: Relay) -> None:
        """Like `kill -9`: finishes nothing and releases nothing."""
        self.relays.remove(dead)
        under_way = [*dead.dispatcher._attempts, *dead.poller._in_flight]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await dead.egress.aclose()
        await dead.store.aclose()


@asynccontextmanager
async def replicas(
    url: str,
    number: int,
    sandbox: ExecSettings | None = None,
    clocks: Sequence[Callable[[], Instant] | None] = (),
    **sections: Any,
) -> AsyncIterator[Replicas]:
    """`number` relays on the store at `url`, with the world's clock or clocks of their own (None: the database's)."""
    clock = Clock(time.time_ns() // 1_000_000)
    exec, receiver = FakeExec(sandbox or ExecSettings(seed=1), clock), Receiver(SECRET, clock)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serve(one.app)) for one in (exec, receiver)]
        world = Replicas(clock, exec, receiver, *servers)
        world.relays = []
        stack.push_async_callback(lambda: world.each(Relay.stop))
        config = world.config(url, **sections)
        for place in range(number):
            world.relays.append(await Relay.open(config, clocks[place] if clocks else clock, seed=place))
        world.relay = world.relays[0]
        yield world
