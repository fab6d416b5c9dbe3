"""Spans for OpenTelemetry: needs the extra `otel`, and is imported only where spans are to be exported.

What to do is read from the variables that OpenTelemetry defines, here and by its own exporter:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from relay import __version__
from relay.errors import RequestError
from relay.telemetry import trace_context
from relay.telemetry.log_format import LOGGER
from relay.telemetry.tracing import Attribute, Kind

_CLOSES_WITHIN = 0.5
"""Seconds that what is recorded has to get out when the relay stops; a collector that is down must not hold it up."""
_STATUS = "http.response.status_code"
_FAULT = {SpanKind.SERVER: 500, SpanKind.CLIENT: 400}
"""From which status on a span failed: a refused request is no fault of the server's."""


class OtelTracer:
    """Spans that are recorded, sampled and exported as OpenTelemetry has it."""

    def __init__(self, processor: SpanProcessor) -> None:
        about = {"service.name": "exec-relay", "service.version": __version__}
        self._provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("relay", __version__)

    def span(self, name: str, kind: Kind, trace: str | None, attributes: Mapping[str, Attribute]) -> "_OtelSpan":
        return _OtelSpan(self._tracer, name, SpanKind[kind.upper()], trace, attributes)

    def close(self) -> None:
        """Sends what is recorded and not yet sent, for half a second at the most."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSES_WITHIN)


def exported() -> OtelTracer:
    """Spans sent by OTLP over HTTP, to where the variables of the environment say."""
    return OtelTracer(BatchSpanProcessor(_LoggingExporter(OTLPSpanExporter())))


class _OtelSpan:
    """A span while it lasts. Of an error only the kind is recorded: its words may hold what nobody is to see."""

    def __init__(
        self, tracer: Tracer, name: str, kind: SpanKind, parent_trace: str | None, attributes: Mapping[str, Attribute]
    ) -> None:
        self._came, self._kind = parent_trace, kind
        self._span = tracer.start_span(name, _context_of(parent_trace), kind)
        self.set_attributes(attributes)
        if parent_trace is not None and not trace_context.has_remote_parent(parent_trace):
            self.set_attributes({"relay.trace_id": parent_trace})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if isinstance(error, RequestError):
            self.set_attributes({_STATUS: error.status})
        elif error is not None:
            self.set_attributes({"error.type": type(error).__name__})
        self._span.end()

    @property
    def trace(self) -> str | None:
        context = self._span.get_span_context()
        ids = format(context.trace_id, "032x"), format(context.span_id, "016x")
        return trace_context.format_traceparent(*ids, sampled=context.trace_flags.sampled)

    @property
    def traceparent(self) -> str | None:
        """Told where the trace is known elsewhere already, or is recorded here."""
        known = self._span.get_span_context().trace_flags.sampled or trace_context.has_remote_parent(self._came)
        return self.trace if known else None

    def set_attributes(self, attributes: Mapping[str, Attribute]) -> None:
        told = {name: value for name, value in attributes.items() if value is not None}
        self._span.set_attributes(told)
        status = told.get(_STATUS, 0)
        if "error.type" in told or (isinstance(status, int) and status >= _FAULT[self._kind]):
            self._span.set_status(Status(StatusCode.ERROR))


def _context_of(trace: str | None) -> Context:
    """The span that came as the parent of what is begun; nothing of the thread's own surroundings."""
    if trace is None or not trace_context.has_remote_parent(trace):
        return Context()
    _, trace_id, span_id, flags = trace.split("-")
    came = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(came), Context())


class _LoggingExporter(SpanExporter):
    """An exporter whose failures the relay's log tells once, until it works again.

    The library's own words are kept out of it by `set_up_logging`.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter, self._log, self._works = exporter, logging.getLogger(LOGGER), True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        found = self._exporter.export(spans)
        works = found is SpanExportResult.SUCCESS
        if self._works and not works:
            self._log.warning("the collector of OTEL_EXPORTER_OTLP_ENDPOINT does not take spans; they are dropped")
        elif works and not self._works:
            self._log.info("the collector of OTEL_EXPORTER_OTLP_ENDPOINT takes spans again")
        self._works = works
        return found

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
