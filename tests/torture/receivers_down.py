"""Receivers that are down for hours and recover: they refuse connections or answer errors; events wait, and arrive
once."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from starlette.types import ASGIApp

from relay.model import HOUR, MINUTE
from relay.sandbox.local_server import serve
from relay.sandbox.receiver import FINE, Respond, retry_later
from tests.e2e.conftest import free_port
from tests.torture.days import Days, days
from tests.torture.verdict import Verdict

ANSWERS = (
    Respond(status=500),
    Respond(status=503),
    Respond(status=404),
    retry_later(600),
)
HANGS = Respond(status=504, delay=10 * MINUTE)
"""Says it long after the relay has hung up. Each such attempt takes a second that no clock can be moved over."""

WELL = 30 * HOUR
"""Longer than between any two attempts of the schedule: in a shorter time an event may have none, and if that goes on
the relay gives it up, as it is meant to."""


class Port:
    """A receiver's port, open or closed."""

    def __init__(self) -> None:
        self.number = free_port()
        self._open = AsyncExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.number}"

    async def open(self, app: ASGIApp) -> None:
        await self._open.enter_async_context(serve(app, port=self.number, grace=0))

    async def close(self) -> None:
        """Stops listening, and cuts open connections."""
        await self._open.aclose()


@asynccontextmanager
async def _port() -> AsyncIterator[Port]:
    made = Port()
    try:
        yield made
    finally:
        await made.close()


async def receivers_down(_folder: Path, rounds: int) -> Verdict:
    """In each round the receiver fails for up to a day and a half, then works for a day and some hours."""
    async with _port() as port, days(port.url, delivery={"timeout": "1s"}) as world:
        app = world.world.receiver.app
        await port.open(app)
        for number in range(rounds):
            await world.pass_by(world.rng.randrange(3 * HOUR))
            if number % 2:
                await _in_trouble(world)
            else:
                await port.close()
                await world.pass_by(world.rng.randrange(HOUR, 36 * HOUR))
                await port.open(app)
            await world.pass_by(WELL + world.rng.randrange(6 * HOUR))
        return await world.finish()


async def _in_trouble(world: Days) -> None:
    """Answers with changing errors, and not at all for some minutes."""
    for _ in range(6):
        world.world.receiver.always(world.rng.choice(ANSWERS))
        await world.pass_by(world.rng.randrange(3 * HOUR))
    world.world.receiver.always(HANGS)
    await world.pass_by(5 * MINUTE)
    world.world.receiver.always(FINE)
