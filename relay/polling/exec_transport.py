"""The connections to Exec: kept from one request to the next, and never waited for.

How many polls run at once `polling.concurrency` decides. A pool that were narrower would let the others wait within
their timeout, and what is the relay's own waiting would look like a fault of Exec's.
"""

from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from relay.egress.tls import client_tls_context
from relay.polling.request_budget import MAY_REPEAT

_HUNG_UP = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError)


def make_http(timeout: int, connections: int = 20, proxy: str | None = None) -> httpx.AsyncClient:
    """The HTTP client for polls: no redirects and no cookies. `timeout` in milliseconds, `proxy` the URL of a proxy.

    `connections` are kept for the next polls; no request waits for one. Of the environment only `SSL_CERT_FILE` and
    `SSL_CERT_DIR` count.
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

    A server that hangs up on an idle connection may do so in the instant in which a request is written on it. A GET
    goes again then, if it may, once and at once, on a new connection. A POST might be done twice: it has a new
    connection from the beginning.
    """

    def __init__(self, connections: int, **options: Any) -> None:
        """`options` are those of `httpx.AsyncHTTPTransport` that both kinds of connection have."""
        kept = httpx.Limits(max_connections=None, max_keepalive_connections=connections)
        new = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._kept = httpx.AsyncHTTPTransport(limits=kept, **options)
        self._new = httpx.AsyncHTTPTransport(limits=new, **options)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer. Raises httpx.TransportError."""
        if request.method != "GET":
            return await self._new.handle_async_request(request)
        dialled = False

        async def trace(name: str, _: object) -> None:
            nonlocal dialled
            dialled = dialled or name.startswith("connection.connect_")

        request.extensions["trace"] = trace
        try:
            return await self._kept.handle_async_request(request)
        except _HUNG_UP:
            may_repeat = request.extensions.get(MAY_REPEAT)
            if dialled or may_repeat is None or not await may_repeat():
                raise
        return await self._new.handle_async_request(request)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._kept.aclose()
        await self._new.aclose()
