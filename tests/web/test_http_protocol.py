"""The HTTP protocol on real sockets: slow clients, many clients, and clients that do not speak HTTP."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from relay.sandbox.local_server import serve
from relay.web.server.http_protocol import MAX_HEAD, ConnectionLimits
from relay.web.server.middleware import DEFAULT_HEADERS
from relay.web.server.server import server_config
from tests.web.conftest import Api, shared

SOON = 0.3
"""Seconds that these servers wait; a test that has to wait for them is not slow."""
HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
WHOLE = HEAD + b"\r\n"
POST = b"POST /v1/registrations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

TOO_LONG = MAX_HEAD + 8_192

Start = Callable[..., AbstractAsyncContextManager["Door"]]


class Door:
    """Where the API is served."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = str(parts.hostname), parts.port
        self.opened: list[asyncio.StreamWriter] = []

    async def open(self, first: bytes = b"") -> "Caller":
        reader, writer = await asyncio.open_connection(self.host, self.port)
        self.opened.append(writer)
        caller = Caller(reader, writer)
        caller.say(first)
        return caller


class Caller:
    """One connection to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, raw: bytes) -> None:
        self.writer.write(raw)

    async def hears(self) -> bytes:
        """All that the server says until it hangs up."""
        async with asyncio.timeout(30):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def hears_status(self) -> int:
        """The status of one answer, on a connection that goes on."""
        async with asyncio.timeout(30):
            head = await self.reader.readuntil(b"\r\n\r\n")
            [length] = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")]
            await self.reader.readexactly(length)
            return int(head.split(b" ")[1])

    async def drips(self, raw: bytes, every: float = SOON / 20) -> None:
        """Says one byte after the other, until nobody listens any more."""
        for byte in raw:
            if self.writer.is_closing():
                return
            self.say(bytes([byte]))
            await asyncio.sleep(every)


def refusal(said: bytes, status: int, code: str) -> dict[str, str]:
    """Checks that there is one response, with this status, the API's envelope and headers. Returns the headers."""
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert first.split(" ")[1] == str(status), said
    assert json.loads(body)["error"]["code"] == code
    assert {name: headers[name] for name in DEFAULT_HEADERS} == {
        name: value.lower() for name, value in DEFAULT_HEADERS.items()
    }
    assert (headers["content-type"], headers["connection"]) == ("application/json", "close")
    assert "server" not in headers
    return headers


pytestmark = shared


@pytest.fixture
def start(shared_api: Api) -> Start:
    """Serves the API within these limits, 0.3 s for a request by default."""

    @asynccontextmanager
    async def started(
        app: Starlette | None = None, trusted: tuple[str, ...] = (), **bounds: Any
    ) -> AsyncIterator[Door]:
        configure = partial(
            server_config,
            trusted_proxies=[ip_network(one) for one in trusted],
            limits=ConnectionLimits(**{"read_timeout": SOON, "reserved_for_loopback": 0} | bounds),
        )
        async with serve(app or shared_api.app, configure=configure) as url:
            door = Door(url)
            try:
                yield door
            finally:
                for writer in door.opened:
                    writer.close()

    return started


# --- slow requests ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /hea",
        HEAD,
        HEAD + b"X-Slow: ",
        POST + b"Content-Length: 100\r\n\r\n",
        POST + b"Content-Length: 100\r\n\r\n" + b'{"job_id": ',
        POST + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"job\r\n',
    ],
    ids=["first line", "headers", "a header", "no body", "half a body", "half the chunks"],
)
async def test_an_incomplete_request_times_out(start: Start, begun: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """408 and the end of the connection."""
    async with start() as door:
        caller = await door.open(begun)
        refusal(await caller.hears(), 408, "request_too_slow")
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize("begins", [b"", POST + b"Content-Length: 1000\r\n\r\n"], ids=["its head", "its body"])
async def test_a_request_byte_by_byte_times_out(start: Start, begins: bytes) -> None:
    """The timeout is for the whole request, not for each byte."""
    async with start() as door:
        caller = await door.open(begins)
        dripping = asyncio.create_task(caller.drips(b"x" * 1_000 if begins else HEAD * 20))
        if said := await caller.hears():  # what drips on into a closed connection may cost the client its answer
            refusal(said, 408, "request_too_slow")
        dripping.cancel()


async def test_an_unread_body_that_drips_times_out(start: Start) -> None:
    """The request is refused at once, and the rest of its body keeps the connection no longer than a valid one."""
    async with start() as door:
        caller = await door.open(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        assert await caller.hears_status() == 404
        dripping = asyncio.create_task(caller.drips(b"x" * 1_000))
        assert await caller.hears() == b""
        dripping.cancel()


async def test_a_silent_connection_is_closed(start: Start) -> None:
    """Without a response: browsers open connections in advance."""
    async with start() as door:
        caller = await door.open()
        assert await caller.hears() == b""


async def test_each_request_of_a_kept_connection_has_its_timeout(start: Start) -> None:
    """Each request has its own timeout, whatever came before it."""
    async with start(read_timeout=2) as door:
        caller = await door.open()
        for _ in range(4):
            await caller.drips(WHOLE, every=0.001)
            assert await caller.hears_status() == 200
        caller.say(HEAD)
        refusal(await caller.hears(), 408, "request_too_slow")


async def test_pipelined_requests_are_answered_in_order(start: Start) -> None:
    """Requests sent before the response to the first one."""
    async with start() as door:
        caller = await door.open(WHOLE * 3)
        assert [await caller.hears_status() for _ in range(3)] == [200] * 3


async def test_a_slow_response_is_not_cut_off(start: Start) -> None:
    """The timeout is for the client: the relay itself may take longer."""

    async def slow(_: Request) -> Response:
        await asyncio.sleep(SOON * 3)
        return Response("done")

    async with start(Starlette(routes=[Route("/healthz", slow)])) as door:
        caller = await door.open(WHOLE)
        assert await caller.hears_status() == 200


async def test_an_unread_response_is_aborted(start: Start) -> None:
    """A client that requests much and reads nothing is disconnected."""
    ended = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65_536
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def much(_: Request) -> Response:
        return StreamingResponse(parts())

    async with start(Starlette(routes=[Route("/healthz", much)]), write_timeout=SOON) as door:
        with socket.socket() as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            asking.setblocking(False)
            await asyncio.get_running_loop().sock_connect(asking, (door.host, door.port))
            await asyncio.get_running_loop().sock_sendall(asking, WHOLE)
            async with asyncio.timeout(30):
                await ended.wait()


# --- crowds ----------------------------------------------------------------------------------------------------


async def test_connections_of_one_address_are_limited(start: Start) -> None:
    """New connections above the limit are refused; open ones stay."""
    async with start(of_one_address=3, read_timeout=10) as door:
        held = [await door.open(HEAD) for _ in range(3)]
        assert refusal(await (await door.open(WHOLE)).hears(), 503, "too_many_connections")["retry-after"] == "5"
        held[0].say(b"\r\n")
        assert await held[0].hears_status() == 200
        held[1].writer.close()
        await until(lambda: answers(door))


async def test_a_trusted_proxy_has_no_limit_of_its_own(start: Start) -> None:
    """Its connections are its clients'."""
    async with start(trusted=("127.0.0.1",), of_one_address=3, read_timeout=10) as door:
        held = [await door.open(HEAD) for _ in range(5)]
        held[-1].say(b"\r\n")
        assert await held[-1].hears_status() == 200


async def test_the_longest_idle_connection_is_closed_for_a_new_one(start: Start) -> None:
    """At the limit of all connections."""
    async with start(connections=3, read_timeout=10) as door:
        held = [await door.open(HEAD) for _ in range(3)]
        await until(lambda: answers(door))
        assert await held[0].hears() == b""
        held[2].say(b"\r\n")
        assert await held[2].hears_status() == 200


async def test_connections_being_served_are_not_closed(start: Start) -> None:
    """The new one is refused."""
    go_on = asyncio.Event()

    async def slow(_: Request) -> Response:
        await go_on.wait()
        return Response("done")

    async with start(Starlette(routes=[Route("/healthz", slow)]), connections=2) as door:
        held = [await door.open(WHOLE) for _ in range(2)]
        await asyncio.sleep(0)
        await until(lambda: refused(door))
        go_on.set()
        assert [await caller.hears_status() for caller in held] == [200, 200]


async def test_connections_with_unread_responses_are_closed_for_new_ones(start: Start) -> None:
    """Of the same address, and of all."""

    async def much(_: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(200):
                yield b"x" * 100_000

        return StreamingResponse(parts())

    async def health(_: Request) -> Response:
        return Response("ok")

    app = Starlette(routes=[Route("/much", much), Route("/healthz", health)])
    for limit in ("connections", "of_one_address"):
        limits: dict[str, Any] = {limit: 12}
        async with start(app, read_timeout=10, write_timeout=60, **limits) as door:
            hostile = []
            for _ in range(40):
                with suppress(OSError):
                    hostile.append(await unread(door, b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n"))
                await asyncio.sleep(0.01)
            await until(lambda: answers(door))
            statuses = await asyncio.gather(*(answers(door) for _ in range(5)))
            assert statuses == [True] * 5
            for one in hostile:
                one.close()


async def test_pipelined_requests_leave_time_to_newcomers(start: Start) -> None:
    """A hundred connections with a hundred requests each: few of those are answered at a time."""
    answered = 0

    async def count(_: Request) -> Response:
        nonlocal answered
        answered += 1
        return Response("ok")

    async with start(Starlette(routes=[Route("/healthz", count)]), read_timeout=60) as door:
        began = asyncio.get_running_loop().time()  # a machine that stands still meanwhile makes no answer come earlier
        for _ in range(100):
            await door.open(WHOLE * 100)
        await until(lambda: _is(answered >= 200))
        assert asyncio.get_running_loop().time() - began >= 0.3
        assert await answers(door)
        assert answered < 5_000


async def _is(so: bool) -> bool:
    return so


WAYS: dict[str, tuple[bytes, ...]] = {
    "each way": (
        b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 2,
        HEAD,
        b"",
        POST + b"Content-Length: 99\r\n\r\n{",
    ),
    "unread answers": (b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 20,),
    "unread pages": (b"GET /login HTTP/1.1\r\nHost: a\r\n\r\n" * 200,),
}


@pytest.mark.parametrize("way", WAYS)
async def test_600_hostile_connections_of_three_addresses_keep_no_newcomer_out(start: Start, way: str) -> None:
    """With the limits as they are shipped: they ask for much and read nothing, stop in a request, or say nothing.
    Newcomers, one by one and 20 at once, are answered, within a second each once the crowd is there."""
    loop = asyncio.get_running_loop()

    async def hostile(number: int) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.bind((f"127.7.0.{1 + number % 3}", 0))
        client.setblocking(False)
        with suppress(OSError):  # some are refused
            await loop.sock_connect(client, (door.host, door.port))
            await loop.sock_sendall(client, WAYS[way][number // 3 % len(WAYS[way])])
        return client

    async def newcomer(address: str) -> float:
        """Seconds until it is answered."""
        began = loop.time()
        reader, writer = await asyncio.open_connection(door.host, door.port, local_addr=(address, 0))
        door.opened.append(writer)
        writer.write(WHOLE)
        async with asyncio.timeout(30):
            assert (await reader.read(12)).startswith(b"HTTP/1.1 200")
        return loop.time() - began

    async with start(read_timeout=20, reserved_for_loopback=0) as door:
        crowd = [await hostile(number) for number in range(600)]
        await newcomer("127.7.0.9")  # as late as the crowd's requests before it make it
        waits = [await newcomer("127.7.0.9") for _ in range(5)]
        waits += await asyncio.gather(*(newcomer("127.7.0.9") for _ in range(20)))
        assert sorted(waits)[len(waits) // 2] < 1, waits
        for client in crowd:
            client.close()


async def unread(door: Door, request: bytes) -> socket.socket:
    """A connection with a small window that sends a request and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, (door.host, door.port))
    await asyncio.get_running_loop().sock_sendall(client, request)
    return client


async def test_connections_are_reserved_for_this_machine(start: Start) -> None:
    """For its health checks."""
    go_on = asyncio.Event()

    async def slow(_: Request) -> Response:
        await go_on.wait()
        return Response("done")

    async with start(Starlette(routes=[Route("/slow", slow)]), connections=2, reserved_for_loopback=1) as door:
        slow_request = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
        held = [await door.open(slow_request) for _ in range(2)]
        probe = await door.open(WHOLE)
        assert await probe.hears_status() == 404
        go_on.set()
        assert [await caller.hears_status() for caller in held] == [200, 200]


async def test_two_body_lengths_close_the_connection(start: Start) -> None:
    """With Content-Length and Transfer-Encoding the request is answered, and nothing after it on the connection."""
    body = b"10\r\n" + b'{"job_id": "j1"}' + b"\r\n0\r\n\r\n"
    async with start(read_timeout=10) as door:
        caller = await door.open(POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + body + WHOLE)
        received = await caller.hears()
        assert received.count(b"HTTP/1.1 ") == 1
        assert b"connection: close" in received.lower()


async def until(so: Callable[[], Awaitable[bool]]) -> None:
    """Returns once the condition holds; the server may notice an event a moment later."""
    async with asyncio.timeout(30):
        while not await so():
            await asyncio.sleep(0.01)


async def answers(door: Door) -> bool:
    said = await (await door.open(WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).hears()
    return said.startswith(b"HTTP/1.1 200")


async def refused(door: Door) -> bool:
    caller = await door.open(b"")
    try:
        async with asyncio.timeout(0.1):
            return (await caller.reader.read(12)).startswith(b"HTTP/1.1 503")
    except TimeoutError:
        return False
    finally:
        caller.writer.close()


# --- no HTTP ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Y : z\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"POST /v1/registrations HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /v1/registrations HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
        b"POST /v1/registrations HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ],
    ids=lambda raw: repr(raw[:40] + b" ... " + raw[-12:]),
)
async def test_malformed_http_is_refused(start: Start, raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """400 in the API's envelope, with the usual headers; no part of the request is repeated or logged."""
    with caplog.at_level(logging.DEBUG, "relay"):
        async with start(read_timeout=5) as door:
            refusal(await (await door.open(raw)).hears(), 400, "invalid_http")
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /" + b"x" * TOO_LONG + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        HEAD + b"X-Long: " + b"x" * TOO_LONG + b"\r\n\r\n",
        HEAD + b"X-Many: y\r\n" * (TOO_LONG // 10) + b"\r\n",
    ],
    ids=["a long path", "a long header", "endless headers"],
)
async def test_a_long_head_is_refused(start: Start, raw: bytes) -> None:
    """431 in the API's envelope, as soon as that is known."""
    async with start(read_timeout=5) as door:
        refusal(await (await door.open(raw)).hears(), 431, "headers_too_large")


async def test_a_head_below_the_limit_is_accepted(start: Start) -> None:
    """A head of almost 32 KiB."""
    async with start(read_timeout=5) as door:
        caller = await door.open(HEAD + b"X-Long: " + b"x" * (MAX_HEAD - 500) + b"\r\n\r\n")
        assert await caller.hears_status() == 200


async def test_malformed_data_after_a_response_began_ends_the_connection(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """What has begun is not answered twice: the connection ends."""
    go_on = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        await go_on.wait()

    async def slow(_: Request) -> Response:
        return StreamingResponse(parts())

    async with start(Starlette(routes=[Route("/healthz", slow, methods=["POST"])]), read_timeout=5) as door:
        caller = await door.open(b"POST /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        async with asyncio.timeout(30):
            await caller.reader.readuntil(b"begun")
        caller.say(b"nonsense\r\n")
        assert b"HTTP/1.1" not in await caller.hears()
        go_on.set()
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_an_upgrade_is_ignored(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A request for another protocol is answered over HTTP, and is not logged."""
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"
    with caplog.at_level(logging.INFO):
        async with start() as door:
            caller = await door.open(HEAD + upgrade)
            assert await caller.hears_status() == 200
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


REQUESTS = (
    WHOLE,
    WHOLE * 3,
    POST + b"Content-Length: 16\r\n\r\n" + b'{"job_id": "j1"}' + WHOLE,
    POST + b"Transfer-Encoding: chunked\r\n\r\n10\r\n" + b'{"job_id": "j1"}' + b"\r\n0\r\n\r\n",
    POST + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    b"GET /v1/jobs?limit=1 HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
)
AT = st.integers(0, 200)
PIECES = st.binary(max_size=12) | st.sampled_from([b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"\x00", b": ", b"HTTP/1.1"])
WHATEVER = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda one, other, at: one[:at] + other + one[at:], st.sampled_from(REQUESTS), PIECES, AT),
    st.builds(lambda one, other, at: one[:at] + other, st.sampled_from(REQUESTS), st.sampled_from(REQUESTS), AT),
    st.builds(lambda one, at, to: one[:at] + one[to:], st.sampled_from(REQUESTS), AT, AT),
)


async def test_random_bytes_break_nothing(shared_api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """They get a response over HTTP or none; nothing fails, is logged, or delays others."""
    async with serve(shared_api.app, configure=server_config) as url:
        door, loop = Door(url), asyncio.get_running_loop()

        async def say(raw: bytes) -> None:
            caller = await door.open(raw)
            caller.writer.write_eof()
            said = await caller.hears()
            assert said == b"" or said.startswith(b"HTTP/1.1 "), said
            caller.writer.close()

        @settings(max_examples=150, deadline=None)
        @given(WHATEVER)
        def try_it(raw: bytes) -> None:
            asyncio.run_coroutine_threadsafe(say(raw), loop).result(60)

        await asyncio.to_thread(try_it)
        assert await answers(door)
        for writer in door.opened:
            writer.close()
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
