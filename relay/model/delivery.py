"""Deliveries and their attempts."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from relay.model.digest import UNGATHERED
from relay.model.event import AnyEventType, DigestEventType, Event
from relay.model.registration import Registration
from relay.times import Instant


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for one endpoint: a row of the outbox. Every attempt sends the same body, unless the endpoint gets
    another format meanwhile."""

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
    """None unless `pending`, or if it is held or in a digest. During an attempt: when its lease expires."""
    ended_at: Instant | None = None
    reason: str | None = None
    """Why it failed or was cancelled, or what holds it, as a sentence."""
    trace: str | None = None
    """The trace of its registration, or else of the job's watch."""
    owner: str | None = None
    """The name of the API key whose registration it is for; None for a standing endpoint."""
    digest_id: str | None = None
    """The delivery of the digest that it is in. `UNGATHERED` while it waits for one; its own id if it was the only one
    and is sent by itself; None if it is for no digest."""
    status_code: int | None = None
    """The HTTP status of the last attempt's response; None without one."""

    @classmethod
    def of(
        cls,
        event: Event,
        endpoint_id: str,
        registration: Registration | None = None,
        *,
        id: str,
        body: bytes,
        now: Instant,
        due_at: Instant | None,
        trace: str | None = None,
    ) -> Self:
        """A delivery of the event to the endpoint, before its first attempt; `trace` if it has no registration."""
        return cls(
            id=id,
            event_id=event.id,
            event_type=event.type,
            workspace=event.workspace,
            job_id=event.job_id,
            endpoint_id=endpoint_id,
            registration_id=registration.id if registration else None,
            status=DeliveryStatus.PENDING,
            body=body,
            attempts=0,
            attempts_in_run=0,
            created_at=now,
            next_attempt_at=due_at,
            trace=registration.trace if registration else trace,
            owner=registration.owner if registration else None,
        )

    @property
    def is_digest(self) -> bool:
        """Whether it sends other deliveries, its members, as one message."""
        return self.event_type is DigestEventType.DIGEST

    @property
    def is_in_digest(self) -> bool:
        """Whether another delivery, that of the digest, sends it."""
        return self.digest_id not in (None, UNGATHERED, self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP try of a delivery."""

    id: str
    delivery_id: str
    number: int
    trigger: str
    """`schedule`, `resend`, `replay` or `test`."""
    started_at: Instant
    duration_ms: int
    status_code: int | None
    """None without an answer."""
    outcome: str
    """`delivered`, or the kind of failure: `status`, `redirect`, `timeout`, `connection`, `blocked`, ..."""
    error: str | None
    response: str
    """The first 4 KiB of the response body."""
    triggered_by: str | None = None
    """Who asked for it, by the name of the API key; None for the schedule, and if the relay has no keys."""
