"""Serving an app on a real socket inside the running loop."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from relay.errors import RelayError
from relay.model import MINUTE
from relay.sandbox.local_server import serve, sleep_unless_disconnected, stop_signals
from relay.sandbox.receiver import HugeBody, Receiver, SlowBody
from tests.sandbox.standin import NO_TLS, Clock


class App:
    """Says fine, hangs, or refuses to start; knows whether its lifespan ran."""

    def __init__(self, starts: bool = True) -> None:
        self.life: list[str] = []
        self.starts = starts
        self.hanging = asyncio.Event()
        routes = [Route("/", self.fine), Route("/hang", self.hang), Route("/unresponsive", self.unresponsive)]
        self.asgi = Starlette(routes=routes, lifespan=self.lifespan)

    async def fine(self, _request: Request) -> Response:
        return PlainTextResponse("fine")

    async def hang(self, request: Request) -> Response:
        self.hanging.set()
        await sleep_unless_disconnected(request, MINUTE)
        return PlainTextResponse("late")

    async def unresponsive(self, _request: Request) -> Response:
        self.hanging.set()
        await asyncio.sleep(60)
        return PlainTextResponse("late")

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        if not self.starts:
            raise RuntimeError("not today")
        self.life.append("started")
        yield
        self.life.append("stopped")


async def test_app_is_served_while_the_block_runs() -> None:
    """Its lifespan starts before and stops after; then connections are refused."""
    app = App()
    async with serve(app.asgi) as url, httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http:
        assert app.life == ["started"]
        assert (await http.get(url)).text == "fine"
    assert app.life == ["started", "stopped"]
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http:
            await http.get(url)


async def test_responses_are_not_delayed() -> None:
    """Of fifty requests on one connection the fastest takes less than the 40 ms of Nagle's algorithm."""
    took = []
    async with serve(App().asgi) as url, httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http:
        await http.get(url)
        for _ in range(50):
            started = asyncio.get_running_loop().time()
            await http.get(url)
            took.append(asyncio.get_running_loop().time() - started)
    assert min(took) < 0.035


async def test_several_apps_are_served_at_once() -> None:
    """Each has its own port, and IPv6 hosts work."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with (
        serve(App().asgi) as one,
        serve(App().asgi, "::1") as two,
        httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http,
    ):
        assert one != two
        assert two.startswith("http://[::1]:")
        assert [(await http.get(url)).text for url in (one, two)] == ["fine", "fine"]


async def test_stopping_is_fast() -> None:
    """With an idle connection open it takes less than 0.1 s: the best of three, on a busy machine."""
    took = []
    for _ in range(3):
        async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http:
            async with serve(App().asgi) as url:
                await http.get(url)
                started = asyncio.get_running_loop().time()
            took.append(asyncio.get_running_loop().time() - started)
    assert min(took) < 0.09


@pytest.mark.parametrize("path", ["/hang", "/unresponsive"])
async def test_hung_request_does_not_delay_stopping(path: str) -> None:
    """It gets the grace period and is then aborted, with and without a check for a disconnect; the lifespan ends
    cleanly."""
    app = App()
    async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http:
        async with serve(app.asgi, grace=50) as url:
            asking = asyncio.create_task(http.get(url + path))
            await app.hanging.wait()
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 1
        with pytest.raises(httpx.TransportError):
            await asking
    assert app.life == ["started", "stopped"]


@pytest.mark.parametrize("behaviour", [SlowBody(), HugeBody()])
async def test_endless_response_does_not_delay_stopping(behaviour: SlowBody | HugeBody) -> None:
    """A slow body and an unread huge body end after the grace period."""
    receiver = Receiver([], Clock())
    receiver.always(behaviour)
    async with asyncio.timeout(30), serve(receiver.app, grace=50) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), limit=100)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_port_in_use_is_explained() -> None:
    """The error names the port and the fix."""
    async with serve(App().asgi) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(RelayError, match=rf"127\.0\.0\.1:{port}: .* choose another port"):
            async with serve(App().asgi, port=port):
                pass


async def test_app_that_does_not_start_raises_an_error() -> None:
    """The process does not exit, and no server runs without an app."""
    with pytest.raises(RelayError, match="did not start"):
        async with serve(App(starts=False).asgi):
            pass


async def test_error_in_the_block_stops_the_server() -> None:
    """The error is raised, and the lifespan has ended."""
    app = App()
    with pytest.raises(ZeroDivisionError):
        async with serve(app.asgi):
            raise ZeroDivisionError
    assert app.life == ["started", "stopped"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_set_the_event_and_are_restored(number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM set the event; afterwards the previous handlers are active."""
    before = signal.getsignal(number)
    with stop_signals() as stop:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(30):
            await stop.wait()
    assert signal.getsignal(number) is before
