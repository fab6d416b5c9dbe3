"""The other side, which does next to nothing: a receiver that answers 204 to every POST, counts them, and knows when
each began to come; and an Exec at which every job is being worked on.

In a process of its own, on the core that the measured side does not have: `Receiver` starts it, reads its counts.
What it costs is told too, so that nobody has to believe that it was not what was measured.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from types import TracebackType

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb"\r\nwebhook-id: *([^\r]+)", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"

EXEC = "/rest/v1"
_JOB = '{"id":"%s","status":"processing","created_at":"2026-01-01T00:00:00Z","started_at":"2026-01-01T00:00:10Z"}'


class _Counting:
    """What came."""

    def __init__(self) -> None:
        self.posts = self.polls = 0
        self.came: dict[str, int] = {}


class _Connection(asyncio.Protocol):
    """One connection of keep-alive HTTP/1.1, as far as a client of ours goes."""

    def __init__(self, counting: _Counting) -> None:
        self._counting, self._read, self._began = counting, b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._began = self._began if self._read else time.monotonic_ns()
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end]
            length = int(found[1]) if (found := _LENGTH.search(head)) else 0
            if len(self._read) < end + 4 + length:
                return
            self._read = self._read[end + 4 + length :]
            self._transport.write(self._told(head) if head.startswith(b"GET") else self._taken(head))

    def _taken(self, head: bytes) -> bytes:
        self._counting.posts += 1
        if found := _ID.search(head):
            self._counting.came.setdefault(found[1].decode(), self._began)
        return _ANSWER

    def _told(self, head: bytes) -> bytes:
        path = head.split(b" ", 2)[1].decode()
        if path.startswith(EXEC):
            self._counting.polls += 1
            return _answered(_JOB % path.rpartition("/")[2])
        used = os.times()
        said = {"posts": self._counting.posts, "polls": self._counting.polls, "cpu": used.user + used.system}
        return _answered(json.dumps(self._counting.came if path == "/came" else said), "connection: close\r\n")


def _answered(text: str, headers: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}content-length: {len(text)}\r\n\r\n"
    return (head + text).encode()


@dataclass(frozen=True)
class Seen:
    """What the receiver has seen so far, and the CPU seconds that it took."""

    posts: int
    polls: int
    cpu: float


class Receiver:
    """The receiver for a measurement, as a context manager."""

    def __init__(self, core: int) -> None:
        self._core = core

    def __enter__(self) -> "Receiver":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.speed.receiver", str(self._core)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.terminate()
        self._process.communicate()

    def seen(self) -> Seen:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/") as answer:
            return Seen(**json.load(answer))

    def came(self) -> dict[str, int]:
        """When the first byte of each webhook-id came: nanoseconds of the machine's monotonic clock."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/came") as answer:
            told: dict[str, int] = json.load(answer)
        return told


async def _serve() -> None:
    counting = _Counting()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(counting), "0.0.0.0", 0, backlog=1_024)  # noqa: S104
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    asyncio.run(_serve())
