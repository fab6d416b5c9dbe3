"""The MCP server over streamable HTTP, at `/mcp` of the relay, under the relay's API keys.

It is stateless: each request stands alone, so any relay behind a load balancer answers it, also after a restart. The
tools call the relay's own API in this process with the caller's key, so scopes and limits hold here too.
"""

import importlib.util
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from relay.client import AsyncRelay

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

_caller: ContextVar[AsyncRelay] = ContextVar("relay_of_caller")


def is_installed() -> bool:
    """Whether the SDK, which is an extra, is installed."""
    return importlib.util.find_spec("mcp") is not None


class McpEndpoint:
    """Answers the MCP requests of one application, once they are authorised."""

    def __init__(self, app: Callable[[], ASGIApp]) -> None:
        """`app` gives the application that serves the relay's API."""
        self._app = app
        self._server: Server[Any] | None = None

    async def serve(self, scope: Scope, receive: Receive, send: Send, key: str | None) -> None:
        """Answers one request by the holder of `key`; None for a relay without keys."""
        import anyio
        from mcp.server.streamable_http import StreamableHTTPServerTransport

        from relay.mcp.tasks import options_with_tasks
        from relay.mcp.tools import make_server

        if self._server is None:
            self._server = make_server(_caller.get)._mcp_server
        server, transport = self._server, StreamableHTTPServerTransport(mcp_session_id=None)
        client = scope.get("client") or ("127.0.0.1", 0)
        inner = httpx.ASGITransport(self._app(), client=tuple(client))

        async def run(*, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
            async with transport.connect() as (read, write):
                task_status.started()
                await server.run(read, write, options_with_tasks(server), stateless=True)

        async with AsyncRelay("http://127.0.0.1", key, http=httpx.AsyncClient(transport=inner)) as relay:
            token = _caller.set(relay)
            try:
                async with anyio.create_task_group() as tasks:
                    await tasks.start(run)
                    await transport.handle_request(scope, receive, send)
                    await transport.terminate()
                    tasks.cancel_scope.cancel()
            finally:
                _caller.reset(token)
