"""Deliveries, and the attempts to make them."""

from dataclasses import dataclass, field
from enum import StrEnum

from relay.model.event import AnyEventType
from relay.times import Instant


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event × one endpoint: the outbox row. The body is made once and sent verbatim on every attempt."""

    id: str
    event_id: str
    event_type: AnyEventType
    workspace: str
    job_id: str
    endpoint_id: str
    registration_id: str | None
    status: DeliveryStatus
    body: bytes = field(repr=False)
    attempts: int
    """Attempts made, by schedule or by hand."""
    attempts_in_run: int
    """Attempts of the present run through the schedule; a resend starts it anew."""
    created_at: Instant
    next_attempt_at: Instant | None
    """None unless `pending`. While an attempt is under way: when its lease runs out."""
    ended_at: Instant | None = None
    reason: str | None = None
    """Why it failed or was cancelled, in words."""
    trace: str | None = None
    """That of its registration, else of the job's watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP try of a delivery."""

    id: str
    delivery_id: str
    number: int
    trigger: str
    """`schedule`, `resend` or `test`."""
    started_at: Instant
    duration_ms: int
    status_code: int | None
    """None where no answer came."""
    outcome: str
    """`delivered`, or the kind of failure: `status`, `redirect`, `timeout`, `connection`, `blocked`, ..."""
    error: str | None
    response: str
    """The first 4 KiB of the answer's body."""
