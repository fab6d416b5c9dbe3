"""Operations: each call of the API is declared once, and routed, checked and documented by that."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.model import Instant
from relay.security.api_keys import Scope
from relay.service import Relay
from relay.web.core import request_parsing
from relay.web.core.auth import Caller, authorise
from relay.web.core.rate_limits import RequestLimits
from relay.web.schemas.queries import NoQuery, Query
from relay.web.schemas.requests import RequestModel

Handler = Callable[..., Awaitable[Response]]

TRACED: dict[str, tuple[str, str | None]] = {
    "traceparent": (
        "W3C Trace Context: the trace goes on through the log and with every notification; a wrong one is ignored",
        None,
    )
}
"""Header of calls that begin something which goes on after they are answered."""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request, as a handler sees it."""

    relay: Relay
    request: Request
    caller: Caller
    now: Instant
    raw_body: Any = None
    """The body's JSON as it came."""

    @property
    def limits(self) -> RequestLimits:
        """How often one may ask."""
        found: RequestLimits = self.request.app.state.limits
        return found

    @property
    def request_id(self) -> str:
        """What the answer's `x-request-id` says."""
        found: str = self.request.state.request_id
        return found

    @property
    def trace(self) -> str | None:
        """What the request is part of, as `relay.telemetry.trace_context` has it; None where it does not say."""
        found: str | None = self.request.state.trace
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRoute:
    """One call: where it is, who may make it, what it takes and gives, and who handles it."""

    method: str
    path: str
    scope: Scope | None
    tag: str
    handler: Handler
    answers: Mapping[int, type[BaseModel] | str]
    """By status: the answer's schema, or in words what comes where it is not JSON."""
    error_statuses: Sequence[int]
    body: type[RequestModel] | None
    body_may_be_empty: bool
    query: type[Query] | None
    headers: Mapping[str, tuple[str, str | None]]
    """Request headers beyond HTTP's own, each with its description and the pattern that its value has to have."""
    raw_body_schema: type[BaseModel] | None = None
    """What comes as the body, where the handler reads it by itself, with more patience than `body` has."""

    @property
    def id(self) -> str:
        """`create_registration` → `createRegistration`."""
        first, *rest = self.handler.__name__.split("_")
        return first + "".join(word.capitalize() for word in rest)

    async def __call__(self, request: Request) -> Response:
        relay: Relay = request.app.state.relay
        if self.tag == "ops":  # asked every few seconds by machines, and of no interest to anybody
            return await self._answer(request, relay)
        state = request.state
        with relay.telemetry.request_span(self.method, self.path, state.trace, state.request_id) as span:
            state.trace = span.trace
            answer = await self._answer(request, relay)
            span.set_attributes({"http.response.status_code": answer.status_code})
        return answer

    async def _answer(self, request: Request, relay: Relay) -> Response:
        caller = await authorise(request, self.scope)
        given: dict[str, Any] = dict(request.path_params)
        query = request_parsing.parse_query(request, self.query or NoQuery)
        if self.query is not None:
            given["query"] = query
        sent = None
        if self.body is not None:
            given["body"], sent = await request_parsing.parse_body(request, self.body, self.body_may_be_empty)
        return await self.handler(RequestContext(relay, request, caller, relay.clock(), sent), **given)


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
    """Declares a handler's operation. What it takes is read off its parameters `body`, `query` and the path's own.

    The first paragraph of its docstring is the summary, the rest the description.
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
    """An answer as JSON values; fields that were not set are left out."""
    return answer.model_dump(mode="json", exclude_unset=True)


def json_response(status: int, answer: BaseModel, headers: Mapping[str, str] | None = None) -> Response:
    """An answer as JSON; fields that were not set are left out."""
    body = answer.model_dump_json(exclude_unset=True).encode()
    return Response(body, status, headers, media_type="application/json")


def routes(operations: Sequence[ApiRoute]) -> list[Route]:
    """One route a path, so that a wrong method learns of all the right ones. Fixed paths come before open ones."""
    by_path: dict[str, dict[str, ApiRoute]] = {}
    for one in operations:
        by_path.setdefault(one.path, {})[one.method] = one
    ordered = sorted(by_path, key=lambda path: path.count("{"))
    return [Route(path, _by_method(by_path[path]), methods=list(by_path[path])) for path in ordered]


def _by_method(operations: Mapping[str, ApiRoute]) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        return await operations["GET" if request.method == "HEAD" else request.method](request)

    return handle
