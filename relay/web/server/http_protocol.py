"""The HTTP protocol of one connection, with limits on time, size and number of connections.

uvicorn waits for a request without end, takes any number of connections, and has error responses of its own. Here a
request has a timeout, connections are counted, and every error has the API's envelope.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from relay.egress import is_loopback
from relay.errors import RequestError, ValidationFailed
from relay.security import client_network
from relay.web.core import errors
from relay.web.core.errors import TooLarge, Unavailable
from relay.web.server.middleware import DEFAULT_HEADERS

MAX_HEAD = 32 * 1024
"""Bytes of a request's first line and headers together."""

_PIECE = 4 * 1024  # guard: head-size

_PIPELINED_GAP = 0.01
"""Seconds between two requests that were sent before the answer to the one before, of all connections together: nobody
has to send them so, and hundreds of connections that do would keep the event loop busy for minutes."""

CONNECTION = "relay.connection"
"""The ASGI extension that holds the connection of a request."""


class RequestTimeout(RequestError):
    """The request was not complete in time."""

    status = 408


class HeadTooLarge(TooLarge):
    status = 431


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Limits on connections; times in seconds."""

    read_timeout: float = 20
    """From the start of waiting for a request until it is complete, its body included."""
    write_timeout: float = 30
    """How long a client may leave a response unread."""
    connections: int = 2_000  # guard: hostile-connections
    """In all. One more takes the place of one that leaves its response unread, or is idle for longest."""
    of_one_address: int = 1_000
    """Of an IPv4 address or an IPv6 /64; trusted proxies are exempt, they stand for many clients."""
    reserved_for_loopback: int = 20
    """Connections that this machine gets beyond both limits, for health checks."""


class SmallEvent(asyncio.Event):
    """asyncio's event without the queue that it has while nobody waits, which takes most of a kilobyte."""

    def __init__(self, is_set: bool) -> None:
        self._is_set = is_set
        self._waiting: list[asyncio.Future[None]] | None = None

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        waiting, self._waiting = self._waiting or [], None
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> Literal[True]:
        if not self._is_set:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting = [*(self._waiting or []), future]
            await future
        return True


class ConnectionCount:
    """The connections of one server that count towards its limits."""

    def __init__(self) -> None:
        self.total = 0
        self.pipelining = 0
        """Connections whose next request is here already, and waits for its turn."""
        self.by_network: Counter[str] = Counter()

    def add(self, network: str) -> None:
        """One more connection of a client."""
        self.total += 1
        self.by_network[network] += 1

    def remove(self, network: str) -> None:
        """One less."""
        self.total -= 1
        self.by_network[network] -= 1
        if not self.by_network[network]:
            del self.by_network[network]


class BoundedHttpProtocol(H11Protocol):
    """uvicorn's protocol over h11, with limits."""

    # Ten thousand connections may be open: more attributes would make each one's dictionary a kilobyte larger.
    __slots__ = (
        "_count",
        "_is_counted",
        "_is_trusted_proxy",
        "_limits",
        "_on_lost",
        "_request_due",
        "_stands_for_many",
        "_write_due",
    )

    def __init__(
        self,
        *,
        limits: ConnectionLimits,
        count: ConnectionCount,
        is_trusted_proxy: Callable[[str], bool],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._limits, self._count, self._is_trusted_proxy = limits, count, is_trusted_proxy
        self._stands_for_many = self._is_counted = False
        self._on_lost: Callable[[], None] | None = None
        self._request_due: asyncio.TimerHandle | None = None
        self._write_due: asyncio.TimerHandle | None = None

    # --- called by asyncio and uvicorn ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow._is_writable_event = SmallEvent(is_set=True)
        self._stands_for_many = self.client is not None and self._is_trusted_proxy(self.client[0])
        if self._over_limit():
            self._refuse(Unavailable("too_many_connections", "too many connections are open; try again later"))
        else:
            self._count.add(self.network)
            self._is_counted = True
        self._wait_for_request()

    def handle_events(self) -> None:
        super().handle_events()
        # The application is not called before the next turn of the loop.
        if self.cycle is not None and not isinstance(event := self.cycle.message_event, SmallEvent):
            self.cycle.message_event = SmallEvent(event.is_set())
        if self.scope is not None:
            extensions: dict[str, Any] = self.scope.setdefault("extensions", {})
            extensions[CONNECTION] = self

    def data_received(self, data: bytes) -> None:
        # h11 measures a head only while it is incomplete: one that arrives at once would not be measured.
        for start in range(0, len(data), _PIECE):
            if not self.transport.is_closing():
                super().data_received(data[start : start + _PIECE])
        self._wait_for_request()

    def on_response_complete(self) -> None:
        if self.conn.their_state is h11.DONE and self.conn.trailing_data[0]:
            self._count.pipelining += 1
            wait = _PIPELINED_GAP * self._count.pipelining
            self.loop.call_later(wait, self._answer_next_request)  # guard: pipelined-requests
            return
        super().on_response_complete()
        self._wait_for_request()

    def _answer_next_request(self) -> None:
        self._count.pipelining -= 1
        super().on_response_complete()
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.exempt()
        if self.scope is not None:
            self.scope.pop("extensions", None)  # a reference to this connection, which would outlive it
        if self._on_lost is not None:
            self._on_lost()
        for timer in (self._request_due, self._write_due):
            if timer is not None:
                timer.cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        # guard: answer-time
        self._write_due = self.loop.call_later(self._limits.write_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_due is not None:
            self._write_due.cancel()
            self._write_due = None

    def send_400_response(self, msg: str) -> None:
        """The request is malformed or its head too long: the h11 error being handled says which."""
        error = sys.exception()
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            text = f"a request's first line and headers have at most {MAX_HEAD // 1024} KiB"
            self._refuse(HeadTooLarge("headers_too_large", text))
        else:
            self._refuse(ValidationFailed("invalid_http", "this is no HTTP request"))  # guard: no-http

    # --- called by requests that stay open (`web/core/open_request.py`) ---

    def park(self) -> None:
        """The request waits: the server needs its headers no longer, and its connection is exempt."""
        self.headers = []
        self.exempt()

    def exempt(self) -> None:
        """The connection no longer counts towards the limits: its requests have an API key, and a limit of their own.

        That holds as long as it is open, since it may begin to wait again at any time.
        """
        if self._is_counted:
            self._is_counted = False
            self._count.remove(self.network)

    def call_when_lost(self, on_lost: Callable[[], None] | None) -> None:
        """Has `on_lost` called when the client disconnects; None calls nothing any more."""
        self._on_lost = on_lost

    # --- limits ---

    @property
    def is_from_trusted_proxy(self) -> bool:
        """Whether the other end of the connection is one of `server.trusted_proxies`."""
        return self._stands_for_many

    @property
    def network(self) -> str:
        """The network that counts as one client: an IPv4 address, or the IPv6 network of one customer."""
        return client_network(self.client[0]) if self.client is not None else ""

    @property
    def idle_since(self) -> float | None:
        """Since when (by the loop's clock) the server waits for a request; None while it answers one."""
        return self._request_due.when() - self._limits.read_timeout if self._request_due is not None else None

    @property
    def unread_since(self) -> float | None:
        """Since when the client leaves a response unread; None if it reads."""
        return self._write_due.when() - self._limits.write_timeout if self._write_due is not None else None

    def _wait_for_request(self) -> None:
        """Starts the timer of a request if the client is to send one, and stops it once the request is complete."""
        awaits_client = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if awaits_client and self._request_due is None and not self.transport.is_closing():
            self._request_due = self.loop.call_later(self._limits.read_timeout, self._time_out)  # guard: request-time
        elif not awaits_client and self._request_due is not None:
            self._request_due.cancel()
            self._request_due = None

    def _time_out(self) -> None:
        self._request_due = None
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()  # an idle connection: nobody waits for a response
            return
        text = f"the request did not come in whole within {self._limits.read_timeout:g} s"
        self._refuse(RequestTimeout("request_too_slow", text))

    def _over_limit(self) -> bool:
        """Whether this connection is refused; another one may be closed to make room for it."""
        of_this_address = 0 if self._stands_for_many else self._count.by_network.get(self.network, 0)
        # guard: connections-of-one-address
        if of_this_address >= self._limit_with_reserve(self._limits.of_one_address):
            # Idle neighbours stay: behind a shared address they belong to other clients.
            neighbours = [neighbour for neighbour in self._counted_connections() if neighbour.network == self.network]
            return not _make_room([neighbour for neighbour in neighbours if neighbour.unread_since is not None])
        if self._count.total < self._limit_with_reserve(self._limits.connections):
            return False
        return not _make_room(self._counted_connections())

    def _counted_connections(self) -> list["BoundedHttpProtocol"]:
        connections = (connection for connection in self.connections if isinstance(connection, BoundedHttpProtocol))
        return [connection for connection in connections if connection._is_counted]

    def _limit_with_reserve(self, limit: int) -> int:
        """A limit, higher for this machine itself, so that its health checks always get a connection."""
        is_local = self.client is not None and is_loopback(self.client[0])
        return limit + self._limits.reserved_for_loopback if is_local else limit

    def _refuse(self, error: RequestError) -> None:
        """Sends the error in the API's envelope and closes. If a response has begun, only closes."""
        if self.cycle is not None and not self.cycle.response_complete:
            # The handler learns that its client has disconnected, and sends no response.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(errors.envelope(error)).encode()
            headers = {**DEFAULT_HEADERS, **errors.headers_of(error), "content-type": "application/json"}
            headers |= {"content-length": str(len(body)), "connection": "close"}
            encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
            every_header = [*self.server_state.default_headers, *encoded]
            response = h11.Response(status_code=error.status, headers=every_header)
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _make_room(connections: Sequence[BoundedHttpProtocol]) -> bool:
    """Closes one connection that is not being served. Returns False if there is none.

    Unread responses go first. Among them, and then among idle connections, the network with the most loses its oldest.
    """
    sizes = Counter(connection.network for connection in connections if not connection._stands_for_many)
    unread_responses = [
        (since, connection) for connection in connections if (since := connection.unread_since) is not None
    ]
    idle = [(since, connection) for connection in connections if (since := connection.idle_since) is not None]
    candidates = unread_responses or idle
    if not candidates:
        return False
    _, victim = min(candidates, key=lambda entry: (-sizes[entry[1].network], entry[0]))
    victim.transport.abort()  # guard: connections
    return True
