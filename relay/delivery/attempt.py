"""Attempts: made over the wire, and what is written down of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from relay import __version__
from relay.delivery.admission import is_probe
from relay.delivery.redaction import redact
from relay.delivery.retry_policy import AttemptDecision
from relay.egress.result import HttpResponse, SendResult
from relay.model import Attempt, DeliveryStatus, DueDelivery, Endpoint, Instant, new_id
from relay.signing import standard_webhooks
from relay.store.tables.outbox import DeliveryUpdate, LeasedDelivery
from relay.telemetry import trace_context

USER_AGENT = f"exec-relay/{__version__}"
RESPONSE_KEPT = 4_096
"""Bytes of an answer that the attempt log keeps."""


class HttpSender(Protocol):
    """What sends: `relay.egress.http_client.Egress`."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: int) -> tuple[SendResult, int]:
        """What came of one POST and how many milliseconds it took."""


@dataclass(frozen=True, slots=True)
class CompletedAttempt:
    """An attempt that was made and is not yet written down."""

    claim: LeasedDelivery
    outcome: SendResult
    started_at: Instant
    duration_ms: int
    format: str
    """That of the endpoint, as it was sent to."""
    due: DueDelivery | None = None
    """What was leased; None for a test."""
    discard_response: bool = False
    """The store did not take what came: only what it means is kept."""

    @property
    def probe(self) -> DueDelivery | None:
        """What the attempt was a probe for: the next one waits until the result of this one is recorded."""
        return self.due if self.due is not None and is_probe(self.due) else None


async def send(
    egress: HttpSender,
    endpoint: Endpoint,
    webhook_id: str,
    body: bytes,
    timeout: int,
    now: Instant,
    traceparent: str | None = None,
) -> tuple[SendResult, int]:
    """Makes one signed attempt. Returns what came, less the endpoint's secrets, and how long it took in ms."""
    signed = standard_webhooks.headers(webhook_id, body, endpoint.secrets, now)
    headers = {**endpoint.headers, "content-type": "application/json", "user-agent": USER_AGENT, **signed}
    if traceparent is not None:
        headers[trace_context.HEADER] = traceparent
    outcome, duration = await egress.post(endpoint.url, headers, body, timeout)
    if isinstance(outcome, HttpResponse):
        outcome = replace(outcome, body=redact(outcome.body, endpoint))
    return outcome, duration


def span_attributes(outcome: SendResult) -> dict[str, str | int | None]:
    """What the span of an attempt says of it."""
    if isinstance(outcome, HttpResponse):
        return {"http.response.status_code": outcome.status}
    return {"error.type": outcome.kind}


_RESPONSE_REJECTED = "what came of it can't be kept"


def without_response_text(verdict: AttemptDecision) -> AttemptDecision:
    """The verdict without the words of whoever answered."""
    error = _RESPONSE_REJECTED if verdict.error else None
    return replace(verdict, error=error, disable=_RESPONSE_REJECTED if verdict.disable else None)


def to_attempt(sent: CompletedAttempt, verdict: AttemptDecision) -> Attempt:
    """The log entry of an attempt."""
    answer = sent.outcome if isinstance(sent.outcome, HttpResponse) and not sent.discard_response else None
    return Attempt(
        id=new_id("att", sent.started_at),
        delivery_id=sent.claim.delivery.id,
        number=sent.claim.delivery.attempts + 1,
        trigger=sent.claim.trigger,
        started_at=sent.started_at,
        duration_ms=0 if sent.discard_response else sent.duration_ms,
        status_code=answer.status if answer else None,
        outcome=verdict.outcome,
        error=_storable(verdict.error) if verdict.error else None,
        response=_storable(answer.body[:RESPONSE_KEPT].decode("utf-8", "replace")) if answer else "",
    )


def _storable(text: str) -> str:
    """The text without NUL characters, which PostgreSQL does not keep."""
    return text.replace("\x00", "\ufffd")


def to_delivery_update(sent: CompletedAttempt, verdict: AttemptDecision, now: Instant) -> DeliveryUpdate:
    """What becomes of the delivery."""
    return DeliveryUpdate(
        delivery_id=sent.claim.delivery.id,
        status=verdict.status,
        attempts_in_run=sent.claim.delivery.attempts_in_run + 1,
        next_attempt_at=verdict.next_attempt_at,
        ended_at=None if verdict.status is DeliveryStatus.PENDING else now,
        reason=verdict.error if verdict.status is DeliveryStatus.FAILED else None,
        attempt=to_attempt(sent, verdict),
        lease=sent.claim.lease,
    )
