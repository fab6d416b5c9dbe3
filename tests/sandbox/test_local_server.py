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
        routes = [Route("/", self.fine), Route("/hang", self.hang), Route("/deaf", self.deaf)]
        self.asgi = Starlette(routes=routes, lifespan=self.lifespan)

    async def fine(self, _request: Request) -> Response:
        return PlainTextResponse("fine")

    async def hang(self, request: Request) -> Response:
        self.hanging.set()
        await sleep_unless_disconnected(request, MINUTE)
        return PlainTextResponse("late")

    async def deaf(self, _request: Request) -> Response:
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


async def test_an_app_is_served_while_the_block_runs() -> None:
    """Its lifespan starts before and stops after; then nobody listens any more."""
    app = App()
    async with serve(app.asgi) as url, httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http:
        assert app.life == ["started"]
        assert (await http.get(url)).text == "fine"
    assert app.life == ["started", "stopped"]
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http:
            await http.get(url)


async def test_answers_come_without_delay() -> None:
    """Of fifty requests on one connection the quickest takes less than the 40 ms that Nagle's algorithm costs each."""
    took = []
    async with serve(App().asgi) as url, httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http:
        await http.get(url)
        for _ in range(50):
            started = asyncio.get_running_loop().time()
            await http.get(url)
            took.append(asyncio.get_running_loop().time() - started)
    assert min(took) < 0.035


async def test_several_are_served_side_by_side() -> None:
    """Each has a port of its own, and IPv6 is a host like any other."""
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
    """With an idle connection still open it takes no tenth of a second: the best of three, on a busy machine."""
    took = []
    for _ in range(3):
        async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http:
            async with serve(App().asgi) as url:
                await http.get(url)
                started = asyncio.get_running_loop().time()
            took.append(asyncio.get_running_loop().time() - started)
    assert min(took) < 0.09


@pytest.mark.parametrize("path", ["/hang", "/deaf"])
async def test_a_hung_request_holds_up_nothing(path: str) -> None:
    """It gets the grace and is then cut off, whether it listens for its end or not; the lifespan ends cleanly."""
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
async def test_an_endless_answer_holds_up_nothing(behaviour: SlowBody | HugeBody) -> None:
    """Neither a drip nor a flood that nobody reads survives the grace."""
    receiver = Receiver([], Clock())
    receiver.always(behaviour)
    async with asyncio.timeout(30), serve(receiver.app, grace=50) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), limit=100)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_a_port_in_use_is_told_in_words() -> None:
    """The error names the port and what to do."""
    async with serve(App().asgi) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(RelayError, match=rf"127\.0\.0\.1:{port}: .* choose another port"):
            async with serve(App().asgi, port=port):
                pass


async def test_an_app_that_does_not_start_is_an_error() -> None:
    """Not an exit of the process, and not a server without an app."""
    with pytest.raises(RelayError, match="did not start"):
        async with serve(App(starts=False).asgi):
            pass


async def test_an_error_in_the_block_stops_the_server_too() -> None:
    """The error comes through, and the lifespan has ended."""
    app = App()
    with pytest.raises(ZeroDivisionError):
        async with serve(app.asgi):
            raise ZeroDivisionError
    assert app.life == ["started", "stopped"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_set_the_event_and_are_given_back(number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM stop what runs; afterwards they mean what they meant before."""
    before = signal.getsignal(number)
    with stop_signals() as stop:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(30):
            await stop.wait()
    assert signal.getsignal(number) is before
