"""One client's connection: how long it may take, and what the server says where no request ever reaches the API.

uvicorn waits for a request as long as the client likes, takes any number of connections, and answers by itself in words
of its own. Here a request has its time, connections are counted, and every answer is the API's.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from relay.errors import RequestError, ValidationFailed
from relay.web.core import errors
from relay.web.core.errors import TooLarge, Unavailable
from relay.web.server.middleware import DEFAULT_HEADERS

LONGEST_HEAD = 32 * 1024
"""Bytes of a request's first line and headers."""

_PIECE = 4 * 1024  # guard: head-size


class RequestTimeout(RequestError):
    """A request did not come in whole in time."""

    status = 408


class HeadTooLarge(TooLarge):
    status = 431


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What connections may take: times in seconds."""

    read_timeout: float = 20
    """From the first byte that is waited for until the request is there as a whole, its body included."""
    write_timeout: float = 30
    """How long a client may leave an answer unread."""
    connections: int = 500
    """In all. For one more the one that has waited longest for a request is closed."""
    of_one_address: int = 200
    """Proxies that are trusted excepted: they stand for many."""


class BoundedHttpProtocol(H11Protocol):
    """uvicorn's connection over h11, within bounds."""

    def __init__(self, *, bounds: ConnectionLimits, is_trusted_proxy: Callable[[str], bool], **theirs: Any) -> None:
        super().__init__(**theirs)
        self._bounds, self._stands_for_many = bounds, is_trusted_proxy
        self._request_due: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    # --- what asyncio and uvicorn call ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._over_limit():
            self._refuse(Unavailable("too_many_connections", "too many connections are open; try again later"))
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        # h11 measures a head only while it is incomplete: what comes at once would not be measured at all.
        for start in range(0, len(data), _PIECE):
            if not self.transport.is_closing():
                super().data_received(data[start : start + _PIECE])
        self._wait_for_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self._request_due, self._unread):
            if timer is not None:
                timer.cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        # guard: answer-time
        self._unread = self.loop.call_later(self._bounds.write_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP, or its head is too long: h11 says which, in the error that is being handled."""
        error = sys.exception()
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            text = f"a request's first line and headers have at most {LONGEST_HEAD // 1024} KiB"
            self._refuse(HeadTooLarge("headers_too_large", text))
        else:
            self._refuse(ValidationFailed("invalid_http", "this is no HTTP request"))  # guard: no-http

    # --- bounds ---

    @property
    def waits_since(self) -> float | None:
        """Since when (of the loop's clock) a request is waited for; None while one is being answered."""
        return self._request_due.when() - self._bounds.read_timeout if self._request_due is not None else None

    def _wait_for_request(self) -> None:
        """The client's turn begins, or is over."""
        is_clients_turn = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if is_clients_turn and self._request_due is None and not self.transport.is_closing():
            self._request_due = self.loop.call_later(self._bounds.read_timeout, self._too_slow)  # guard: request-time
        elif not is_clients_turn and self._request_due is not None:
            self._request_due.cancel()
            self._request_due = None

    def _too_slow(self) -> None:
        self._request_due = None
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()  # nothing was begun, and nobody waits for an answer
            return
        text = f"the request did not come in whole within {self._bounds.read_timeout:g} s"
        self._refuse(RequestTimeout("request_too_slow", text))

    def _over_limit(self) -> bool:
        """Whether this connection is refused. For one that is not, another may be closed that waits anyway."""
        others = [other for other in self.connections if other is not self and isinstance(other, BoundedHttpProtocol)]
        if self.client is not None and not self._stands_for_many(self.client[0]):
            own = sum(other.client is not None and other.client[0] == self.client[0] for other in others)
            if own >= self._bounds.of_one_address:  # guard: connections-of-one-address
                return True
        if len(others) < self._bounds.connections:
            return False
        waiting = [(since, other) for other in others if (since := other.waits_since) is not None]
        if not waiting:
            return True
        min(waiting, key=lambda found: found[0])[1].transport.abort()  # guard: connections
        return False

    def _refuse(self, refused: RequestError) -> None:
        """Says why, in the API's own envelope, and closes; where an answer has begun, only closes."""
        if self.cycle is not None and not self.cycle.response_complete:
            # Whoever reads the request hears that its client is gone, and answers no more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(errors.envelope(refused)).encode()
            headers = {**DEFAULT_HEADERS, **errors.headers_of(refused), "content-type": "application/json"}
            headers |= {"content-length": str(len(body)), "connection": "close"}
            ours = [(name.encode(), value.encode()) for name, value in headers.items()]
            told = [*self.server_state.default_headers, *ours]
            response = h11.Response(status_code=refused.status, headers=told)
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
