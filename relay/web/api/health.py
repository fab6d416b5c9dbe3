"""For operators and machines: health, readiness, metrics, and the API's description."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from relay import __version__
from relay.web.core.openapi import Document
from relay.web.core.public_url import with_base_path
from relay.web.core.route import RequestContext, api_route, json_response
from relay.web.schemas.queries import ReadinessQuery
from relay.web.schemas.responses import About, CheckResponse, Health, ReadinessResponse


@api_route("GET", "/", scope=None, tag="ops", answers={200: About})
async def about(call: RequestContext) -> Response:
    """Describe this service."""
    links = {"api": "/openapi.json", "health": "/healthz", "readiness": "/readyz", "metrics": "/metrics"}
    links = {name: with_base_path(call.request, path) for name, path in links.items()}
    return json_response(200, About(name="exec-relay", version=__version__, links=links))


@api_route("GET", "/healthz", scope=None, tag="ops", answers={200: Health})
async def health(call: RequestContext) -> Response:
    """Report that the process is alive."""
    return json_response(200, Health(status="ok"))


@api_route(
    "GET",
    "/readyz",
    scope=None,
    tag="ops",
    answers={200: ReadinessResponse, 503: ReadinessResponse},
    refusals=(400,),
)
async def readiness(call: RequestContext, query: ReadinessQuery) -> Response:
    """Report whether the relay can do its work, and why if not.

    Load balancers and restarters use `?exclude=exec`: while Exec refuses a key, jobs can still be registered, and no
    restart helps.
    """
    state = (await call.relay.readiness()).excluding(query.exclude)
    checks = [CheckResponse(name=check.name, ok=check.ok, text=check.text) for check in state.checks]
    status = "ready" if state.ready else "not_ready"
    return json_response(200 if state.ready else 503, ReadinessResponse(status=status, checks=checks))


@api_route("GET", "/metrics", scope="read", tag="ops", answers={200: "Metrics in Prometheus' text format."})
async def metrics(call: RequestContext) -> Response:
    """Return all metrics in Prometheus' text format."""
    return Response(await call.relay.render_metrics(), headers={"content-type": CONTENT_TYPE_LATEST})


@api_route("GET", "/openapi.json", scope=None, tag="ops", answers={200: "This document."}, refusals=(503,))
async def openapi(call: RequestContext) -> Response:
    """Describe this API, as OpenAPI 3.1."""
    document: Document = call.request.app.state.openapi
    body = await document.text(with_auth=await call.relay.requires_credentials())
    return Response(body, media_type="application/json")


OPERATIONS = (about, health, readiness, metrics, openapi)
