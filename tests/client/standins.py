"""What stands between a client and a relay: a proxy that cuts requests off, answers for the relay, or loses answers."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from relay.sandbox.local_server import serve
from tests.loopback import http_client


class Proxy:
    """Passes requests on to a relay, unless the next of its troubles says otherwise."""

    def __init__(self, url: str, cut_after: float = 60.0, troubles: Iterable[str | int] = ()) -> None:
        """After `cut_after` seconds a request gets 504 as HTML. A trouble is a status to answer with, `html` (a page
        with status 200) or `pass`."""
        self.url, self.cut_after, self.troubles = url, cut_after, deque(troubles)
        self.asked: list[tuple[str, str]] = []
        """Method and target of each request."""
        self.keys: list[str] = []
        """Their idempotency keys."""
        self.http = http_client(trust_env=False, timeout=60)

    async def _handle(self, request: Request) -> Response:
        body = await request.body()
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        self.asked.append((request.method, target))
        self.keys.append(request.headers.get("idempotency-key", ""))
        trouble = self.troubles.popleft() if self.troubles else "pass"
        if isinstance(trouble, int):
            return HTMLResponse(f"<h1>{trouble}</h1>", trouble)
        if trouble == "html":
            return HTMLResponse("<h1>Sign in</h1>")
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
        passed_on = self.http.request(request.method, self.url + target, content=body, headers=headers)
        try:
            async with asyncio.timeout(self.cut_after):
                answer = await passed_on
        except TimeoutError:
            return HTMLResponse("<h1>504 Gateway Time-out</h1>", 504)
        except httpx.TransportError:
            return HTMLResponse("<h1>502 Bad Gateway</h1>", 502)
        kept = ("content-type", "x-request-id", "retry-after", "idempotent-replayed")
        found = {name: value for name, value in answer.headers.items() if name in kept}
        return Response(answer.content, answer.status_code, found)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """The address at which clients reach the proxy."""
        methods = ["GET", "POST", "DELETE"]
        routes = [Route("/{path:path}", self._handle, methods=methods)]
        async with serve(Starlette(routes=routes)) as url, self.http:
            yield url


@asynccontextmanager
async def losing_answers(url: str, times: int) -> AsyncIterator[tuple[str, list[str]]]:
    """An address where the relay does its work and the connection then closes without a byte, so many times.

    Also yields the idempotency keys of the requests.
    """
    keys: list[str] = []
    http = http_client(trust_env=False, timeout=60)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = dict(
                line.lower().split(": ", 1) if "authorization" not in line.lower() else line.split(": ", 1)
                for line in lines
            )
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, target, _ = first.split(" ")
            keys.append(headers.get("idempotency-key", ""))
            kept = {
                name: value
                for name, value in headers.items()
                if name.lower() not in ("host", "content-length", "connection")
            }
            got = await http.request(method, url + target, content=body, headers=kept)
            if len(keys) > times:
                raw = f"HTTP/1.1 {got.status_code} x\r\ncontent-type: application/json\r\nconnection: close\r\n"
                raw += f"x-request-id: {got.headers['x-request-id']}\r\ncontent-length: {len(got.content)}\r\n\r\n"
                writer.write(raw.encode() + got.content)
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with http, server:
        yield f"http://127.0.0.1:{port}", keys
