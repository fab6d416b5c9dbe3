"""Metrics on a port of their own: for a Prometheus in the operator's network, without an API key."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.service import Relay


def create_metrics_app(relay: Relay) -> Starlette:
    """Serves `/metrics`, and nothing else."""

    async def metrics(_: Request) -> Response:
        return Response(await relay.render_metrics(), headers={"content-type": CONTENT_TYPE_LATEST})

    return Starlette(routes=[Route("/metrics", metrics, methods=["GET"])])
