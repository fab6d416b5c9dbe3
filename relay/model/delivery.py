"""Deliveries and their attempts."""

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
    """One event for one endpoint: a row of the outbox. Every attempt sends the same body."""

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
    """All attempts, scheduled ones and resends."""
    attempts_in_run: int
    """Attempts in the current run of the schedule; a resend restarts it."""
    created_at: Instant
    next_attempt_at: Instant | None
    """None unless `pending`, or if it is held. During an attempt: when its lease expires."""
    ended_at: Instant | None = None
    reason: str | None = None
    """Why it failed or was cancelled, as a sentence."""
    trace: str | None = None
    """The trace of its registration, or else of the job's watch."""
    owner: str | None = None
    """The name of the API key whose registration it is for; None for a standing endpoint."""


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
    """None without an answer."""
    outcome: str
    """`delivered`, or the kind of failure: `status`, `redirect`, `timeout`, `connection`, `blocked`, ..."""
    error: str | None
    response: str
    """The first 4 KiB of the response body."""
