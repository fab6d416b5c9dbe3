"""A rude server: says on a raw socket what no HTTP library would, byte for byte as scripted."""

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from relay.model import SECOND


class Reset:
    """Ends the connection with a reset instead of a close."""

    def __repr__(self) -> str:
        return "RESET"


RESET = Reset()

Step = bytes | int | Reset
"""Bytes to send, milliseconds to wait, or a reset. After the last step the connection is closed."""

Script = Sequence[Step]

_HEAD = b"HTTP/1.1 200 OK\r\n"

CLOSE_UNANSWERED: Script = ()
RESET_UNANSWERED: Script = (RESET,)
CLOSE_MID_HEAD: Script = (_HEAD + b"content-type: text/pl",)
CLOSE_MID_BODY: Script = (_HEAD + b"content-length: 1000\r\n\r\nhalf",)
RESET_MID_BODY: Script = (_HEAD + b"content-length: 1000\r\n\r\nhalf", RESET)
CLOSE_MID_CHUNK: Script = (_HEAD + b"transfer-encoding: chunked\r\n\r\nff\r\nhalf",)
NOT_HTTP: Script = (b"220 mail.example ESMTP ready\r\n",)
GARBAGE_HEADERS: Script = (_HEAD + b"this is no header\r\n\x00\xff\xfe: \x01\r\n: no name\r\n\r\n",)
GARBAGE_STATUS: Script = (b"HTTP/1.1 abc Fine\r\ncontent-length: 0\r\n\r\n",)
TWO_LENGTHS: Script = (_HEAD + b"content-length: 2\r\ncontent-length: 9\r\n\r\nok",)
BAD_RETRY_AFTER: Script = (b"HTTP/1.1 429 No\r\nretry-after: soon\xff\r\ncontent-length: 0\r\n\r\n",)
SILENCE: Script = (10 * 60 * SECOND,)
DRIPPED_HEAD: Script = tuple(step for byte in _HEAD + b"x: y" * 900 for step in (bytes([byte]), SECOND))
ENDLESS_HEAD: Script = (_HEAD, *(b"x-filler: " + b"x" * 1_000 + b"\r\n" for _ in range(10_000)))
ENDLESS_CONTINUE: Script = (b"HTTP/1.1 100 Continue\r\n\r\n", 10) * 60_000


class RudeServer:
    """`async with RudeServer(script, ...) as server`: each connection gets the next script, the last one for ever.

    A script begins once the request has come, its body included.
    """

    def __init__(self, *scripts: Script) -> None:
        self.requests: list[bytes] = []
        """What came, one entry a connection."""
        self._scripts = list(scripts)
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, _type: type | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._server.close()
        for connection in self._open:
            connection.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.ensure_future(self._talk(reader, writer))
        self._open.add(connection)
        connection.add_done_callback(self._open.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                self.requests.append(await _request(reader))
                for step in script:
                    await _take(step, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + await reader.readexactly(int(lengths[0]) if lengths else 0)


async def _take(step: Step, writer: asyncio.StreamWriter) -> None:
    match step:
        case bytes():
            writer.write(step)
            await writer.drain()
        case int():
            await asyncio.sleep(step / SECOND)
        case Reset():
            # Lingering for 0 s makes a socket reset.
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
