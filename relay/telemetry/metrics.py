"""What happens is counted, and told to the log.

Every relay has its own registry, so that two in one process (tests, the demo) don't share counters. Labels come from
bounded sets only.
"""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from relay import __version__
from relay.errors import RelayError
from relay.model import (
    OPERATOR_WORKSPACE,
    Delivery,
    Endpoint,
    EventType,
    Instant,
    OperatorEventType,
    Registration,
    Watch,
)
from relay.model.poll_result import OUTCOMES, Poll, outcome_label
from relay.telemetry.log_format import LOGGER, log_fields
from relay.telemetry.state_changes import (
    Condition,
    News,
    State,
    StateChange,
    StateChanges,
    Subject,
    describe_change,
    endpoint_condition,
    news_of,
)
from relay.telemetry.tracing import NoopTracer, Span, Tracer

_MAX_UNKNOWN_STATUSES = 100
"""Unknown statuses that are logged; more of them are not news."""

_DELAYS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3600)

_WAIT_DELAYS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

RefusalReason = Literal["wrong_key", "too_many_wrong_keys", "rate_limited", "too_many_waits"]
REFUSALS: tuple[RefusalReason, ...] = ("wrong_key", "too_many_wrong_keys", "rate_limited", "too_many_waits")

WaitKind = Literal["job", "events", "stream"]


class Telemetry:
    """Counts what happens. `log` is the relay's logger, `spans` records what is done as a part of traces."""

    def __init__(self, spans: Tracer | None = None) -> None:
        self.spans = spans or NoopTracer()
        self.log = logging.getLogger(LOGGER)
        self.changes = StateChanges()
        self.on_news: Callable[[News], None] = lambda _: None
        """Called with everything that the operator's endpoints get."""
        self._unknown_statuses: set[tuple[str, str]] = set()
        self.registry = CollectorRegistry()
        self._polls = Counter("relay_polls", "Polls Exec", ["workspace", "outcome"], registry=self.registry)
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
        self._disabled = Counter(
            "relay_endpoints_disabled", "Endpoints that the relay disabled by itself", registry=self.registry
        )
        self.budget_left = Gauge(
            "relay_poll_budget_remaining", "Polls left", ["workspace", "window"], registry=self.registry
        )
        self.pending_deliveries = Gauge(
            "relay_pending_deliveries",
            "Deliveries not yet ended, held ones included, up to 100,000",
            registry=self.registry,
        )
        self.active_watches = Gauge(
            "relay_active_watches", "Jobs being watched, up to 100,000", ["workspace"], registry=self.registry
        )
        self.learned_duration = Gauge(
            "relay_job_duration_estimate_seconds",
            "How long jobs take, as learned",
            ["workspace", "percentile"],
            registry=self.registry,
        )
        self.ready = Gauge("relay_ready", "Whether /readyz finds this well: 1 or 0", ["check"], registry=self.registry)
        self._build = Info("relay_build", "Which relay this is", registry=self.registry)
        self._build.info({"version": __version__})
        self._refusals = Counter(
            "relay_api_refusals",
            "Requests refused for their API key: a wrong one, after too many of those, or asking too often",
            ["reason"],
            registry=self.registry,
        )
        self._reloads = Counter(
            "relay_config_reloads", "Times that the configuration was read again", ["outcome"], registry=self.registry
        )
        self._read_at = Gauge(
            "relay_config_last_reload_success_timestamp_seconds",
            "When the configuration that holds was read, as Unix time",
            registry=self.registry,
        )
        self.feed_lag = Gauge(
            "relay_feed_lag_seconds",
            "Since the oldest event was recorded that the event feed does not have yet",
            registry=self.registry,
        )
        self._waits_open = Gauge(
            "relay_waits_open", "Requests that wait, by what they wait for", ["kind"], registry=self.registry
        )
        self._waits = Counter(
            "relay_waits", "Requests that waited, and how that ended", ["kind", "outcome"], registry=self.registry
        )
        self._wait_delay = Histogram(
            "relay_wait_delay_seconds",
            "From the record of an event until a request that waited for it has its answer",
            ["kind"],
            buckets=_WAIT_DELAYS,
            registry=self.registry,
        )
        self.tick_age = Gauge("relay_tick_age_seconds", "Since the last complete tick", registry=self.registry)

    def request_span(self, method: str, path: str, trace: str | None, request_id: str) -> Span:
        """The span of a request to the API; `path` is that of the operation, its parameters not filled in."""
        about = {"http.request.method": method, "http.route": path, "relay.request_id": request_id}
        return self.spans.span(f"{method} {path}", "server", trace, about)

    def poll_span(self, watch: Watch) -> Span:
        """The span of a poll."""
        about = {"relay.workspace": watch.workspace, "relay.job_id": watch.job_id}
        return self.spans.span("poll", "client", watch.trace, about)

    def attempt_span(self, delivery: Delivery, endpoint: Endpoint) -> Span:
        """The span of an attempt to deliver."""
        about = {
            "relay.workspace": delivery.workspace,
            "relay.job_id": delivery.job_id,
            "relay.registration_id": delivery.registration_id,
            "relay.event_id": delivery.event_id,
            "relay.event_type": delivery.event_type.value,
            "relay.delivery_id": delivery.id,
            "relay.endpoint_id": endpoint.id,
            "relay.format": endpoint.format,
            "relay.attempt": delivery.attempts + 1,
            "server.address": endpoint.host,
        }
        return self.spans.span("attempt", "client", delivery.trace, about)

    def registered(self, registration: Registration, request_id: str | None) -> None:
        """A request, known by its id, made a registration."""
        told = log_fields(
            registration.trace,
            request_id=request_id,
            registration_id=registration.id,
            job_id=registration.job_id,
            workspace=registration.workspace,
            endpoint_id=registration.endpoint_id,
        )
        self.log.info("%s: job %s is registered", registration.id, registration.job_id, extra=told)

    def poll_done(self, watch: Watch, poll: Poll) -> None:
        """A poll was made."""
        outcome = outcome_label(poll.result)
        self._polls.labels(watch.workspace, outcome).inc()
        if self.log.isEnabledFor(logging.DEBUG):
            told = log_fields(watch.trace, job_id=watch.job_id, workspace=watch.workspace, outcome=outcome)
            self.log.debug("a poll of job %s: %s", watch.job_id, outcome, extra=told)

    def exec_callback_received(self, workspace: str, outcome: str) -> None:
        """Exec's callback came: `accepted`, `known` or `too_many`."""
        self._callbacks.labels(workspace, outcome).inc()

    def created(self, workspace: str, outcome: str) -> None:
        """Exec was asked to make a job: `created`, `declined` or `unsure`."""
        self._creations.labels(workspace, outcome).inc()

    def events_emitted(self, watch: Watch, events: tuple[EventType, ...], now: Instant) -> None:
        """Events were established by a poll of `watch`."""
        for type in events:
            self._events.labels(type.value).inc()
            told = log_fields(watch.trace, job_id=watch.job_id, workspace=watch.workspace, event_type=type.value)
            self.log.info("%s: job %s in workspace %s", type.value, watch.job_id, watch.workspace, extra=told)
        if watch.job is not None and watch.job.final_event in events and watch.job.ended_at_ms is not None:
            self._detection.observe(max(0, now - watch.job.ended_at_ms) / 1_000)

    def attempt_done(
        self, delivery: Delivery, format: str, outcome: str, duration_ms: int, now: Instant, summary: str
    ) -> None:
        """An attempt at an endpoint of this format is recorded; `summary` is for the log."""
        self._attempts.labels(format, outcome).inc()
        self._attempt_seconds.observe(duration_ms / 1_000)
        if outcome == "delivered":
            self._delivery_delay.observe(max(0, now - delivery.created_at) / 1_000)
        level = logging.INFO if outcome == "delivered" else logging.WARNING
        told = log_fields(
            delivery.trace,
            registration_id=delivery.registration_id,
            job_id=delivery.job_id,
            workspace=delivery.workspace,
            event_id=delivery.event_id,
            delivery_id=delivery.id,
            endpoint_id=delivery.endpoint_id,
            attempt=delivery.attempts + 1,
            outcome=outcome,
            duration_ms=duration_ms,
        )
        self.log.log(level, "%s of %s: %s", delivery.id, delivery.event_type.value, summary, extra=told)

    def configured(self, workspaces: Iterable[str], now: Instant) -> None:
        """The relay starts with a configuration. What alerts watch begins at 0: else its first rise is none."""
        self._read_at.set(now / 1_000)
        for outcome in ("applied", "refused"):
            self._reloads.labels(outcome)
        for reason in REFUSALS:
            self._refusals.labels(reason)
        for workspace in workspaces:
            for outcome in OUTCOMES:
                self._polls.labels(workspace, outcome)

    def request_refused(self, reason: RefusalReason) -> None:
        """A request's API key is at fault, or the pace of it."""
        self._refusals.labels(reason).inc()

    def wait_began(self, kind: WaitKind) -> None:
        """A request waits."""
        self._waits_open.labels(kind).inc()

    def wait_ended(self, kind: WaitKind, outcome: Enum | None, granted: float) -> None:
        """A request waits no more; it might have waited for `granted` seconds. None: it did not have to wait."""
        label = "at_once" if outcome is None else str(outcome.value)
        self._waits_open.labels(kind).dec()
        self._waits.labels(kind, label).inc()
        self.log.debug("a request that may wait %g s for %s ended: %s", granted, kind, label)

    def wait_answered(self, kind: WaitKind, delay_ms: int) -> None:
        """A request that waited has its answer, so long after the event was recorded."""
        self._wait_delay.labels(kind).observe(max(0, delay_ms) / 1_000)

    def reloaded(self, found: str, needs_restart: Sequence[str], now: Instant) -> None:
        """A changed configuration holds, but for the keys that need a restart."""
        self._reloads.labels("applied").inc()
        self._read_at.set(now / 1_000)
        self.log.info("the configuration was read again: %s", found)
        for key in needs_restart:
            self.log.warning("%s was changed in the configuration, and needs a restart", key)

    def not_reloaded(self, error: RelayError) -> None:
        """A changed configuration can't be used."""
        self._reloads.labels("refused").inc()
        self.log.error("the configuration stays as it was, since what was read can't be used: %s", error)

    def endpoint_changed(self, before: Endpoint, after: Endpoint, now: Instant, error: str | None = None) -> None:
        """The endpoint's health changed, or it was enabled or disabled; `error` is what a failed attempt brought."""
        subject = Subject("endpoint", after.id, after.name or "")
        was = endpoint_condition(before).state
        self.observe(subject, endpoint_condition(after, error), now, was)

    def endpoint_disabled(self) -> None:
        """The relay disabled an endpoint by itself."""
        self._disabled.inc()

    def endpoint_warning(self, endpoint: Endpoint, warning: str, now: Instant) -> None:
        """An endpoint failed many times in a row, or is half way to being disabled."""
        subject = Subject("endpoint", endpoint.id, endpoint.name or "")
        self.log.warning("%s %s", subject.name, warning)
        self.on_news(News(OperatorEventType.ENDPOINT_FAILING, subject, f"{subject.name} {warning}", now))

    def delivery_failed(self, delivery: Delivery, endpoint: Endpoint, error: str, now: Instant) -> None:
        """A delivery is given up; the operator's endpoints get the first of an endpoint within an hour."""
        if delivery.workspace == OPERATOR_WORKSPACE:
            return
        subject = Subject("deliveries", endpoint.id, endpoint.name or "")
        text = f"{subject.name}: delivery {delivery.id} of {delivery.event_type.value} for job {delivery.job_id} failed"
        message = f"{text} for good: {error}. Resend it once the receiver works"
        self.on_news(News(OperatorEventType.DELIVERY_FAILED, subject, message, now))

    def observe(self, subject: Subject, condition: Condition | None, now: Instant, before: State | None = None) -> None:
        """Reports a change of the subject's state, once; None says that nothing is known about it.

        `before` is the state that the store had, for a subject whose state is stored.
        """
        change = None if condition is None else self.changes.observe(subject, condition, now, before)
        if change is not None:
            self._report_change(change)

    def report_due_changes(self, now: Instant) -> None:
        """Reports changes of state that had to wait because the subject changed too often."""
        for change in self.changes.due(now):
            self._report_change(change)

    def _report_change(self, change: StateChange) -> None:
        is_good = change.after.state is State.WORKING
        key = "endpoint_id" if change.subject.kind == "endpoint" else "workspace"
        fields = log_fields(None, state=change.after.state.value, **{key: change.subject.id})
        self.log.log(logging.INFO if is_good else logging.WARNING, "%s", describe_change(change), extra=fields)
        if (news := news_of(change)) is not None:
            self.on_news(news)

    def unknown_status(self, watch: Watch, status: str) -> None:
        """Exec gave a job a status that its documentation does not name: logged once for each status."""
        seen = (watch.workspace, status)
        if seen in self._unknown_statuses or len(self._unknown_statuses) >= _MAX_UNKNOWN_STATUSES:
            return
        self._unknown_statuses.add(seen)
        text = "workspace %s: job %s has the status %s, unknown to the relay; it is polled on like an unfinished job"
        fields = log_fields(watch.trace, job_id=watch.job_id, workspace=watch.workspace)
        self.log.warning(text, watch.workspace, watch.job_id, json.dumps(status), extra=fields)

    def prometheus_text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
