"""Spans for OpenTelemetry: what is recorded of a job, and what receivers get."""

import logging
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from relay.model import MINUTE
from relay.sandbox.receiver import Respond
from relay.telemetry import tracer_from_env
from relay.telemetry.otel_spans import OtelTracer
from relay.telemetry.tracing import NoopTracer
from tests.flows.conftest import Start, api_of
from tests.flows.test_tracing import CAME, SPAN, TRACE, register


def recorded() -> tuple[OtelTracer, InMemorySpanExporter]:
    memory = InMemorySpanExporter()
    return OtelTracer(SimpleSpanProcessor(memory)), memory


def ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    """Trace, span and parent of a span."""
    context, parent = span.get_span_context(), span.parent
    assert context is not None
    own = format(context.trace_id, "032x"), format(context.span_id, "016x")
    return (*own, format(parent.span_id, "016x") if parent else None)


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


async def test_one_trace_contains_all_spans_of_a_job(start: Start) -> None:
    """The request is a child of the caller's span, polls and attempts are its children; receivers get the attempt's."""
    spans, memory = recorded()
    async with start(spans=spans) as world:
        world.receiver.script(Respond(status=500))
        job = world.exec.add(lasts=1_000)
        made = await register(world, job.id, CAME, callback_url=f"{world.receiver_url}/x")
        await world.advance(MINUTE)
        traceparents = [one.headers["traceparent"] for one in world.received()]
    asked, poll, *attempts = memory.get_finished_spans()
    assert [span.name for span in (asked, poll, *attempts)] == ["POST /v1/registrations", "poll", "attempt", "attempt"]
    assert ids(asked)[::2] == (TRACE, SPAN)
    assert {ids(span)[0] for span in (poll, *attempts)} == {TRACE} == {made["trace_id"]}
    assert {ids(span)[2] for span in (poll, *attempts)} == {ids(asked)[1]}
    assert traceparents == [f"00-{TRACE}-{ids(span)[1]}-01" for span in attempts]
    assert [attributes(span)["http.response.status_code"] for span in (asked, *attempts)] == [201, 500, 204]
    assert [span.status.status_code for span in attempts] == [StatusCode.ERROR, StatusCode.UNSET]
    assert attributes(poll)["relay.outcome"] == "ended"
    assert attributes(attempts[0])["relay.registration_id"] == made["id"]


async def test_a_recorded_trace_of_the_relay_reaches_the_receiver(start: Start) -> None:
    """Without a traceparent the request's span begins the trace, and receivers may join it."""
    spans, memory = recorded()
    async with start(spans=spans) as world:
        job = world.exec.add(lasts=1_000)
        made = await register(world, job.id, {}, callback_url=f"{world.receiver_url}/x")
        await world.advance(MINUTE)
        [one] = world.received()
    asked, *_, attempt = memory.get_finished_spans()
    assert ids(asked)[0] == ids(attempt)[0] == made["trace_id"]
    assert one.headers["traceparent"] == f"00-{made['trace_id']}-{ids(attempt)[1]}-01"


async def test_a_span_without_a_parent_names_its_trace(start: Start) -> None:
    """For a job that began before spans were recorded, there is no parent span: the spans carry the trace id of the
    log."""
    spans, memory = recorded()
    async with start(spans=spans) as world:
        job = world.exec.add(lasts=1_000)
        await world.register(job.id)
        await world.advance(MINUTE)
        [delivery] = await world.deliveries()
    named = {attributes(span)["relay.trace_id"] for span in memory.get_finished_spans()}
    assert named == {delivery.trace}


async def test_a_refused_request_is_not_an_error_span(start: Start) -> None:
    """A refused request has its status and is no error; health checks and metrics are not recorded."""
    spans, memory = recorded()
    async with start(spans=spans) as world, api_of(world) as http:
        assert (await http.post("/v1/registrations", json={"job_id": "no id!"})).status_code == 400
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
            assert (await http.get(path)).status_code == 200
    [span] = memory.get_finished_spans()
    assert attributes(span)["http.response.status_code"] == 400
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_without_a_collector_no_span_is_recorded(environ: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """Without a collector, with a standard variable that disables it, or with an unsupported protocol, which the log
    names."""
    caplog.set_level(logging.WARNING)
    assert isinstance(tracer_from_env(environ), NoopTracer)
    assert ("http/protobuf" in caplog.text) == ("OTEL_EXPORTER_OTLP_PROTOCOL" in environ)
