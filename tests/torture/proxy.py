"""The network between relays and their database: a TCP proxy on loopback that can be cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.e2e.conftest import free_port

_CHUNK = 65_536


class Proxy:
    """Passes on what comes to `port`, until it is cut."""

    def __init__(self, to: int) -> None:
        self.port, self.to = free_port(), to
        self._lines: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self.held = asyncio.Event()
        self._passes: int | None = None

    async def mend(self) -> None:
        """Takes connections again, and passes on what was held up."""
        self._passes = None
        self.held.clear()
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def break_off(self) -> None:
        """Resets every connection, and takes no new one."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for line in list(self._lines):
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def hold_up(self, after: int = 0) -> None:
        """Keeps connections and takes new ones, but passes on nothing after `after` more reads of either side; sets
        `held` when data waits."""
        self._passes = after

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.current_task()
        assert line is not None
        self._lines.add(line)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._pass_on(reader, writer)
        finally:
            writer.transport.abort()
            self._lines.discard(line)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.to)
        try:
            there = asyncio.create_task(self._copy(reader, to_writer))
            back = asyncio.create_task(self._copy(to_reader, writer))
            try:
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in (there, back):
                    way.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        finally:
            to_writer.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            if self._passes is not None:
                self._passes -= 1
                if self._passes < 0:
                    self._flows.clear()
                    self.held.set()
            await self._flows.wait()
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def proxy(to: int) -> AsyncIterator[Proxy]:
    """A proxy for a port of loopback, open at first."""
    made = Proxy(to)
    await made.mend()
    try:
        yield made
    finally:
        await made.break_off()
