"""Spans for OpenTelemetry. Needs the extra `otel`; imported only if spans are exported.

The settings come from the environment variables that OpenTelemetry defines, read here and by its exporter:
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
"""Seconds for sending the remaining spans when the relay stops: a collector that is down must not delay the stop."""
_STATUS = "http.response.status_code"
_FAILED_FROM = {SpanKind.SERVER: 500, SpanKind.CLIENT: 400}
"""The status from which a span counts as failed: a request that the relay refuses is not a failure of the relay."""


class OtelTracer:
    """Records, samples and exports spans as OpenTelemetry defines it."""

    def __init__(self, processor: SpanProcessor) -> None:
        attributes = {"service.name": "exec-relay", "service.version": __version__}
        self._provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("relay", __version__)

    def span(self, name: str, kind: Kind, trace: str | None, attributes: Mapping[str, Attribute]) -> "_OtelSpan":
        return _OtelSpan(self._tracer, name, SpanKind[kind.upper()], trace, attributes)

    def close(self) -> None:
        """Sends the remaining spans, for half a second at most."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSES_WITHIN)


def exported() -> OtelTracer:
    """A tracer that sends spans by OTLP over HTTP, to the address in the environment variables."""
    return OtelTracer(BatchSpanProcessor(_LoggingExporter(OTLPSpanExporter())))


class _OtelSpan:
    """A span while it lasts. Only the kind of an error is recorded, because its message may contain secrets."""

    def __init__(
        self, tracer: Tracer, name: str, kind: SpanKind, parent_trace: str | None, attributes: Mapping[str, Attribute]
    ) -> None:
        self._parent_trace, self._kind = parent_trace, kind
        self._span = tracer.start_span(name, _context_of(parent_trace), kind)
        self.set_attributes(attributes)
        if parent_trace is not None and not trace_context.has_remote_parent(parent_trace):
            self.set_attributes({"relay.trace_id": parent_trace})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
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
        """Present if another system knows the trace, or if the span is recorded here."""
        is_sampled = self._span.get_span_context().trace_flags.sampled
        return self.trace if is_sampled or trace_context.has_remote_parent(self._parent_trace) else None

    def set_attributes(self, attributes: Mapping[str, Attribute]) -> None:
        values = {name: value for name, value in attributes.items() if value is not None}
        self._span.set_attributes(values)
        status = values.get(_STATUS, 0)
        if "error.type" in values or (isinstance(status, int) and status >= _FAILED_FROM[self._kind]):
            self._span.set_status(Status(StatusCode.ERROR))


def _context_of(trace: str | None) -> Context:
    """The context of a new span: the remote parent if there is one, and nothing from the thread's own context."""
    if trace is None or not trace_context.has_remote_parent(trace):
        return Context()
    _, trace_id, span_id, flags = trace.split("-")
    parent = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(parent), Context())


class _LoggingExporter(SpanExporter):
    """Logs once that the exporter fails, and once that it works again.

    `set_up_logging` silences the library's own messages.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter, self._log, self._works = exporter, logging.getLogger(LOGGER), True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        works = result is SpanExportResult.SUCCESS
        if self._works and not works:
            self._log.warning("the collector of OTEL_EXPORTER_OTLP_ENDPOINT does not take spans; they are dropped")
        elif works and not self._works:
            self._log.info("the collector of OTEL_EXPORTER_OTLP_ENDPOINT takes spans again")
        self._works = works
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
