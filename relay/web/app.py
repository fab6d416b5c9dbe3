"""The application: its routes, and what becomes of errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from relay.errors import NotFound, Refused, StoreError
from relay.service import Relay
from relay.web import (
    callbacks,
    creating,
    dashboard,
    deliveries,
    endpoints,
    events,
    jobs,
    openapi,
    ops,
    problems,
    registrations,
    workspaces,
)
from relay.web.limits import Limits
from relay.web.operation import Operation, routes
from relay.web.problems import MethodNotAllowed, Unavailable
from relay.web.surroundings import Surroundings

OPERATIONS: tuple[Operation, ...] = (
    *registrations.OPERATIONS,
    *jobs.OPERATIONS,
    *creating.OPERATIONS,
    *workspaces.OPERATIONS,
    *callbacks.OPERATIONS,
    *endpoints.OPERATIONS,
    *events.OPERATIONS,
    *deliveries.OPERATIONS,
    *ops.OPERATIONS,
)


def create_app(relay: Relay, *, owns_relay: bool = True) -> Starlette:
    """The relay's HTTP API. Where it `owns_relay`, the application's start and end are the relay's."""

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

    app = Starlette(
        routes=[_front(), *dashboard.ROUTES, *routes(OPERATIONS)],
        middleware=[Middleware(Surroundings, log=relay.telemetry.log)],
        exception_handlers={
            Refused: _refused,
            StoreError: _store_failed,
            HTTPException: _not_routed,
            ClientDisconnect: _gone,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.relay = relay
    app.state.listeners = dashboard.Listeners()
    app.state.limits = Limits(relay.config.security.requests_per_minute, relay.telemetry, relay.clock)
    app.state.openapi = {keyed: openapi.document(OPERATIONS, keyed=keyed) for keyed in (True, False)}
    return app


def _front() -> Route:
    """`/`: the dashboard for browsers, what this is for programs."""

    async def front(request: Request) -> Response:
        wants_page = "text/html" in request.headers.get("accept", "")
        chosen = dashboard.FRONT.endpoint if wants_page else ops.about
        return cast(Response, await chosen(request))

    return Route("/", front, methods=["GET"])


async def _refused(_: Request, error: Exception) -> Response:
    return problems.answer(cast(Refused, error))


async def _store_failed(request: Request, error: Exception) -> Response:
    relay: Relay = request.app.state.relay
    relay.telemetry.log.error("a request came to nothing: %s", error)
    return problems.answer(Unavailable("store_unavailable", f"{error}; nothing was done, try again later"))


async def _not_routed(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    if error.status_code == 405:
        allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        wrong = MethodNotAllowed("method_not_allowed", f"this path takes {allowed}")
        return problems.answer(wrong, {"allow": allowed})
    return problems.answer(NotFound("unknown_path", problems.UNKNOWN_PATH))


async def _gone(_: Request, __: Exception) -> Response:
    """The client hung up in the middle of its request: nobody reads this."""
    return Response(status_code=400)
