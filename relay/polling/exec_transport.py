"""The connections to Exec: reused by later requests, and without a limit that a request would wait for.

`polling.concurrency` limits how many polls run at once. If the pool were smaller, a poll would wait for a connection
within its timeout, and the relay would blame Exec for its own waiting.
"""

from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from relay.egress.tls import client_tls_context
from relay.polling.request_budget import MAY_REPEAT

_HUNG_UP = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError)


def make_http(timeout: int, connections: int = 20, proxy: str | None = None) -> httpx.AsyncClient:
    """The HTTP client for polls: no redirects and no cookies. `timeout` in milliseconds, `proxy` the URL of a proxy.

    Up to `connections` idle connections are kept for later polls; no request waits for one. The only environment
    variables that count are `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    """
    tls = client_tls_context()
    through = httpx.Proxy(proxy, ssl_context=tls if proxy.startswith("https:") else None) if proxy else None
    return httpx.AsyncClient(
        timeout=timeout / 1_000,
        transport=ExecTransport(connections, trust_env=False, verify=tls, proxy=through),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        follow_redirects=False,
        trust_env=False,
    )


class ExecTransport(httpx.AsyncBaseTransport):
    """Keeps up to `connections` idle connections; opens as many as there are requests at once.

    A server may close an idle connection at the moment at which a request is written to it. A GET is then repeated
    once, at once and on a new connection, if the budget allows it. A POST could be executed twice, so it always gets a
    new connection.
    """

    def __init__(self, connections: int, **options: Any) -> None:
        """`options` are those of `httpx.AsyncHTTPTransport`, for both kinds of connection."""
        reusing = httpx.Limits(max_connections=None, max_keepalive_connections=connections)
        new = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._reusing = httpx.AsyncHTTPTransport(limits=reusing, **options)
        self._new = httpx.AsyncHTTPTransport(limits=new, **options)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends the request. Raises httpx.TransportError."""
        if request.method != "GET":
            return await self._new.handle_async_request(request)
        dialled = False

        async def trace(name: str, _: object) -> None:
            nonlocal dialled
            dialled = dialled or name.startswith("connection.connect_")

        request.extensions["trace"] = trace
        try:
            return await self._reusing.handle_async_request(request)
        except _HUNG_UP:
            may_repeat = request.extensions.get(MAY_REPEAT)
            if dialled or may_repeat is None or not await may_repeat():
                raise
        return await self._new.handle_async_request(request)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._reusing.aclose()
        await self._new.aclose()
