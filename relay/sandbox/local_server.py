"""Serves an ASGI app on a real socket, inside the running loop, and waits for stop signals."""

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
from relay.process import bind_socket, url_of

GRACE = 500
"""Milliseconds that open requests get to finish when the server stops."""


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
    """Serves `app` while the block runs, and yields its base URL. Port 0: any free port.

    `configure` makes the server's configuration. Requests still open after `grace` milliseconds are aborted. Raises
    RelayError if the port can't be bound or the app does not start.
    """
    listen_socket = bind_socket(host, port, "choose another port, or stop what uses this one")
    url = url_of(listen_socket)
    server = _Server(configure(app), grace)
    running = asyncio.create_task(server.serve([listen_socket]))
    try:
        await server.ready.wait()
        if not server.started:
            raise RelayError("the app did not start; the log of uvicorn.error says why")
        yield url
    finally:
        server.stop()
        await running
        listen_socket.close()


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGINT (Ctrl-C) and SIGTERM set, while the block runs; the main thread only."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def set_stop(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop.set)

    before = {number: signal.signal(number, set_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def sleep_unless_disconnected(request: Request, delay: int) -> None:
    """Waits for `delay` milliseconds, or until the client disconnects. The request's body must have been read."""
    with suppress(TimeoutError):
        async with asyncio.timeout(delay / SECOND):
            while (await request.receive())["type"] != "http.disconnect":
                pass


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, its process exit, and its delays of 0.1 s."""

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
        """Returns when no connection and no request is open, or after the grace period."""
        state = self.server_state
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace / SECOND):
                while state.tasks or state.connections:  # noqa: ASYNC110 (uvicorn has no event for it)
                    await asyncio.sleep(0.001)
