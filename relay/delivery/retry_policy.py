"""Retry policy: `classify_attempt` decides what the result of an attempt means for its delivery.

`endpoint_health.py` decides what it means for the endpoint.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from relay import formats
from relay.backoff import capped_exponential, retry_after, retry_delay
from relay.egress import HttpResponse, RequestFailed, SendResult, mask_url
from relay.egress.result import UNCERTAIN
from relay.formats.base import json_body
from relay.model import HOUR, MINUTE, SECOND, DeliveryStatus, Instant

RETRY_AFTER_CAP = 24 * HOUR

ADDRESS_PAUSE, MAX_ADDRESS_PAUSE = 10 * MINUTE, HOUR
"""How long all endpoints at a host pause that refuses this machine's address, doubled with each attempt: a request in
between would prolong it."""

DEFAULT_PAUSE = 5 * SECOND
"""How long an endpoint pauses after a 429, 502, 503 or 504 without a usable Retry-After."""

BLOCKED_NAME_ATTEMPTS = 3
"""Attempts at a host name that resolves to blocked addresses, because DNS may response differently a moment later."""

UNCERTAIN_WAIT = 30 * MINUTE
"""How long a mail waits that its server did not confirm: a server that was slow has sorted it by then."""

MAX_ERROR = 500
"""Characters of an error or reason at most; receivers choose parts of the text."""

_SPREAD = 0.2
_MAX_SPREAD = 5 * MINUTE

_ASKS_TO_WAIT = frozenset({429, 502, 503, 504})
_APPS_SCRIPT_RESULT = "script.googleusercontent.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDecision:
    """What an attempt means for its delivery and its endpoint."""

    status: DeliveryStatus
    outcome: str
    """`delivered` or the kind of failure: a bounded set, for the label of a metric."""
    error: str | None = None
    """The error as text. With `delivered`: what was wrong with the response's body."""
    next_attempt_at: Instant | None = None
    """Only while pending."""
    pause_until: Instant | None = None
    """The whole endpoint waits until then."""
    pause_host: bool = False
    """Whether all endpoints at the same host pause with it."""
    disable: str | None = None
    """Why the endpoint is disabled, as text; None if it is not."""
    against_health: bool = True
    """Whether a failure counts against the endpoint's health."""
    is_last_retry: bool = False
    """Whether the next attempt is the last, however many the schedule has."""

    @property
    def is_plain_success(self) -> bool:
        """Whether the receiver accepted the delivery, and asks for nothing else."""
        return self.outcome == "delivered" and self.disable is None


@dataclass(frozen=True, slots=True)
class _Retry:
    """The position of one attempt on the retry schedule."""

    tries: int
    schedule: Sequence[int]
    now: Instant
    jitter: float

    def decide(
        self, outcome: str, error: str, *, wait: int | None = None, against_health: bool = True
    ) -> AttemptDecision:
        """Another attempt after the schedule's delay and after `wait` ms; a failed delivery if the schedule is over."""
        pause = self.now + wait if wait else None
        delay = retry_delay(self.schedule, self.tries, self.jitter)
        if delay is None:
            error = f"{_cut(error)}; {self.tries} attempts made, none left on the schedule"
            failed = _permanent_failure(outcome, error)
            return replace(failed, pause_until=pause, against_health=against_health)
        waiting = wait + int(self.jitter * jitter_window(wait)) if wait else 0
        return AttemptDecision(
            status=DeliveryStatus.PENDING,
            outcome=outcome,
            error=_cut(error),
            next_attempt_at=self.now + max(delay, waiting),
            pause_until=pause,
            against_health=against_health,
        )

    def after_uncertain(self, error: str) -> AttemptDecision:
        """One more attempt after a long wait, with the same Message-ID, and none after that: a mail may be there."""
        decision = self.decide(UNCERTAIN, error, wait=UNCERTAIN_WAIT)
        return replace(decision, pause_until=None, is_last_retry=True)


def classify_attempt(
    outcome: SendResult,
    format: str,
    tries: int,
    schedule: Sequence[int],
    now: Instant,
    jitter: float,
    template: str | None = None,
) -> AttemptDecision:
    """The decision after the `tries`-th attempt of this run through the schedule (1 is the first).

    `schedule` is in milliseconds, `jitter` in [0, 1), `template` the endpoint's. Sources: Standard Webhooks 1.0
    ('Deliverability'); 410 as Zapier's REST Hooks unsubscribe; `webhook-delivery` as Svix documents it.
    """
    retry = _Retry(tries, schedule, now, jitter)
    if isinstance(outcome, RequestFailed):
        if outcome.kind == UNCERTAIN:
            return retry.after_uncertain(outcome.detail)
        if outcome.kind != "blocked" or (outcome.may_change and tries < BLOCKED_NAME_ATTEMPTS):
            return retry.decide(outcome.kind, outcome.detail)
        return _permanent_failure("blocked", outcome.detail)
    if rejection := formats.rejection(format, outcome, template):  # first, because the service's own text says more
        if rejection.of_address:
            pause = capped_exponential(tries, ADDRESS_PAUSE, MAX_ADDRESS_PAUSE, jitter)
            return replace(retry.decide("status", rejection.reason, wait=pause, against_health=False), pause_host=True)
        if rejection.retry:
            wait = (_wait_of(outcome, now) or DEFAULT_PAUSE) if rejection.busy else None
            return retry.decide("status", rejection.reason, wait=wait, against_health=not rejection.busy)
        return _permanent_failure("status", rejection.reason, rejection.reason if rejection.disable else None)
    if outcome.succeeded or _is_apps_script_result(outcome):
        return _delivered(outcome)
    return _classify_status(outcome, retry)


def after_replay(decision: AttemptDecision) -> AttemptDecision:
    """The decision about an attempt of a replay: it is not tried again, unless the receiver is only busy (429)."""
    is_busy = decision.pause_until is not None and not decision.against_health
    if decision.status is not DeliveryStatus.PENDING or is_busy:
        return decision
    return replace(decision, status=DeliveryStatus.FAILED, next_attempt_at=None)


_DELIVERED = AttemptDecision(status=DeliveryStatus.DELIVERED, outcome="delivered")


def _delivered(response: HttpResponse) -> AttemptDecision:
    if not response.body_error and "webhook-delivery" not in response.headers:
        return _DELIVERED
    error = f"answered {response.status}; its body: {response.body_error}" if response.body_error else None
    disable = _unsubscribed("webhook-delivery: disable") if _webhook_delivery(response) == "disable" else None
    return AttemptDecision(
        status=DeliveryStatus.DELIVERED, outcome="delivered", error=_cut(error) if error else None, disable=disable
    )


def _classify_status(response: HttpResponse, retry: _Retry) -> AttemptDecision:
    """The decision about a response that is no success, by its status and its header `webhook-delivery`."""
    error, directive = f"answered {response.status}", _webhook_delivery(response)
    if response.status == 410 or directive == "disable":
        cause = "410 Gone" if response.status == 410 else "webhook-delivery: disable"
        return _permanent_failure("status", error, _unsubscribed(cause))
    if directive == "abort-message":
        return _permanent_failure("status", f"{error} and webhook-delivery: abort-message")
    if 300 <= response.status < 400:
        location = mask_url(response.headers.get("location", ""))
        return retry.decide("redirect", f"{error}, a redirect to {location}; not followed")
    return retry.decide("status", error, wait=_asked_wait(response, retry.now), against_health=response.status != 429)


def _is_apps_script_result(response: HttpResponse) -> bool:
    """Whether a Google Apps Script ran: its web apps answer every POST with a redirect to the script's output."""
    if response.status != 302:
        return False
    try:
        location = urlsplit(response.headers.get("location", ""))
    except ValueError:
        return False
    return location.scheme == "https" and location.netloc == _APPS_SCRIPT_RESULT


def _webhook_delivery(response: HttpResponse) -> str:
    return response.headers.get("webhook-delivery", "").strip().lower()


def _asked_wait(response: HttpResponse, now: Instant) -> int | None:
    """Milliseconds that the receiver asks to wait; None if its status does not ask for it."""
    if response.status not in _ASKS_TO_WAIT:
        return None
    wait = _wait_of(response, now)
    return DEFAULT_PAUSE if wait is None else wait


def _wait_of(response: HttpResponse, now: Instant) -> int | None:
    """Milliseconds that the response names: in its header, or in its body as Discord and Telegram do."""
    body = json_body(response)
    parameters = body.get("parameters")
    seconds = [body.get("retry_after"), parameters.get("retry_after") if isinstance(parameters, dict) else None]
    in_body = next(
        (str(value) for value in seconds if isinstance(value, int | float) and not isinstance(value, bool)), None
    )
    return retry_after(response.headers.get("retry-after") or in_body, now, RETRY_AFTER_CAP)


def _unsubscribed(cause: str) -> str:
    return f"the receiver unsubscribed ({cause})"


def _permanent_failure(outcome: str, error: str, disable: str | None = None) -> AttemptDecision:
    return AttemptDecision(
        status=DeliveryStatus.FAILED,
        outcome=outcome,
        error=_cut(error),
        disable=_cut(disable) if disable else None,
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_ERROR else f"{text[: MAX_ERROR - 1]}…"


def jitter_window(wait: int) -> int:
    """Milliseconds over which attempts spread that waited `wait` ms together: a fifth of it, 1 s to 5 min."""
    return min(max(round(wait * _SPREAD), SECOND), _MAX_SPREAD)
