"""The relay's reports to its operator: it counts, logs and traces what the other parts do."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import Enum

from relay.errors import RelayError, StoreError
from relay.model import (
    Delivery,
    Endpoint,
    EventType,
    Instant,
    Registration,
    Watch,
)
from relay.model.create_result import CreateJobResult, creation_outcome
from relay.model.poll_result import Poll, outcome_label
from relay.telemetry.log_format import LOGGER, log_fields
from relay.telemetry.metrics import Metrics, RefusalReason, WaitKind
from relay.telemetry.state_changes import (
    Condition,
    News,
    State,
    StateChange,
    StateChanges,
    Subject,
    describe_change,
    endpoint_condition,
    endpoint_subject,
    news_of,
)
from relay.telemetry.tracing import NoopTracer, Span, Tracer

_MAX_UNKNOWN_STATUSES = 100
"""Maximum number of unknown statuses that are logged; more of them tell nothing new."""


class Telemetry:
    """One relay's metrics, log and spans; `log` is its logger."""

    def __init__(self, spans: Tracer | None = None) -> None:
        """Without `spans` no spans are recorded."""
        self.spans = spans or NoopTracer()
        self.log = logging.getLogger(LOGGER)
        self.metrics = Metrics()
        self.changes = StateChanges()
        self.on_news: Callable[[News], None] = lambda _: None
        """Called with news about Exec and the budget. News about endpoints is stored with the change itself."""
        self._unknown_statuses: set[tuple[str, str]] = set()

    def request_span(self, method: str, path: str, trace: str | None, request_id: str) -> Span:
        """The span of a request to the API; `path` is the route, with the names of its parameters."""
        attributes = {"http.request.method": method, "http.route": path, "relay.request_id": request_id}
        return self.spans.span(f"{method} {path}", "server", trace, attributes)

    def poll_span(self, watch: Watch) -> Span:
        """The span of a poll."""
        attributes = {"relay.workspace": watch.workspace, "relay.job_id": watch.job_id}
        return self.spans.span("poll", "client", watch.trace, attributes)

    def attempt_span(self, delivery: Delivery, endpoint: Endpoint) -> Span:
        """The span of a delivery attempt."""
        attributes = {
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
        return self.spans.span("attempt", "client", delivery.trace, attributes)

    def registered(self, registration: Registration, request_id: str | None) -> None:
        """A request with this id created a registration."""
        fields = log_fields(
            registration.trace,
            request_id=request_id,
            registration_id=registration.id,
            job_id=registration.job_id,
            workspace=registration.workspace,
            endpoint_id=registration.endpoint_id,
        )
        self.log.info("%s: job %s is registered", registration.id, registration.job_id, extra=fields)

    def poll_done(self, watch: Watch, poll: Poll) -> None:
        """A poll was made."""
        outcome = outcome_label(poll.result)
        self.metrics.polls.labels(watch.workspace, outcome).inc()
        if self.log.isEnabledFor(logging.DEBUG):
            fields = log_fields(watch.trace, job_id=watch.job_id, workspace=watch.workspace, outcome=outcome)
            self.log.debug("poll of job %s: %s", watch.job_id, outcome, extra=fields)

    def exec_callback_received(self, workspace: str, outcome: str) -> None:
        """A callback from Exec was received: `accepted`, `ignored` or `throttled`."""
        self.metrics.callbacks.labels(workspace, outcome).inc()

    def job_creation_done(self, workspace: str, result: CreateJobResult) -> None:
        """Exec answered, or did not answer, a request to create a job."""
        self.metrics.creations.labels(workspace, creation_outcome(result)).inc()

    def events_emitted(self, watch: Watch, events: tuple[EventType, ...], now: Instant) -> None:
        """A poll of `watch` established events."""
        for type in events:
            self.metrics.events.labels(type.value).inc()
            fields = log_fields(watch.trace, job_id=watch.job_id, workspace=watch.workspace, event_type=type.value)
            self.log.info("%s: job %s in workspace %s", type.value, watch.job_id, watch.workspace, extra=fields)
        if watch.job is not None and watch.job.final_event in events and watch.job.ended_at_ms is not None:
            self.metrics.detection_delay.observe(max(0, now - watch.job.ended_at_ms) / 1_000)

    def attempts_done(self, outcomes: Iterable[tuple[str, str]]) -> None:
        """Attempts were recorded: for each, the endpoint's format and the outcome."""
        for (format, outcome), number in Counter(outcomes).items():
            self.metrics.attempts.labels(format, outcome).inc(number)

    def attempt_done(
        self, delivery: Delivery, outcome: str, duration_ms: int, now: Instant, summary: Callable[[], str]
    ) -> None:
        """An attempt was recorded; `summary` gives the text for the log."""
        self.metrics.attempt_seconds.observe(duration_ms / 1_000)
        if outcome == "delivered" and delivery.reason is None:  # else it was held on purpose
            self.metrics.delivery_delay.observe(max(0, now - delivery.created_at) / 1_000)
        level = logging.INFO if outcome == "delivered" else logging.WARNING
        if not self.log.isEnabledFor(level):
            return
        fields = log_fields(
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
        about = (delivery.id, delivery.event_type.value, summary())
        # Not by `log.log`, which finds out where the line is logged: nobody reads that, and there are many such lines.
        self.log.handle(self.log.makeRecord(LOGGER, level, "", 0, "%s of %s: %s", about, None, extra=fields))

    def configured(self, workspaces: Iterable[str], now: Instant) -> None:
        """The relay starts with a configuration."""
        self.metrics.reloaded_at.set(now / 1_000)
        self.metrics.initialize(workspaces)

    def request_refused(self, reason: RefusalReason) -> None:
        """A request was refused because of its API key."""
        self.metrics.refusals.labels(reason).inc()

    def wait_began(self, kind: WaitKind) -> None:
        """A request waits."""
        self.metrics.waits_open.labels(kind).inc()

    def wait_ended(self, kind: WaitKind, outcome: Enum | None, granted: float) -> None:
        """A request that could wait `granted` seconds waits no more. None: it did not have to wait."""
        label = "at_once" if outcome is None else str(outcome.value)
        self.metrics.waits_open.labels(kind).dec()
        self.metrics.waits.labels(kind, label).inc()
        self.log.debug("a request that could wait %g s for %s ended: %s", granted, kind, label)

    def wait_answered(self, kind: WaitKind, delay_ms: int) -> None:
        """A request that waited has its answer, `delay_ms` after the event was recorded."""
        self.metrics.wait_delay.labels(kind).observe(max(0, delay_ms) / 1_000)

    def reloaded(self, changes: str, needs_restart: Sequence[str], now: Instant) -> None:
        """A changed configuration is in use, except for the keys that need a restart."""
        self.metrics.reloads.labels("applied").inc()
        self.metrics.reloaded_at.set(now / 1_000)
        self.log.info("the configuration was reloaded: %s", changes)
        for key in needs_restart:
            self.log.warning("%s was changed in the configuration, but takes effect only after a restart", key)

    def not_reloaded(self, error: RelayError) -> None:
        """A changed configuration is invalid."""
        self.metrics.reloads.labels("refused").inc()
        self.log.error("the new configuration is invalid; the relay continues with the previous one: %s", error)

    def reload_postponed(self, error: StoreError) -> None:
        """The new configuration is not applied yet, because the store fails."""
        self.log.error(
            "the new configuration is not applied yet, the relay tries again until the store works: %s", error
        )

    def endpoint_changed(self, before: Endpoint, after: Endpoint, now: Instant, error: str | None = None) -> None:
        """The endpoint's health changed, or it was enabled or disabled; `error` is that of a failed attempt."""
        self.observe(endpoint_subject(after), endpoint_condition(after, error), now, endpoint_condition(before).state)

    def endpoint_disabled(self) -> None:
        """The relay disabled an endpoint by itself."""
        self.metrics.disabled.inc()

    def endpoint_warning(self, endpoint: Endpoint, warning: str) -> None:
        """An endpoint failed many times in a row, or for half the time after which it is disabled."""
        self.log.warning("%s %s", endpoint_subject(endpoint).name, warning)

    def observe(self, subject: Subject, condition: Condition | None, now: Instant, before: State | None = None) -> None:
        """Reports a change of the subject's state, once; None if its state is unknown.

        `before` is the stored state, for a subject that has one.
        """
        if (news := self.observe_unsent(subject, condition, now, before)) is not None:
            self.on_news(news)

    def observe_unsent(
        self, subject: Subject, condition: Condition | None, now: Instant, before: State | None = None
    ) -> News | None:
        """As `observe`, but the caller sends the news to the operator's endpoints, together with what it stores."""
        change = None if condition is None else self.changes.observe(subject, condition, now, before)
        return None if change is None else self._log_change(change)

    def send_news(self, news: Iterable[News]) -> None:
        """Sends news to the operator's endpoints that `observe_unsent` returned, and that could not be stored yet."""
        for item in news:
            self.on_news(item)

    def report_due_changes(self, now: Instant) -> None:
        """Reports changes that waited because their subject changed too often."""
        for change in self.changes.due(now):
            if (news := self._log_change(change)) is not None:
                self.on_news(news)

    def _log_change(self, change: StateChange) -> News | None:
        """Logs the change. Returns its news, except about an endpoint: that is stored with the endpoint."""
        is_good = change.after.state is State.WORKING
        key = "endpoint_id" if change.subject.kind == "endpoint" else "workspace"
        fields = log_fields(None, state=change.after.state.value, **{key: change.subject.id})
        self.log.log(logging.INFO if is_good else logging.WARNING, "%s", describe_change(change), extra=fields)
        return None if change.subject.is_endpoint else news_of(change)

    def unknown_status(self, watch: Watch, status: str) -> None:
        """Exec gave a job a status that its documentation does not name. Each such status is logged once."""
        status_key = (watch.workspace, status)
        if status_key in self._unknown_statuses or len(self._unknown_statuses) >= _MAX_UNKNOWN_STATUSES:
            return
        self._unknown_statuses.add(status_key)
        text = "workspace %s: job %s has the status %s, which the relay does not know; it is polled like a running job"
        fields = log_fields(watch.trace, job_id=watch.job_id, workspace=watch.workspace)
        self.log.warning(text, watch.workspace, watch.job_id, json.dumps(status), extra=fields)
