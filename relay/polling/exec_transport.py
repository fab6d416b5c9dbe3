"""The connections to Exec: reused by later requests, and without a limit that a request would wait for.

`polling.concurrency` limits how many polls run at once. If the pool were smaller, a poll would wait for a connection
within its timeout, and the relay would blame Exec for its own waiting.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, cast

import httpx

from relay.egress.tls import client_tls_context
from relay.polling.request_budget import MAY_REPEAT

_KEEPALIVE_SECONDS = 5.0
"""Seconds after which an idle connection is closed: some gateways drop idle ones without a word."""

_ONE_CONNECTION = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEEPALIVE_SECONDS)

_HUNG_UP = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError)


def make_http(timeout: int, connections: int = 20, proxy: str | None = None) -> httpx.AsyncClient:
    """The HTTP client for polls: no redirects and no cookies. `timeout` in milliseconds, `proxy` the URL of a proxy.

    Up to `connections` idle connections are kept for later polls; no request waits for one. The only environment
    variables that count are `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    """
    tls = client_tls_context()
    proxy_config = httpx.Proxy(proxy, ssl_context=tls if proxy.startswith("https:") else None) if proxy else None
    return httpx.AsyncClient(
        timeout=timeout / 1_000,
        transport=ExecTransport(connections, trust_env=False, verify=tls, proxy=proxy_config),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        follow_redirects=False,
        trust_env=False,
    )


class ExecTransport(httpx.AsyncBaseTransport):
    """Keeps up to `connections` idle connections; opens as many as there are requests at once.

    A server may close an idle connection at the moment at which a request is written to it. A GET is then repeated
    once, at once and on a new connection, if the budget allows it. A POST could be executed twice, so it always gets a
    new connection.

    Each connection has a transport of its own: a transport with many examines all idle ones for each request, which is
    most of the cost of a poll if many run at once.
    """

    def __init__(self, connections: int, **options: Any) -> None:
        """`options` are those of `httpx.AsyncHTTPTransport`."""
        self._connections, self._options = connections, options
        self._idle: deque[_Connection] = deque()
        """The one that was used last is at the right end."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends the request. Raises httpx.TransportError."""
        if request.method != "GET":
            return await self._send(request, self._new(), keep=False)
        if not self._idle:
            return await self._send(request, self._new(), keep=True)
        connection = self._idle.pop()
        try:
            return await self._send(request, connection, keep=True)
        except _HUNG_UP:
            may_repeat = request.extensions.get(MAY_REPEAT)
            if connection.dialled or may_repeat is None or not await may_repeat():
                raise
        return await self._send(request, self._new(), keep=False)

    async def aclose(self) -> None:
        """Closes all idle connections."""
        while self._idle:
            await self._idle.pop().transport.aclose()

    def _new(self) -> "_Connection":
        return _Connection(httpx.AsyncHTTPTransport(limits=_ONE_CONNECTION, **self._options))

    async def _send(self, request: httpx.Request, connection: "_Connection", keep: bool) -> httpx.Response:
        connection.dialled = False
        request.extensions["trace"] = connection.trace
        try:
            response = await connection.transport.handle_async_request(request)
        except BaseException:
            await connection.transport.aclose()
            raise
        stream = cast(httpx.AsyncByteStream, response.stream)
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_Body(stream, lambda: self._release(connection, keep)),
            extensions=response.extensions,
        )

    async def _release(self, connection: "_Connection", keep: bool) -> None:
        """Keeps the connection for the next request, or closes it. Closes those that have been idle for too long."""
        connection.idle_since = now = time.monotonic()
        if keep:
            self._idle.append(connection)
        else:
            await connection.transport.aclose()
        while len(self._idle) > self._connections or (
            self._idle and now - self._idle[0].idle_since > _KEEPALIVE_SECONDS
        ):
            await self._idle.popleft().transport.aclose()


class _Connection:
    """A transport with one connection, which it opens when it needs one."""

    def __init__(self, transport: httpx.AsyncHTTPTransport) -> None:
        self.transport = transport
        self.dialled = False
        """Whether the last request opened a connection."""
        self.idle_since = 0.0

    async def trace(self, name: str, _: object) -> None:
        """httpcore calls it at each step of a request."""
        self.dialled = self.dialled or name.startswith("connection.connect_")


class _Body(httpx.AsyncByteStream):
    """The body of an answer; `closed` follows its end."""

    def __init__(self, stream: httpx.AsyncByteStream, closed: Callable[[], Awaitable[None]]) -> None:
        self._stream, self._closed = stream, closed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._closed()
