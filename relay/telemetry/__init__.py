"""Telemetry: metrics for Prometheus, the log, and spans for OpenTelemetry."""

from relay.telemetry.crash_hooks import install_crash_hooks
from relay.telemetry.log_format import LOGGER, safe_traceback, set_up_logging
from relay.telemetry.log_thread import log_on_a_thread
from relay.telemetry.metrics import WaitKind
from relay.telemetry.otel_setup import tracer_from_env
from relay.telemetry.telemetry import Telemetry
from relay.telemetry.tracing import Tracer

__all__ = [
    "LOGGER",
    "Telemetry",
    "Tracer",
    "WaitKind",
    "install_crash_hooks",
    "log_on_a_thread",
    "safe_traceback",
    "set_up_logging",
    "tracer_from_env",
]
