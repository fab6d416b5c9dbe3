"""Delivering: what the outcome of an attempt means for the delivery and its endpoint; `judge` decides."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay import formats
from relay.addresses import mask
from relay.backoff import capped_exponential, retry_after, scheduled
from relay.model import DAY, HOUR, MINUTE, SECOND, DeliveryStatus, Endpoint, Instant
from relay.outcome import NoAnswer, Outcome

RETRY_AFTER_CAP = 24 * HOUR
BREAKER_OPENS_AT = 10
"""Failed attempts in a row before an endpoint gets one probe at a time."""

DISABLE_ATTEMPTS = 10
"""An endpoint is disabled only after at least this many failed attempts in a row."""

PAUSE_UNASKED = 5 * SECOND
"""How long an endpoint pauses after a 429 that does not say how long."""

_UNSUBSCRIBED = "the receiver unsubscribed ({})"
_ASKS_TO_WAIT = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an attempt means for its delivery and its endpoint."""

    status: DeliveryStatus
    outcome: str
    """`delivered` or the kind of failure: a bounded set, fit for a metric's label."""
    error: str | None = None
    next_attempt_at: Instant | None = None
    """Only while pending."""
    pause_until: Instant | None = None
    """The whole endpoint waits."""
    disable: str | None = None
    """Why the endpoint is disabled, in words."""
    against_health: bool = True
    """Whether a failure counts against the endpoint's health."""


def judge(
    outcome: Outcome,
    format: str,
    tries: int,
    schedule: Sequence[int],
    now: Instant,
    jitter: float,
) -> Verdict:
    """Design's table 'Delivering', for one attempt: the `tries`-th of this run through the schedule (1 is the first).

    `schedule` is in milliseconds, `jitter` in [0, 1). Sources: Standard Webhooks 1.0 ('Deliverability'); 410 as
    Zapier's REST Hooks unsubscribe; `webhook-delivery` as Svix documents it.
    """
    if isinstance(outcome, NoAnswer):
        if outcome.kind == "blocked":
            return _given_up("blocked", outcome.detail)
        return _again(outcome.kind, outcome.detail, None, tries, schedule, now, jitter)
    wish = outcome.headers.get("webhook-delivery", "").strip().lower()
    if 200 <= outcome.status < 300:
        enough = _UNSUBSCRIBED.format("webhook-delivery: disable") if wish == "disable" else None
        return Verdict(status=DeliveryStatus.DELIVERED, outcome="delivered", disable=enough)
    told = f"answered {outcome.status}"
    if permanent := formats.permanent_error(format, outcome):  # before 410: the receiver's own words say more
        return _given_up("status", permanent.reason, permanent.reason if permanent.disable else None)
    if outcome.status == 410 or wish == "disable":
        asked = "410 Gone" if outcome.status == 410 else "webhook-delivery: disable"
        return _given_up("status", told, _UNSUBSCRIBED.format(asked))
    if wish == "abort-message":
        return _given_up("status", f"{told} and webhook-delivery: abort-message")
    if 300 <= outcome.status < 400:
        location = mask(outcome.headers.get("location", "")) or "nowhere"
        return _again("redirect", f"{told}, a redirect to {location}; not followed", None, tries, schedule, now, jitter)
    wait = None
    if outcome.status in _ASKS_TO_WAIT:
        wait = retry_after(outcome.headers.get("retry-after"), now, RETRY_AFTER_CAP)
        if wait is None and outcome.status == 429:
            wait = PAUSE_UNASKED
    return _again("status", told, outcome.status, tries, schedule, now, jitter, wait)


def _given_up(outcome: str, error: str, disable: str | None = None) -> Verdict:
    return Verdict(status=DeliveryStatus.FAILED, outcome=outcome, error=error, disable=disable)


def _again(
    kind: str,
    error: str,
    status: int | None,
    tries: int,
    schedule: Sequence[int],
    now: Instant,
    jitter: float,
    wait: int | None = None,
) -> Verdict:
    pause = now + wait if wait else None
    healthy = status != 429
    delay = scheduled(schedule, tries, jitter)
    if delay is None:
        error = f"{error}; {tries} attempts made, none left on the schedule"
        return Verdict(
            status=DeliveryStatus.FAILED, outcome=kind, error=error, pause_until=pause, against_health=healthy
        )
    return Verdict(
        status=DeliveryStatus.PENDING,
        outcome=kind,
        error=error,
        next_attempt_at=now + max(delay, wait or 0),
        pause_until=pause,
        against_health=healthy,
    )


def health_after(endpoint: Endpoint, verdict: Verdict, now: Instant, disable_after: int, jitter: float) -> Endpoint:
    """The endpoint after an attempt: its failure streak, pause, and whether it is disabled (design, 'Delivering').

    It is disabled when every attempt of the last `disable_after` ms failed, and at least 10 of them.
    """
    if verdict.outcome == "delivered":
        endpoint = replace(endpoint, failing_since=None, failures=0, paused_until=None)
    elif verdict.pause_until is not None:
        endpoint = replace(endpoint, paused_until=max(verdict.pause_until, endpoint.paused_until or 0))
    if verdict.against_health and verdict.outcome != "delivered":
        since = endpoint.failing_since or now
        endpoint = replace(endpoint, failing_since=since, failures=endpoint.failures + 1)
        if endpoint.failures >= BREAKER_OPENS_AT:
            pause = now + capped_exponential(endpoint.failures - BREAKER_OPENS_AT + 1, 5 * SECOND, 5 * MINUTE, jitter)
            endpoint = replace(endpoint, paused_until=max(pause, endpoint.paused_until or 0))
    reason = verdict.disable
    failing_for = 0 if endpoint.failing_since is None else now - endpoint.failing_since
    if reason is None and endpoint.failures >= DISABLE_ATTEMPTS and failing_for >= disable_after:
        days = disable_after / DAY
        reason = f"every attempt failed for {days:g} days, {endpoint.failures} in a row; last: {verdict.error}"
    if reason is not None and endpoint.enabled:
        endpoint = replace(endpoint, disabled_at=now, disabled_reason=reason)
    return endpoint


def needs_probe(endpoint: Endpoint) -> bool:
    """Whether the breaker is open: one attempt at a time until one succeeds."""
    return endpoint.failures >= BREAKER_OPENS_AT
