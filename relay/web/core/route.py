"""API routes: each call is declared once, and the declaration routes, checks and documents it.

To add a call: write `async def verb_noun(call: RequestContext, ...) -> Response` in `relay/web/api/`, declare it with
`@api_route(...)`, and list it in the `OPERATIONS` of its file. Parameters named `body` and `query` are validated by
their types before the handler runs; the others are the path's. The docstring is the call's documentation.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.model import Actor, Instant, Via
from relay.security import Scope
from relay.service import Relay
from relay.web.core import request_parsing
from relay.web.core.auth import Caller, authorise
from relay.web.core.rate_limits import RequestLimits, address_of
from relay.web.schemas.queries import NoQuery, Query
from relay.web.schemas.requests import RequestModel

Handler = Callable[..., Awaitable[Response]]

TRACED: dict[str, tuple[str, str | None]] = {
    "traceparent": (
        "W3C Trace Context: the trace continues in the log and in every notification; a malformed one is ignored",
        None,
    )
}
"""The header of calls that start work which continues after their response."""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request, authenticated and parsed."""

    relay: Relay
    request: Request
    caller: Caller
    raw_body: Any = None
    """The body's JSON as sent."""

    @property
    def now(self) -> Instant:
        """The time. It is asked anew each time: the clock may be set while the call waits for the store, and what is
        planned by the time before would be hours late."""
        return self.relay.clock()

    @property
    def actor(self) -> Actor:
        """Who calls, for the audit log: the key that authorised the call."""
        caller = self.caller
        return Actor(via=Via.API, key=caller.name or None, key_id=caller.key_id, address=address_of(self.request))

    @property
    def limits(self) -> RequestLimits:
        """The rate limits of this relay."""
        limits: RequestLimits = self.request.app.state.limits
        return limits

    @property
    def request_id(self) -> str:
        """The response's `x-request-id`."""
        request_id: str = self.request.state.request_id
        return request_id

    @property
    def trace(self) -> str | None:
        """The trace of the request, as `relay.telemetry.trace_context` has it; None without one."""
        trace: str | None = self.request.state.trace
        return trace


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRoute:
    """One call: its path, the scope it needs, its request and responses, and its handler."""

    method: str
    path: str
    scope: Scope | None
    tag: str
    handler: Handler
    answers: Mapping[int, type[BaseModel] | str]
    """By status: the response's schema, or a description of a response that is not JSON."""
    error_statuses: Sequence[int]
    body: type[RequestModel] | None
    body_may_be_empty: bool
    query: type[Query] | None
    headers: Mapping[str, tuple[str, str | None]]
    """Request headers of this API, each with its description and the pattern of its value."""
    raw_body_schema: type[BaseModel] | None = None
    """The schema of a body that the handler parses itself, more leniently than `body` is parsed."""

    @property
    def id(self) -> str:
        """`create_registration` → `createRegistration`."""
        first, *further_words = self.handler.__name__.split("_")
        return first + "".join(word.capitalize() for word in further_words)

    async def __call__(self, request: Request) -> Response:
        relay: Relay = request.app.state.relay
        if self.tag == "ops":  # machines call it every few seconds: no span
            return await self._respond(request, relay)
        state = request.state
        with relay.telemetry.request_span(self.method, self.path, state.trace, state.request_id) as span:
            state.trace = span.trace
            response = await self._respond(request, relay)
            span.set_attributes({"http.response.status_code": response.status_code})
        return response

    async def _respond(self, request: Request, relay: Relay) -> Response:
        caller = await authorise(request, self.scope)
        arguments: dict[str, Any] = dict(request.path_params)
        query = request_parsing.parse_query(request, self.query or NoQuery)
        if self.query is not None:
            arguments["query"] = query
        raw_body = None
        if self.body is not None:
            arguments["body"], raw_body = await request_parsing.parse_body(request, self.body, self.body_may_be_empty)
        return await self.handler(RequestContext(relay, request, caller, raw_body), **arguments)


def api_route(
    method: str,
    path: str,
    *,
    scope: Scope | None,
    tag: str,
    answers: Mapping[int, type[BaseModel] | str],
    refusals: Sequence[int] = (),
    body_may_be_empty: bool = False,
    headers: Mapping[str, tuple[str, str | None]] | None = None,
    reads: type[BaseModel] | None = None,
) -> Callable[[Handler], ApiRoute]:
    """Declares a handler's call. Its parameters `body` and `query` have the types of the request.

    The first paragraph of the docstring is the summary, the rest the description.
    """

    def declare(handler: Handler) -> ApiRoute:
        hints = get_type_hints(handler)
        return ApiRoute(
            method=method,
            path=path,
            scope=scope,
            tag=tag,
            handler=handler,
            answers=answers,
            error_statuses=refusals,
            body=hints.get("body"),
            body_may_be_empty=body_may_be_empty,
            query=hints.get("query"),
            headers=headers or {},
            raw_body_schema=reads,
        )

    return declare


def to_json(answer: BaseModel) -> Any:
    """A response as JSON values, without the fields that were not set."""
    return answer.model_dump(mode="json", exclude_unset=True)


def json_response(status: int, answer: BaseModel, headers: Mapping[str, str] | None = None) -> Response:
    """A response as JSON, without the fields that were not set."""
    body = answer.model_dump_json(exclude_unset=True).encode()
    return Response(body, status, headers, media_type="application/json")


def routes(operations: Sequence[ApiRoute]) -> list[Route]:
    """One route for each path, so that a 405 lists every method. Paths without parameters come first."""
    by_path: dict[str, dict[str, ApiRoute]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    ordered = sorted(by_path, key=lambda path: path.count("{"))
    return [Route(path, _by_method(by_path[path]), methods=list(by_path[path])) for path in ordered]


def _by_method(operations: Mapping[str, ApiRoute]) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        return await operations["GET" if request.method == "HEAD" else request.method](request)

    return handle
