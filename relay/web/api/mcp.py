"""`/mcp`: the MCP server of this relay, for agents that have an API key."""

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from relay.errors import NotFound, RequestError
from relay.mcp import McpEndpoint, is_installed
from relay.model import Via
from relay.service import Relay
from relay.web.core import errors, public_url
from relay.web.core.auth import authenticate, bearer, require_local_request
from relay.web.core.errors import Forbidden

PATHS = ("/mcp", "/mcp/")

_UNAUTHORIZED = -32001
"""JSON-RPC leaves these numbers to servers; clients show the message."""


class _Endpoint:
    """The ASGI application behind both paths: neither redirects to the other, which clients do not follow."""

    def __init__(self) -> None:
        self._mcp: McpEndpoint | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            key = await _authorised_key(request)
        except RequestError as error:
            body = {"jsonrpc": "2.0", "id": None, "error": {"code": _UNAUTHORIZED, "message": error.message}}
            await JSONResponse(body, error.status, errors.headers_of(error))(scope, receive, send)
            return
        if self._mcp is None:
            self._mcp = McpEndpoint(lambda: scope["app"])
        await self._mcp.serve(scope, receive, send, key)


async def _authorised_key(request: Request) -> str | None:
    """The API key of the request; None for a relay without keys. Raises RequestError."""
    relay: Relay = request.app.state.relay
    if not is_installed():
        text = "this relay has no MCP server; install one with: pip install 'exec-relay[mcp]', and restart the relay"
        raise NotFound("mcp_not_installed", text)
    origin = request.headers.get("origin")
    if origin is not None and not public_url.is_own_origin(request, origin):  # guard: mcp-origin
        text = "pages of other sites may not call the MCP server; server.public_url names the relay's own address"
        raise Forbidden("foreign_origin", text)
    if not await relay.requires_api_key():
        require_local_request(request)
        if relay.local_token is None:
            return None
    token = bearer(request.headers)
    await authenticate(request, token, Via.API)  # guard: mcp-key
    return token


def routes() -> list[Route]:
    """The routes of the MCP server."""
    endpoint = _Endpoint()
    return [Route(path, endpoint) for path in PATHS]
