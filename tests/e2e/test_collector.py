"""Spans of a real process, sent to a real collector, or to a collector that does not answer."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.sandbox.local_server import serve
from tests import marked
from tests.e2e.conftest import Stage


class Collector:
    """A collector: takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.arrived = asyncio.Event()
        self.app = Starlette(routes=[Route("/v1/traces", self.take, methods=["POST"])])

    async def take(self, request: Request) -> Response:
        sent = ExportTraceServiceRequest.FromString(await request.body())
        for resource in sent.resource_spans:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            assert named["service.name"] == "exec-relay"
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.arrived.set()
        return Response(b"", media_type="application/x-protobuf")


async def test_a_collector_gets_the_spans_of_a_served_relay(stage: Stage) -> None:
    """With only the standard variable set, `relay serve` sends its spans, at the latest when it stops."""
    collector = Collector()
    async with serve(collector.app) as url:
        relay = stage.serve()
        await relay.start(OTEL_EXPORTER_OTLP_ENDPOINT=url)
        await relay.ask("GET", "/v1/jobs")
        assert await relay.stop() == 0
        async with asyncio.timeout(30):
            await collector.arrived.wait()
    assert [span.name for span in collector.spans] == ["GET /v1/jobs"]


async def test_a_collector_that_is_down_delays_nothing(stage: Stage) -> None:
    """The relay works and stops as usual; the log says once that spans are dropped, without an address."""
    relay = stage.serve()
    down = f"http://collector:{marked.PASSWORD}@127.0.0.1:9/{marked.URL_TOKEN}"
    await relay.start(OTEL_EXPORTER_OTLP_ENDPOINT=down, OTEL_BSP_SCHEDULE_DELAY="50", OTEL_EXPORTER_OTLP_TIMEOUT="1")
    for _ in range(3):
        await relay.ask("GET", "/v1/jobs")
        await asyncio.sleep(0.3)
    await relay.logs("does not take spans")
    async with asyncio.timeout(30):
        assert await relay.stop() == 0
    log = relay.log.read_text()
    assert log.count("does not take spans") == 1
    assert marked.found_in(log) == []
    lines = [json.loads(line) for line in log.splitlines()]
    assert {line["logger"] for line in lines} == {"relay"}


def test_without_a_collector_opentelemetry_is_not_loaded() -> None:
    """Without a collector the library is not imported, which saves memory and time at the start."""
    code = (
        "import sys, relay.cli.serve, relay.web.app; print([name for name in sys.modules if 'opentelemetry' in name])"
    )
    root = Path(__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
