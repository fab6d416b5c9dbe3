"""Serving: any ASGI app on a real socket, inside the running loop; and waiting until somebody says stop."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import FrameType

import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp

from relay.errors import RelayError
from relay.model import SECOND
from relay.operations.listen_socket import bind_socket, url_of

GRACE = 500
"""Milliseconds that requests under way get when the server stops."""


def _plain(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, server_header=False)


@asynccontextmanager
async def serve(
    app: ASGIApp,
    host: str = "127.0.0.1",
    port: int = 0,
    grace: int = GRACE,
    configure: Callable[[ASGIApp], uvicorn.Config] = _plain,
) -> AsyncIterator[str]:
    """Serves `app` while the block runs, and gives its base URL. Port 0: any free one.

    `configure` says how, where it is to be served as something else serves it. Requests still open after `grace`
    milliseconds are cut off. Raises RelayError where the port can't be had or the app does not start.
    """
    listening = bind_socket(host, port, "choose another port, or stop what uses this one")
    url = url_of(listening)
    server = _Server(configure(app), grace)
    running = asyncio.create_task(server.serve([listening]))
    try:
        await server.ready.wait()
        if not server.started:
            raise RelayError("the app did not start; the log of uvicorn.error says why")
        yield url
    finally:
        server.stop()
        await running
        listening.close()


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGINT (Ctrl-C) and SIGTERM set, while the block runs; the main thread only."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def told(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop.set)

    before = {number: signal.signal(number, told) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def sleep_unless_disconnected(request: Request, delay: int) -> None:
    """Waits for `delay` milliseconds, unless the asker goes away before; the request's body has been read."""
    with suppress(TimeoutError):
        async with asyncio.timeout(delay / SECOND):
            while (await request.receive())["type"] != "http.disconnect":
                pass


class _Server(uvicorn.Server):
    """uvicorn's server, less its signal handlers, its exit of the process, and its waits of a tenth of a second."""

    def __init__(self, config: uvicorn.Config, grace: int) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._grace = grace
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stopping.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            self.should_exit = True
        finally:
            self.ready.set()

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), 0.1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._wait_until_idle()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self._wait_until_idle()
        for task in list(self.server_state.tasks):
            task.cancel()
        await self._wait_until_idle()
        await self.lifespan.shutdown()

    async def _wait_until_idle(self) -> None:
        """Returns when no connection and no request is left, or after the grace."""
        state = self.server_state
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace / SECOND):
                while state.tasks or state.connections:  # noqa: ASYNC110 (uvicorn tells nobody when they go)
                    await asyncio.sleep(0.001)
