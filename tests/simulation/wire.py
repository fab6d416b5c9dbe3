"""The network of a simulation: every request takes time, and may be lost before it arrives or on its way back.

Whatever has left a relay arrives, even if the relay is killed or stopped meanwhile.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote

import httpx
from starlette.types import ASGIApp

from relay.egress.result import HttpResponse, RequestFailed, SendResult
from relay.model import SECOND, Instant
from relay.sandbox.receiver import Received
from tests.simulation.loop import SimulatedLoop, pick

T = TypeVar("T")

_QUICK = (0.001, 0.004, 0.03)
_SLOW = (0.3, 0.8)
"""Seconds that a request travels: less than a second, as the ledger of the budget allows for."""


class Lost(Exception):
    """A request or its answer was lost: the connection broke."""


@dataclass(slots=True)
class Network:
    """How the network is now: shares of requests and answers that are lost, and of those that are slow."""

    loop: SimulatedLoop
    rng: random.Random
    faults: Counter[str]
    """How often each kind of fault befell something."""
    requests_lost: float = 0.0
    answers_lost: float = 0.0
    exec_answers_lost: float = 0.0
    slow: float = 0.0

    def travels(self) -> float:
        if self.rng.random() < self.slow:
            self.faults["slow way"] += 1
            return pick(self.rng, _SLOW)
        return pick(self.rng, _QUICK)

    async def exchange(self, serve: Callable[[], Awaitable[T]], is_exec: bool = False) -> T:
        """What `serve`, which runs outside the calling process, answers. Raises Lost, or never returns."""
        answer: asyncio.Future[T] = self.loop.create_future()
        share = max(self.answers_lost, self.exec_answers_lost if is_exec else 0.0)
        request_lost, answer_lost = self.rng.random() < self.requests_lost, self.rng.random() < share
        is_silent = self.rng.random() < 0.5
        if request_lost or answer_lost:
            self.faults["request lost" if request_lost else "answer lost"] += 1
        there, back = self.travels(), self.travels()

        async def arrive() -> None:
            if not request_lost:
                found = await serve()
            await asyncio.sleep(back)
            if answer.done():
                return
            if not (request_lost or answer_lost):
                answer.set_result(found)
            elif not is_silent:
                answer.set_exception(Lost())

        # Not a timer of the caller's: that would end with its process.
        self.loop.call_later(there, lambda: self.loop.world.spawn(arrive()), context=self.loop.world.context)
        return await answer


@dataclass(slots=True)
class Receipt:
    """One request that a receiver got."""

    at: Instant
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    relay: str
    answered: int = 0
    """The status, once it has reached the relay; 0 before, and if it never does."""

    def received(self) -> Received:
        """As the shipped receiver notes it."""
        return Received(
            at=self.at,
            path=self.path,
            webhook_id=self.headers.get("webhook-id"),
            event_type=None,
            verified=True,
            error="",
            answered=self.answered,
            headers=self.headers,
            body=self.body,
        )


@dataclass(slots=True)
class Receivers:
    """All receivers: what they got, and how they answer now."""

    clock: Callable[[], Instant]
    rng: random.Random
    faults: Counter[str]
    receipts: list[Receipt] = field(default_factory=list)
    trouble: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By path: the status that it answers (0: nothing), and the seconds of its Retry-After."""

    async def take(self, receipt: Receipt) -> tuple[int, dict[str, str]]:
        receipt.at = self.clock()
        self.receipts.append(receipt)
        await asyncio.sleep(self.rng.choice((0.0, 0.0, 0.02, 0.25)))
        status, wait = self.trouble.get(receipt.path, (204, 0))
        if receipt.path in self.trouble:
            self.faults["receiver trouble"] += 1
        if status == 0:
            await asyncio.sleep(60)
        return status, {"retry-after": str(wait)} if wait else {}


class SimulatedSender:
    """The wire to the receivers: a relay's `WebhookSender`."""

    def __init__(
        self, network: Network, receivers: Receivers, relay: str, on_begin: Callable[[str, str, int], None]
    ) -> None:
        """`on_begin` gets the URL, the `webhook-id` and the timeout of each attempt as it begins."""
        self._network, self._receivers, self._relay, self._on_begin = network, receivers, relay, on_begin

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: int, per_address: int | None = None
    ) -> tuple[SendResult, int]:
        loop = self._network.loop
        started = loop.time()
        self._on_begin(url, headers["webhook-id"], timeout)
        receipt = Receipt(0, "/" + url.split("/", 3)[3], dict(headers), body, self._relay)
        try:
            async with asyncio.timeout(timeout / SECOND):
                status, answered = await self._network.exchange(lambda: self._receivers.take(receipt))
        except TimeoutError:
            return RequestFailed("timeout", "no answer"), timeout
        except Lost:
            return RequestFailed("connection", "the connection broke"), round((loop.time() - started) * SECOND)
        receipt.answered = status
        return HttpResponse(status, answered, b""), round((loop.time() - started) * SECOND)

    async def aclose(self) -> None:
        """There are no connections."""


async def ask(
    app: ASGIApp, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of an app's answer; `target` is path and query. Costs less than a client of httpx."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "root_path": "",
        "query_string": query.encode("ascii"),
        "headers": [
            (b"content-length", str(len(body)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in headers.items()),
        ],
        "client": ("127.0.0.1", 123),
        "server": ("relay", None),
    }
    started: dict[str, Any] = {}
    content = list[bytes]()
    is_read = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if is_read.is_set():
            await asyncio.get_running_loop().create_future()  # the client stays connected
        is_read.set()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            content.append(message.get("body", b""))

    with suppress(Exception):  # after an answer of its own: a 500
        await app(scope, receive, send)
    return started["status"], list(started["headers"]), b"".join(content)


class _Body(httpx.AsyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


class ExecWire(httpx.AsyncBaseTransport):
    """The wire to Exec: a transport of httpx, with an ASGI app at its end."""

    def __init__(self, network: Network, app: Any, key_of: Callable[[str], str], on_begin: Callable[[], None]) -> None:
        """`key_of` gives the key that the app knows for the one that is valid now; `on_begin` is called as a request
        leaves."""
        self._network, self._app, self._key_of, self._on_begin = network, app, key_of, on_begin

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._on_begin()
        method, target, headers = request.method, request.url.raw_path.decode(), dict(request.headers)
        body = await request.aread()
        headers.pop("content-length", None)

        async def serve() -> tuple[int, list[tuple[bytes, bytes]], bytes]:
            headers["authorization"] = self._key_of(headers.get("authorization", ""))
            return await ask(self._app, method, target, headers, body)

        try:
            status, found, content = await self._network.exchange(serve, is_exec=True)
        except Lost:
            raise httpx.ReadError("the connection broke", request=request) from None
        return httpx.Response(status, headers=found, stream=_Body(content), request=request)
