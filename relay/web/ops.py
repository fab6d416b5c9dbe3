"""For operators: alive, able to work, metrics, and where to go from here."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from relay import __version__
from relay.web.answers import About, CheckAnswer, Health, ReadinessAnswer
from relay.web.operation import Call, operation, reply
from relay.web.queries import ReadinessQuery


@operation("GET", "/", scope=None, tag="ops", answers={200: About})
async def about(call: Call) -> Response:
    """Say what this is."""
    links = {"api": "/openapi.json", "health": "/healthz", "readiness": "/readyz", "metrics": "/metrics"}
    return reply(200, About(name="exec-relay", version=__version__, links=links))


@operation("GET", "/healthz", scope=None, tag="ops", answers={200: Health})
async def health(call: Call) -> Response:
    """Say that the process is alive."""
    return reply(200, Health(status="ok"))


@operation(
    "GET",
    "/readyz",
    scope=None,
    tag="ops",
    answers={200: ReadinessAnswer, 503: ReadinessAnswer},
    refusals=(400,),
)
async def readiness(call: Call, query: ReadinessQuery) -> Response:
    """Say whether the relay can do its work, and where not, why.

    For whatever sends requests here, or restarts what is ill: `?exclude=exec`. While Exec refuses a key, jobs can be
    registered all the same, and no restart helps.
    """
    found = (await call.relay.readiness()).without(query.exclude)
    checks = [CheckAnswer(name=check.name, ok=check.ok, text=check.text) for check in found.checks]
    status = "ready" if found.ready else "not_ready"
    return reply(200 if found.ready else 503, ReadinessAnswer(status=status, checks=checks))


@operation("GET", "/metrics", scope="read", tag="ops", answers={200: "Metrics in Prometheus' text format."})
async def metrics(call: Call) -> Response:
    """Give all metrics in Prometheus' text format."""
    return Response(await call.relay.measure(), headers={"content-type": CONTENT_TYPE_LATEST})


@operation("GET", "/openapi.json", scope=None, tag="ops", answers={200: "This document."}, refusals=(503,))
async def openapi(call: Call) -> Response:
    """Describe this API, as OpenAPI 3.1."""
    documents: dict[bool, bytes] = call.request.app.state.openapi
    return Response(documents[await call.relay.is_keyed()], media_type="application/json")


OPERATIONS = (about, health, readiness, metrics, openapi)
