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


ENDINGS = (EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED, EventType.NOT_FOUND, EventType.EXPIRED)
"""What a subscriber hears of unless it says otherwise; `job.started` is opt-in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The immutable fact. Its id is the `webhook-id` of every delivery of it."""

    id: str
    workspace: str
    job_id: str
    type: EventType
    occurred_at: Instant
    """When it happened: Exec's completed_at where it gives one, else when the relay saw it."""
    job: Mapping[str, Any]
    created_at: Instant


def event_id(workspace: str, job_id: str, type: EventType) -> str:
    """The id of an event, and so its `webhook-id`: derived, so that no two replicas can mint two for one fact."""
    digest = hashlib.sha256(f"{workspace}\n{job_id}\n{type.value}".encode()).digest()
    return "evt_" + base64.b32hexencode(digest[:16]).decode().rstrip("=")
