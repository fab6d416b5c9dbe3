"""Decides from OpenTelemetry's environment variables whether spans are exported."""

import logging
from collections.abc import Mapping
from importlib.util import find_spec

from relay.telemetry.log_format import LOGGER
from relay.telemetry.tracing import NoopTracer, Tracer


def tracer_from_env(environ: Mapping[str, str]) -> Tracer:
    """A tracer that exports spans by OTLP if OpenTelemetry's variables ask for it; otherwise one that records nothing.

    If they ask for something impossible, the log says what to do and the relay starts without spans: some platforms set
    these variables for every program.
    """
    if not _asks_for_spans(environ):
        return NoopTracer()
    log = logging.getLogger(LOGGER)
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "", "http/protobuf"):
        log.warning("no spans are exported: set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf, port 4318 of a collector")
        return NoopTracer()
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter") is None:
        log.warning("no spans are exported: OTEL_EXPORTER_OTLP_ENDPOINT is set; pip install 'exec-relay[otel]'")
        return NoopTracer()
    from relay.telemetry.otel_spans import exported  # the extra may be missing, and its import takes time

    return exported()


def _asks_for_spans(environ: Mapping[str, str]) -> bool:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environ.get("OTEL_TRACES_EXPORTER", "otlp") not in ("", "otlp"):
        return False
    named = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return any(environ.get(name) for name in named)
