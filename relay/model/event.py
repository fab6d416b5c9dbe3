"""Events: the facts about a job that subscribers can hear of."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from relay.times import Instant


class EventType(StrEnum):
    """The facts that subscribers can hear of."""

    STARTED = "job.started"
    COMPLETED = "job.completed"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    NOT_FOUND = "job.not_found"
    EXPIRED = "job.expired"


class OperatorEventType(StrEnum):
    """News about the relay itself, for the endpoints that `operator.endpoints` names."""

    KEY_REFUSED = "exec.key_refused"
    UNREACHABLE = "exec.unreachable"
    BUDGET_EXHAUSTED = "budget.exhausted"
    ENDPOINT_FAILING = "endpoint.failing"
    ENDPOINT_DISABLED = "endpoint.disabled"
    DELIVERY_FAILED = "delivery.failed"
    RECOVERED = "relay.recovered"


AnyEventType = EventType | OperatorEventType


def parse_event_type(text: str) -> AnyEventType:
    """The type with this name. Raises ValueError for an unknown name."""
    return EventType(text) if text.startswith("job.") else OperatorEventType(text)


OPERATOR_WORKSPACE = ""
"""The workspace of operator events: they belong to no job. Their `job_id` names the subject, `exec:default`."""

FINAL_EVENTS = (EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED, EventType.NOT_FOUND, EventType.EXPIRED)
"""What a subscriber hears of unless it says otherwise; `job.started` is opt-in."""

ENDINGS_AT_EXEC = (EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED)
"""Of these Exec says so, once for ever; the others are the relay's own, and belong to one watching of the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The immutable fact. Its id is the `webhook-id` of every delivery of it."""

    id: str
    workspace: str
    job_id: str
    type: AnyEventType
    occurred_at: Instant
    """When it happened. For an ending at Exec its completed_at or, if it gives none, the newest instant that it gives.
    `job.expired`: when the job had been watched for polling.max_age; `job.not_found`: for as long as a job is looked
    for. If Exec gives no instant at all, when the watching began."""
    job: Mapping[str, Any]
    """Exec's job; of an operator event what happened: `message`, `workspace`, `endpoint`."""
    created_at: Instant

    @property
    def is_for_operator(self) -> bool:
        return isinstance(self.type, OperatorEventType)


def event_id(workspace: str, job_id: str, type: AnyEventType, watching: Instant | None = None) -> str:
    """The id of an event, and so its `webhook-id`: derived, so that no two replicas can mint two for one fact.

    What belongs to one `watching` of the job, named by when it began, is another fact in the next one.
    """
    named = [workspace, job_id, type.value, *([] if watching is None else [str(watching)])]
    digest = hashlib.sha256("\n".join(named).encode()).digest()
    return "evt_" + base64.b32hexencode(digest[:16]).decode().rstrip("=")
