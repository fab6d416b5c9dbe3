"""Servers on loopback that behave exactly as badly as a test wants."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from relay.egress.tls import client_tls_context


def http_client(**options: Any) -> httpx.AsyncClient:
    """A client of servers on loopback. The certificate authorities, which each would read anew, are read once."""
    return httpx.AsyncClient(verify=client_tls_context(), **options)


@dataclass
class Request:
    """One request as it came over the wire; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Served:
    """A running server: where it is, and what it has seen."""

    port: int = 0
    connections: int = 0
    open: int = 0
    most_open: int = 0
    sent: int = 0
    requests: list[Request] = field(default_factory=list)

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@dataclass
class Wire:
    """One accepted connection, from the server's side."""

    served: Served
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read(self) -> Request:
        """The next request. Raises IncompleteReadError where none comes any more."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        request = Request(method, target, headers, body)
        self.served.requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        self.served.sent += len(data)

    async def hang(self) -> None:
        """Until the other side hangs up."""
        while await self.reader.read(65_536):
            pass


Behaviour = Callable[[Wire], Awaitable[None]]


def answer(body: bytes = b"ok", status: str = "200 OK", *headers: str) -> bytes:
    """A well-formed answer as bytes."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answering(*answers: bytes) -> Behaviour:
    """Reads a request, sends the next of `answers` (the last one over and over), on one kept connection."""

    async def behave(wire: Wire) -> None:
        for count in range(1_000_000):
            await wire.read()
            await wire.send(answers[min(count, len(answers) - 1)])

    return behave


@asynccontextmanager
async def serving(behave: Behaviour, ssl_context: ssl.SSLContext | None = None) -> AsyncIterator[Served]:
    """Runs `behave` for every connection to a free port of 127.0.0.1; cuts what is left at the end."""
    served = Served()
    running: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        running.add(task)
        served.connections += 1
        served.open += 1
        served.most_open = max(served.open, served.most_open)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
                await behave(Wire(served, reader, writer))
        finally:
            served.open -= 1
            writer.transport.abort()
            running.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=ssl_context)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await server.wait_closed()
