"""What the operator sees from outside: metrics for Prometheus, and logs.

Every relay has its own registry, so that two in one process (tests, the demo) don't share counters. Labels come from
bounded sets only.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from relay.errors import RelayError
from relay.looking import Look, name_of
from relay.model import Delivery, EventType, Instant, Watch

LOGGER = "relay"
_DELAYS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3600)


class Telemetry:
    """Counts what happens. `log` is the relay's logger."""

    def __init__(self) -> None:
        self.log = logging.getLogger(LOGGER)
        self.registry = CollectorRegistry()
        self._looks = Counter("relay_looks", "Looks at Exec", ["workspace", "outcome"], registry=self.registry)
        self._detection = Histogram(
            "relay_detection_delay_seconds",
            "From Exec's completed_at until the relay knew",
            buckets=_DELAYS,
            registry=self.registry,
        )
        self._callbacks = Counter(
            "relay_exec_callbacks", "Callbacks from Exec", ["workspace", "outcome"], registry=self.registry
        )
        self._creations = Counter(
            "relay_jobs_created", "Jobs that Exec was asked to make", ["workspace", "outcome"], registry=self.registry
        )
        self._events = Counter("relay_events", "Events settled", ["type"], registry=self.registry)
        self._attempts = Counter(
            "relay_delivery_attempts", "Attempts to deliver", ["format", "outcome"], registry=self.registry
        )
        self._attempt_seconds = Histogram(
            "relay_delivery_attempt_seconds", "How long attempts took", registry=self.registry
        )
        self._delivery_delay = Histogram(
            "relay_delivery_delay_seconds",
            "From the event's record until the receiver had it",
            buckets=_DELAYS,
            registry=self.registry,
        )
        self.budget_left = Gauge(
            "relay_look_budget_remaining", "Looks left", ["workspace", "window"], registry=self.registry
        )
        self.pending_deliveries = Gauge(
            "relay_pending_deliveries", "Deliveries not yet ended, held ones included", registry=self.registry
        )
        self.active_watches = Gauge("relay_active_watches", "Jobs being watched", ["workspace"], registry=self.registry)
        self.learned_duration = Gauge(
            "relay_learned_duration_seconds",
            "How long jobs take, as learned",
            ["workspace", "quantile"],
            registry=self.registry,
        )
        self.tick_age = Gauge("relay_tick_age_seconds", "Since the last complete tick", registry=self.registry)

    def looked(self, workspace: str, look: Look) -> None:
        """A look was made."""
        self._looks.labels(workspace, name_of(look.sighting)).inc()

    def called_back(self, workspace: str, outcome: str) -> None:
        """Exec's callback came: `heeded`, `known` or `too_many`."""
        self._callbacks.labels(workspace, outcome).inc()

    def created(self, workspace: str, outcome: str) -> None:
        """Exec was asked to make a job: `created`, `declined` or `unsure`."""
        self._creations.labels(workspace, outcome).inc()

    def settled(self, watch: Watch, events: tuple[EventType, ...], now: Instant) -> None:
        """Events were established by a look at `watch`."""
        for type in events:
            self._events.labels(type.value).inc()
            self.log.info("%s: job %s in workspace %s", type.value, watch.job_id, watch.workspace)
        if watch.job is not None and watch.job.ending in events and watch.job.ended is not None:
            self._detection.observe(max(0, now - watch.job.ended) / 1_000)

    def attempted(self, delivery: Delivery, format: str, outcome: str, duration_ms: int, now: Instant) -> None:
        """An attempt was made, at an endpoint of this format, and written down."""
        self._attempts.labels(format, outcome).inc()
        self._attempt_seconds.observe(duration_ms / 1_000)
        if outcome == "delivered":
            self._delivery_delay.observe(max(0, now - delivery.created_at) / 1_000)
        level = logging.INFO if outcome == "delivered" else logging.WARNING
        self.log.log(level, "%s of %s: %s", delivery.id, delivery.event_type.value, outcome)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Lines(logging.Formatter):
    """Text, a line each. Of an error its kind and where it happened, and its words only where they are our own.

    Other errors may hold what they were about: a callback URL, a header, a row of the store.
    """

    def formatException(self, ei: Any) -> str:
        told, error = [], ei[1]
        while error is not None:
            name = type(error).__name__
            words = f"{name}: {error}" if isinstance(error, RelayError) else name
            told.append("".join(traceback.format_tb(error.__traceback__)) + words)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nwhich came of\n".join(told)


class _JsonLines(_Lines):
    """One JSON object a line: `time`, `level`, `logger`, `message`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up_logging(format: str, level: str, stream: TextIO = sys.stderr) -> None:
    """Sends the relay's and its libraries' logs to `stream`, as `json` lines or `text`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines() if format == "json" else _Lines("%(asctime)s %(levelname)-7s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER).setLevel(level.upper())
