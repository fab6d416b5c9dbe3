"""Endpoint health: failure streak, circuit breaker, pauses, and when an endpoint is disabled."""

from dataclasses import replace

from relay.backoff import capped_exponential
from relay.delivery.retry_policy import AttemptDecision
from relay.model import DAY, MINUTE, SECOND, Endpoint, Instant, to_rfc3339

BREAKER_OPENS_AT = 10
"""Failed attempts in a row that open the circuit breaker: the endpoint then gets one probe at a time."""

DISABLE_ATTEMPTS = 10
"""An endpoint is disabled only after at least this many failed attempts in a row."""

_FIRST_PAUSE = 5 * SECOND
_MAX_PAUSE = 5 * MINUTE


def update_health(
    endpoint: Endpoint,
    decision: AttemptDecision,
    now: Instant,
    disable_after: int,
    jitter: float,
    seen_since: Instant = 0,
) -> Endpoint:
    """The endpoint after an attempt: its failure streak, its pause, and whether it is disabled.

    It is disabled if every attempt of the last `disable_after` ms failed, and at least `DISABLE_ATTEMPTS` did. Failures
    before `seen_since` do not count, because the clock may have been wrong.
    """
    if decision.outcome == "delivered":
        endpoint = _after_success(endpoint, now)
    else:
        endpoint = _after_failure(endpoint, decision, now, jitter)
    reason = decision.disable or _failing_too_long(endpoint, decision, now, disable_after, seen_since)
    if reason is not None and endpoint.enabled:
        endpoint = replace(endpoint, disabled_at=now, disabled_reason=reason)
    return endpoint


def update_after_replay(endpoint: Endpoint, decision: AttemptDecision, now: Instant) -> Endpoint:
    """The endpoint after an attempt of a replay: neither a success nor a failure counts, but what the receiver asks
    for does, a pause or the end of all deliveries."""
    pauses = [pause for pause in (endpoint.paused_until, decision.pause_until) if pause is not None]
    endpoint = replace(endpoint, paused_until=max(pauses, default=None))
    if decision.disable is not None and endpoint.enabled:
        endpoint = replace(endpoint, disabled_at=now, disabled_reason=decision.disable)
    return endpoint


def _after_success(endpoint: Endpoint, now: Instant) -> Endpoint:
    """Ends the failure streak and the breaker's pause; a pause that the receiver asked for stays."""
    if endpoint.succeeded_at is None:
        endpoint = replace(endpoint, succeeded_at=now)
    if not endpoint.failures:
        return endpoint
    pause = None if circuit_is_open(endpoint.failures) else endpoint.paused_until
    return replace(endpoint, failing_since=None, failures=0, paused_until=pause)


def _after_failure(endpoint: Endpoint, decision: AttemptDecision, now: Instant, jitter: float) -> Endpoint:
    """Extends the failure streak, unless the failure says nothing about health. The longest pause applies."""
    pauses = [pause for pause in (endpoint.paused_until, decision.pause_until) if pause is not None]
    if decision.against_health:
        endpoint = replace(endpoint, failing_since=endpoint.failing_since or now, failures=endpoint.failures + 1)
        if circuit_is_open(endpoint.failures):
            rounds = endpoint.failures - BREAKER_OPENS_AT + 1
            pauses.append(now + capped_exponential(rounds, _FIRST_PAUSE, _MAX_PAUSE, jitter))
    return replace(endpoint, paused_until=max(pauses, default=None))


def _failing_too_long(
    endpoint: Endpoint, decision: AttemptDecision, now: Instant, disable_after: int, seen_since: Instant
) -> str | None:
    """Why the endpoint is to be disabled; None if it has not failed often and long enough."""
    if endpoint.failing_since is None or endpoint.failures < DISABLE_ATTEMPTS:
        return None
    if now - max(endpoint.failing_since, seen_since) < disable_after:
        return None
    days = disable_after / DAY
    return f"every attempt failed for {days:g} days, {endpoint.failures} in a row; last: {decision.error}"


def health_warning(before: Endpoint, after: Endpoint, now: Instant, disable_after: int) -> str | None:
    """The warning to log after an attempt: the endpoint was disabled, or will be if it goes on failing.

    None if there is nothing to warn of. From half of `disable_after` ms on every failed attempt has a warning: the
    caller logs it once.
    """
    if not after.enabled:
        return f"is disabled: {after.disabled_reason}" if before.enabled else None
    if after.failing_since is None or now - after.failing_since < disable_after // 2:
        return None
    disabled_at = to_rfc3339(after.failing_since + disable_after)
    since = to_rfc3339(after.failing_since)
    return f"has failed since {since}; the relay disables it at {disabled_at} unless an attempt succeeds"


def circuit_is_open(failures: int) -> bool:
    """Whether so many failed attempts in a row open the circuit breaker: one probe at a time until one succeeds."""
    return failures >= BREAKER_OPENS_AT
