"""Delivering: what the outcome of an attempt means for the delivery and its endpoint; `classify_attempt` decides."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay import formats
from relay.backoff import capped_exponential, retry_after, retry_delay
from relay.egress.result import RequestFailed, SendResult
from relay.egress.url_policy import mask_url
from relay.model import DAY, HOUR, MINUTE, SECOND, DeliveryStatus, Endpoint, Instant, to_rfc3339

RETRY_AFTER_CAP = 24 * HOUR
BREAKER_OPENS_AT = 10
"""Failed attempts in a row before an endpoint gets one probe at a time."""

DISABLE_ATTEMPTS = 10
"""An endpoint is disabled only after at least this many failed attempts in a row."""

DEFAULT_PAUSE = 5 * SECOND
"""How long an endpoint pauses after a 429, 502, 503 or 504 that does not say how long."""

_SPREAD = 0.2
_WIDEST = 5 * MINUTE

_UNSUBSCRIBED = "the receiver unsubscribed ({})"
_ASKS_TO_WAIT = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDecision:
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


def classify_attempt(
    outcome: SendResult,
    format: str,
    tries: int,
    schedule: Sequence[int],
    now: Instant,
    jitter: float,
) -> AttemptDecision:
    """Design's table 'Delivering', for one attempt: the `tries`-th of this run through the schedule (1 is the first).

    `schedule` is in milliseconds, `jitter` in [0, 1). Sources: Standard Webhooks 1.0 ('Deliverability'); 410 as
    Zapier's REST Hooks unsubscribe; `webhook-delivery` as Svix documents it.
    """
    if isinstance(outcome, RequestFailed):
        if outcome.kind == "blocked":
            return _permanent_failure("blocked", outcome.detail)
        return _retry(outcome.kind, outcome.detail, None, tries, schedule, now, jitter)
    wish = outcome.headers.get("webhook-delivery", "").strip().lower()
    if 200 <= outcome.status < 300:
        enough = _UNSUBSCRIBED.format("webhook-delivery: disable") if wish == "disable" else None
        return AttemptDecision(status=DeliveryStatus.DELIVERED, outcome="delivered", disable=enough)
    told = f"answered {outcome.status}"
    if permanent := formats.permanent_error(format, outcome):  # before 410: the receiver's own words say more
        return _permanent_failure("status", permanent.reason, permanent.reason if permanent.disable else None)
    if outcome.status == 410 or wish == "disable":
        asked = "410 Gone" if outcome.status == 410 else "webhook-delivery: disable"
        return _permanent_failure("status", told, _UNSUBSCRIBED.format(asked))
    if wish == "abort-message":
        return _permanent_failure("status", f"{told} and webhook-delivery: abort-message")
    if 300 <= outcome.status < 400:
        location = mask_url(outcome.headers.get("location", "")) or "nowhere"
        return _retry("redirect", f"{told}, a redirect to {location}; not followed", None, tries, schedule, now, jitter)
    wait = None
    if outcome.status in _ASKS_TO_WAIT:
        asked_for = retry_after(outcome.headers.get("retry-after"), now, RETRY_AFTER_CAP)
        wait = DEFAULT_PAUSE if asked_for is None else asked_for
    return _retry("status", told, outcome.status, tries, schedule, now, jitter, wait)


def _permanent_failure(outcome: str, error: str, disable: str | None = None) -> AttemptDecision:
    return AttemptDecision(status=DeliveryStatus.FAILED, outcome=outcome, error=error, disable=disable)


def _retry(
    kind: str,
    error: str,
    status: int | None,
    tries: int,
    schedule: Sequence[int],
    now: Instant,
    jitter: float,
    wait: int | None = None,
) -> AttemptDecision:
    pause = now + wait if wait else None
    healthy = status != 429
    delay = retry_delay(schedule, tries, jitter)
    if delay is None:
        error = f"{error}; {tries} attempts made, none left on the schedule"
        return AttemptDecision(
            status=DeliveryStatus.FAILED, outcome=kind, error=error, pause_until=pause, against_health=healthy
        )
    return AttemptDecision(
        status=DeliveryStatus.PENDING,
        outcome=kind,
        error=error,
        next_attempt_at=now + max(delay, wait + int(jitter * jitter_window(wait)) if wait else 0),
        pause_until=pause,
        against_health=healthy,
    )


def update_health(
    endpoint: Endpoint,
    verdict: AttemptDecision,
    now: Instant,
    disable_after: int,
    jitter: float,
    seen_since: Instant = 0,
) -> Endpoint:
    """The endpoint after an attempt: its failure streak, pause, and whether it is disabled (design, 'Delivering').

    It is disabled when every attempt of the last `disable_after` ms failed, and at least 10 of them. What it failed
    before `seen_since` does not count: that may be of a clock that was wrong.
    """
    if verdict.outcome == "delivered" and verdict.disable is None and not endpoint.failures:
        return endpoint
    if verdict.outcome == "delivered":
        # The breaker's pause ends with a success; one that the receiver asked for stands, whoever was under way then.
        pause = None if circuit_is_open(endpoint.failures) else endpoint.paused_until
        endpoint = replace(endpoint, failing_since=None, failures=0, paused_until=pause)
    elif verdict.pause_until is not None:
        endpoint = replace(endpoint, paused_until=max(verdict.pause_until, endpoint.paused_until or 0))
    if verdict.against_health and verdict.outcome != "delivered":
        since = endpoint.failing_since or now
        endpoint = replace(endpoint, failing_since=since, failures=endpoint.failures + 1)
        if endpoint.failures >= BREAKER_OPENS_AT:
            pause = now + capped_exponential(endpoint.failures - BREAKER_OPENS_AT + 1, 5 * SECOND, 5 * MINUTE, jitter)
            endpoint = replace(endpoint, paused_until=max(pause, endpoint.paused_until or 0))
    reason = verdict.disable
    failing_for = 0 if endpoint.failing_since is None else now - max(endpoint.failing_since, seen_since)
    if reason is None and endpoint.failures >= DISABLE_ATTEMPTS and failing_for >= disable_after:
        days = disable_after / DAY
        reason = f"every attempt failed for {days:g} days, {endpoint.failures} in a row; last: {verdict.error}"
    if reason is not None and endpoint.enabled:
        endpoint = replace(endpoint, disabled_at=now, disabled_reason=reason)
    return endpoint


def health_warning(before: Endpoint, after: Endpoint, now: Instant, disable_after: int) -> str | None:
    """What the operator should hear after an attempt: that the endpoint was disabled, or at half time that it will be.

    None where all is well. The second is said of every attempt from half time on: it is the caller's to say it once.
    """
    if not after.enabled:
        return f"is disabled: {after.disabled_reason}" if before.enabled else None
    if after.failing_since is None or now - after.failing_since < disable_after // 2:
        return None
    disabled_at = to_rfc3339(after.failing_since + disable_after)
    return f"fails since {to_rfc3339(after.failing_since)}; it is disabled at {disabled_at} unless an attempt succeeds"


def circuit_is_open(failures: int) -> bool:
    """Whether the breaker is open after so many failed attempts in a row: one at a time until one succeeds."""
    return failures >= BREAKER_OPENS_AT


def jitter_window(wait: int) -> int:
    """Over how many milliseconds that which waited so long together comes back: a fifth of it, 1 s to 5 min."""
    return min(max(round(wait * _SPREAD), SECOND), _WIDEST)
