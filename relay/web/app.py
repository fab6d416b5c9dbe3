"""The HTTP application: its routes, its middleware, and the responses to errors."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from relay.errors import ConfigError, NotFound, RequestError, StoreError
from relay.service import Relay
from relay.waiting import SharedReads
from relay.web import dashboard
from relay.web.api import (
    audit,
    create_job,
    deliveries,
    endpoints,
    events,
    exec_callbacks,
    health,
    jobs,
    mcp,
    registrations,
    sending,
    workspaces,
)
from relay.web.core import errors, openapi, public_url
from relay.web.core.errors import MethodNotAllowed
from relay.web.core.rate_limits import RequestLimits
from relay.web.core.refusals import RefusalLog
from relay.web.core.route import ApiRoute, routes
from relay.web.server.middleware import PARKED, RequestTargetMiddleware, ResponseMiddleware

OPERATIONS: tuple[ApiRoute, ...] = (
    *registrations.OPERATIONS,
    *jobs.OPERATIONS,
    *create_job.OPERATIONS,
    *workspaces.OPERATIONS,
    *exec_callbacks.OPERATIONS,
    *endpoints.OPERATIONS,
    *events.OPERATIONS,
    *deliveries.OPERATIONS,
    *sending.OPERATIONS,
    *audit.OPERATIONS,
    *health.OPERATIONS,
)
_API_ROUTES = routes(OPERATIONS)


class _Application(Starlette):
    """Starlette, which answers parked requests once all of its layers are done with them."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        if (answer_parked := scope.get("state", {}).pop(PARKED, None)) is not None:
            await answer_parked(scope, receive, send)


def create_app(relay: Relay, *, owns_relay: bool = True) -> Starlette:
    """The relay's HTTP API and dashboard. If it `owns_relay`, it starts and stops the relay with itself.

    Raises ConfigError if the path of `server.public_url` can't be distinguished from a path of the relay.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if not owns_relay:
            yield
            return
        await relay.start()
        try:
            yield
        finally:
            await relay.stop()

    base_path = public_url.base_path_of(relay.config.server.public_url)
    own_routes = [_front_page(), *dashboard.ROUTES, *mcp.routes(), *_API_ROUTES]
    _refuse_own_path(base_path, own_routes)
    app = _Application(
        routes=own_routes,
        middleware=[
            Middleware(RequestTargetMiddleware, base_path=base_path),
            Middleware(ResponseMiddleware, log=relay.telemetry.log),
        ],
        exception_handlers={
            RequestError: _request_error,
            StoreError: _store_error,
            HTTPException: _routing_error,
            ClientDisconnect: _disconnected,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.relay = relay
    app.state.listeners = dashboard.StreamCount()
    app.state.job_reads = SharedReads[jobs.ShownJob]()
    app.state.limits = RequestLimits(relay.config.security.requests_per_minute, relay.telemetry, relay.clock)
    app.state.refusals = RefusalLog(relay.clock)
    app.state.openapi = openapi.Document(partial(_openapi_document, base_path))
    return app


def _refuse_own_path(base_path: str, own_routes: Sequence[BaseRoute]) -> None:
    """A proxy may leave the base path on or take it off: below `/jobs`, `/jobs/x` could be either page. Raises
    ConfigError."""
    first = base_path.split("/")[1] if base_path else ""
    if first in {str(getattr(route, "path", "")).split("/")[1] for route in own_routes} - {""}:
        text = f"server.public_url: its path begins with /{first}, which is a path of the relay itself"
        raise ConfigError(f"{text}; serve it below another, such as /relay")


@cache
def _openapi_document(base_path: str, with_auth: bool) -> bytes:
    """The OpenAPI document, built when it is first asked for: that takes as long as all else at the start."""
    return openapi.build_openapi(OPERATIONS, base_path, with_auth=with_auth)


def _front_page() -> Route:
    """`/`: the dashboard for browsers, a description of the API for programs."""

    async def front(request: Request) -> Response:
        handler = dashboard.FRONT.endpoint if _wants_page(request) else health.about
        return cast(Response, await handler(request))

    return Route("/", front, methods=["GET"])


async def _request_error(_: Request, error: Exception) -> Response:
    return errors.error_response(cast(RequestError, error))


async def _store_error(request: Request, error: Exception) -> Response:
    relay: Relay = request.app.state.relay
    relay.telemetry.log.error("a request failed and gets 503: %s", error)
    return errors.error_response(errors.store_unavailable(cast(StoreError, error)))


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


async def _routing_error(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    if error.status_code == 405:
        # The address bar has a form's address while its answer is shown, and a reload there asks for a page.
        page = dashboard.page_of_form(public_url.path_below_base(request)) if request.method == "GET" else None
        if page is not None and _wants_page(request):
            return RedirectResponse(public_url.with_base_path(request, page), 303)
        allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        refusal = MethodNotAllowed("method_not_allowed", f"this path takes {allowed}")
        return errors.error_response(refusal, {"allow": allowed})
    if _wants_page(request) and not public_url.path_below_base(request).startswith("/v1/"):
        return cast(Response, await dashboard.NOT_FOUND.endpoint(request))
    return errors.error_response(NotFound("unknown_path", errors.UNKNOWN_PATH))


async def _disconnected(_: Request, __: Exception) -> Response:
    """The client disconnected during its request: nobody reads this response."""
    return Response(status_code=400)
