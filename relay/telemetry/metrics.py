"""The relay's metrics for Prometheus, one line each.

Every relay has its own registry, so that two in one process (tests, the demo) do not share counters. The values of
labels come from bounded sets.
"""

from collections.abc import Iterable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from relay import __version__
from relay.model.poll_result import OUTCOMES

_DELAY_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3600)
"""Upper bounds of the delay histograms, in seconds."""

_WAIT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

RefusalReason = Literal["wrong_key", "too_many_wrong_keys", "rate_limited", "too_many_waits"]
REFUSALS: tuple[RefusalReason, ...] = ("wrong_key", "too_many_wrong_keys", "rate_limited", "too_many_waits")

WaitKind = Literal["job", "events", "stream"]


class Metrics:
    """One relay's registry and all metrics in it."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, help: str, *labels: str) -> Counter:
            return Counter(name, help, labels, registry=registry)

        def gauge(name: str, help: str, *labels: str) -> Gauge:
            return Gauge(name, help, labels, registry=registry)

        def delay(name: str, help: str) -> Histogram:
            return Histogram(name, help, buckets=_DELAY_BUCKETS, registry=registry)

        # polling
        self.polls = counter("relay_polls", "Polls of Exec", "workspace", "outcome")
        self.detection_delay = delay(
            "relay_detection_delay_seconds", "Time from Exec's completed_at until the relay knew that the job ended"
        )
        self.budget_left = gauge("relay_poll_budget_remaining", "Polls left in the budget", "workspace", "window")
        self.active_watches = gauge("relay_active_watches", "Jobs being watched, up to 100,000", "workspace")
        self.learned_duration = gauge(
            "relay_job_duration_estimate_seconds", "Learned duration of jobs", "workspace", "percentile"
        )
        self.callbacks = counter("relay_exec_callbacks", "Callbacks from Exec", "workspace", "outcome")
        self.creations = counter("relay_jobs_created", "Requests to Exec to create a job", "workspace", "outcome")
        # events and deliveries
        self.events = counter("relay_events", "Events recorded", "type")
        self.attempts = counter("relay_delivery_attempts", "Delivery attempts", "format", "outcome")
        self.attempt_seconds = Histogram(
            "relay_delivery_attempt_seconds", "Duration of delivery attempts", registry=registry
        )
        self.delivery_delay = delay(
            "relay_delivery_delay_seconds", "Time from the record of an event until its receiver accepted it"
        )
        self.pending_deliveries = gauge(
            "relay_pending_deliveries", "Pending deliveries, held ones included, up to 100,000"
        )
        self.disabled = counter("relay_endpoints_disabled", "Endpoints that the relay disabled by itself")
        # requests that wait
        self.feed_lag = gauge(
            "relay_feed_lag_seconds", "Age of the oldest recorded event that the event feed does not have yet"
        )
        self.waits_open = gauge("relay_waits_open", "Requests that wait, by what they wait for", "kind")
        self.waits = counter("relay_waits", "Requests that waited, and how the wait ended", "kind", "outcome")
        self.wait_delay = Histogram(
            "relay_wait_delay_seconds",
            "Time from the record of an event until a request that waited for it has its answer",
            ["kind"],
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self.listening = gauge("relay_listening", "1 if NOTIFY of other relays arrives, otherwise 0")
        # the relay itself
        self.ready = gauge("relay_ready", "1 if the readiness check passes, otherwise 0", "check")
        self.tick_age = gauge("relay_tick_age_seconds", "Time since the last complete tick")
        self.refusals = counter(
            "relay_api_refusals",
            "Requests refused because of their API key: wrong, after too many wrong ones, or over its rate limit",
            "reason",
        )
        self.reloads = counter("relay_config_reloads", "Reloads of the configuration", "outcome")
        self.reloaded_at = gauge(
            "relay_config_last_reload_success_timestamp_seconds",
            "When the configuration in use was read, as Unix time",
        )
        self.build = Info("relay_build", "The version of this relay", registry=registry)
        self.build.info({"version": __version__})

    def initialize(self, workspaces: Iterable[str]) -> None:
        """Starts at 0 what alerts compare: Prometheus sees no increase in a counter that appears with 1."""
        for outcome in ("applied", "refused"):
            self.reloads.labels(outcome)
        for reason in REFUSALS:
            self.refusals.labels(reason)
        for workspace in workspaces:
            for outcome in OUTCOMES:
                self.polls.labels(workspace, outcome)

    def prometheus_text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
