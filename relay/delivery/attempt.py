"""One attempt: a signed POST, and the conversion of its result into what the store records."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from relay import __version__, formats
from relay.delivery.admission import is_probe
from relay.delivery.redaction import redact
from relay.delivery.retry_policy import AttemptDecision
from relay.egress import HttpResponse, RequestFailed, SendResult
from relay.egress.http_client import MAX_BODY_READ
from relay.egress.mail_url import MailServer, is_mail_url, parse_mail_url
from relay.formats import email
from relay.model import Attempt, DeliveryStatus, DueDelivery, Endpoint, Instant, new_id, to_rfc3339
from relay.signing import standard_webhooks
from relay.store.engine import dialect
from relay.store.tables.outbox import DeliveryUpdate, LeasedDelivery
from relay.telemetry import trace_context

USER_AGENT = f"exec-relay/{__version__}"
RESPONSE_KEPT = 4_096
"""Bytes of a response that are stored with the attempt."""


class HttpSender(Protocol):
    """The HTTP client: `relay.egress.http_client.WebhookHttpClient`."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: int, per_address: int | None = None
    ) -> tuple[SendResult, int]:
        """Sends one POST of at most `timeout` ms. Returns the result, and its duration in milliseconds.

        With `per_address`, it is not sent while so many such requests wait for the same IP address.
        """


class MailSender(Protocol):
    """The SMTP client: `relay.egress.smtp_client.SmtpClient`."""

    async def send(self, server: MailServer, message: bytes, timeout: int) -> tuple[SendResult, int]:
        """Sends one mail. Returns the result, and its duration in milliseconds."""


@dataclass(frozen=True, slots=True)
class CompletedAttempt:
    """An attempt whose result is not stored yet."""

    leased: LeasedDelivery
    endpoint: Endpoint
    """The endpoint when the attempt began."""
    outcome: SendResult
    started_at: Instant
    duration_ms: int
    due: DueDelivery | None = None
    """The due delivery that was leased; None for a test."""
    discard_response: bool = False
    """The database rejected the response: only the decision is stored."""

    @property
    def probe(self) -> DueDelivery | None:
        """The due delivery if the attempt is a probe: the next probe waits until this result is recorded."""
        return self.due if self.due is not None and is_probe(self.due) else None


async def send(
    egress: HttpSender,
    endpoint: Endpoint,
    webhook_id: str,
    body: bytes,
    timeout: int,
    now: Instant,
    traceparent: str | None = None,
    per_address: int | None = None,
    mail: MailSender | None = None,
    run: int = 0,
) -> tuple[SendResult, int]:
    """Makes one signed attempt of at most `timeout` ms. Returns the result, redacted, and its duration in ms."""
    if is_mail_url(endpoint.url):
        return await _send_mail(mail, endpoint, webhook_id, body, timeout, run)
    target = formats.target(endpoint.format, endpoint.url, body)
    signed = standard_webhooks.headers(webhook_id, target.body, endpoint.secrets, now)
    headers = {**endpoint.headers, "content-type": "application/json", "user-agent": USER_AGENT, **signed}
    if traceparent is not None:
        headers[trace_context.HEADER] = traceparent
    outcome, duration = await egress.post(target.url, headers, target.body, timeout, per_address)
    return redacted(outcome, endpoint), duration


def redacted(outcome: SendResult, endpoint: Endpoint) -> SendResult:
    """The result without the endpoint's secrets."""
    if not isinstance(outcome, HttpResponse) or not (outcome.body or outcome.body_error):
        return outcome
    is_cut = outcome.body_error is not None or len(outcome.body) >= MAX_BODY_READ
    error = outcome.body_error and redact(outcome.body_error.encode(), endpoint).decode()
    return replace(outcome, body=redact(outcome.body, endpoint, is_cut=is_cut), body_error=error)


async def _send_mail(
    mail: MailSender | None, endpoint: Endpoint, event_id: str, body: bytes, timeout: int, run: int
) -> tuple[SendResult, int]:
    server = parse_mail_url(endpoint.url)
    message = email.compose(body, event_id, endpoint.id, run, server.sender, server.recipients)
    if mail is None:
        return RequestFailed("internal", "this relay has no mail client"), 0
    outcome, duration = await mail.send(server, message, timeout)
    return redacted(outcome, endpoint), duration


def span_attributes(outcome: SendResult) -> dict[str, str | int | None]:
    """The attributes of an attempt's span."""
    if isinstance(outcome, HttpResponse):
        return {"http.response.status_code": outcome.status}
    return {"error.type": outcome.kind}


_RESPONSE_REJECTED = "the response can't be stored"


def without_response_text(decision: AttemptDecision) -> AttemptDecision:
    """The decision without any text of the receiver."""
    error = _RESPONSE_REJECTED if decision.error else None
    return replace(decision, error=error, disable=_RESPONSE_REJECTED if decision.disable else None)


def attempt_summary(completed: CompletedAttempt, decision: AttemptDecision) -> str:
    """`job j1o2, endpoint crm: answered 500; attempt 3, next at 2024-03-01T12:00:00.000Z`, for the log."""
    delivery = completed.leased.delivery
    outcome = completed.outcome
    status = f"answered {outcome.status}" if isinstance(outcome, HttpResponse) else outcome.kind
    result = status if decision.error is None else decision.error
    subject = f"job {delivery.job_id}, endpoint {completed.endpoint.name or delivery.endpoint_id}"
    text = f"{subject}: {result}; attempt {delivery.attempts + 1}"
    if decision.next_attempt_at is not None:
        return f"{text}, next at {to_rfc3339(decision.next_attempt_at)}"
    return text if decision.status is DeliveryStatus.DELIVERED else f"{text}, no further attempt"


def to_attempt(completed: CompletedAttempt, decision: AttemptDecision, random_bytes: bytes) -> Attempt:
    """The attempt's record in the attempt log; `random_bytes` are those of its id."""
    outcome = completed.outcome
    response = outcome if isinstance(outcome, HttpResponse) and not completed.discard_response else None
    return Attempt(
        id=new_id("att", completed.started_at, random_bytes),
        delivery_id=completed.leased.delivery.id,
        number=completed.leased.delivery.attempts + 1,
        trigger=completed.leased.trigger,
        triggered_by=completed.leased.triggered_by,
        started_at=completed.started_at,
        duration_ms=0 if completed.discard_response else completed.duration_ms,
        status_code=response.status if response else None,
        outcome=decision.outcome,
        error=dialect.storable(decision.error) if decision.error else None,
        response=dialect.storable(response.body[:RESPONSE_KEPT].decode("utf-8", "replace")) if response else "",
    )


def to_delivery_update(
    completed: CompletedAttempt, decision: AttemptDecision, now: Instant, random_bytes: bytes, scheduled: int
) -> DeliveryUpdate:
    """The delivery's new state after an attempt.

    `random_bytes` are those of the attempt's id, `scheduled` is the number of attempts on the schedule.
    """
    attempts_in_run = completed.leased.delivery.attempts_in_run + 1
    return DeliveryUpdate(
        delivery_id=completed.leased.delivery.id,
        status=decision.status,
        attempts_in_run=max(attempts_in_run, scheduled - 1) if decision.is_last_retry else attempts_in_run,
        next_attempt_at=decision.next_attempt_at,
        ended_at=None if decision.status is DeliveryStatus.PENDING else now,
        reason=decision.error if decision.status is DeliveryStatus.FAILED else None,
        attempt=to_attempt(completed, decision, random_bytes),
        lease=completed.leased.lease,
    )
