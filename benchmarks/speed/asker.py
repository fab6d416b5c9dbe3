"""A client that costs next to nothing: ready-made requests over connections that are kept, one at a time on each."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """A request as it goes over the wire; `headers` are whole lines."""
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{headers}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def ask(port: int, requests: Iterable[bytes], at_once: int) -> Counter[int]:
    """Makes all requests at this machine's port, so many at once. Returns how often each status came."""
    asking = _Asking(iter(requests), at_once)
    loop = asyncio.get_running_loop()
    for _ in range(at_once):
        await loop.create_connection(lambda: _Connection(asking), "127.0.0.1", port)
    asking.begin()
    return await asking.done


class _Asking:
    """What is still to be asked, and what came."""

    def __init__(self, left: Iterator[bytes], connections: int) -> None:
        self.left, self._busy = left, connections
        self.done: asyncio.Future[Counter[int]] = asyncio.get_running_loop().create_future()
        self.came: Counter[int] = Counter()
        self.connections: list[_Connection] = []

    def begin(self) -> None:
        """The first request on every connection."""
        for one in self.connections:
            one.go_on()

    def rested(self) -> None:
        """A connection has nothing more to ask."""
        self._busy -= 1
        if not self._busy:
            self.done.set_result(self.came)


class _Connection(asyncio.Protocol):
    """One connection of keep-alive HTTP/1.1, as far as servers of ours go."""

    def __init__(self, asking: _Asking) -> None:
        self._asking, self._read, self._rests = asking, b"", False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._asking.connections.append(self)

    def data_received(self, data: bytes) -> None:
        self._read += data
        end = self._read.find(b"\r\n\r\n")
        found = _LENGTH.search(self._read[:end]) if end >= 0 else None
        if found is None or len(self._read) < end + 4 + int(found[1]):
            return
        self._asking.came[int(self._read[9:12])] += 1
        self._read = b""
        self.go_on()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._rests and not self._asking.done.done():
            self._asking.done.set_exception(error or ConnectionError("the server hung up"))

    def go_on(self) -> None:
        """The next request; none is left: the connection is closed."""
        request = next(self._asking.left, None)
        if request is not None:
            self._transport.write(request)
            return
        self._rests = True
        self._transport.close()
        self._asking.rested()
