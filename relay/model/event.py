"""Events: the facts about a job that subscribers are notified of."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from relay.times import Instant


class EventType(StrEnum):
    """The facts that subscribers can be notified of."""

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


class DigestEventType(StrEnum):
    """Events of many jobs, gathered into one message for one endpoint."""

    DIGEST = "jobs.digest"


AnyEventType = EventType | OperatorEventType | DigestEventType


def parse_event_type(text: str) -> AnyEventType:
    """The type with this name. Raises ValueError for an unknown name."""
    if text == DigestEventType.DIGEST.value:
        return DigestEventType.DIGEST
    return EventType(text) if text.startswith("job.") else OperatorEventType(text)


OPERATOR_WORKSPACE = ""
"""The workspace of operator events and digests: they belong to no job. Their `job_id` names the subject,
`exec:default`."""

FINAL_EVENTS = (EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED, EventType.NOT_FOUND, EventType.EXPIRED)
"""The events that a subscriber gets by default; `job.started` is opt-in."""

ENDINGS_AT_EXEC = (EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED)
"""The final events that Exec reports, once for each job. The relay decides the others, once for each watch of a job."""


@dataclass(frozen=True, slots=True)
class ReplacedEvent:
    """An ending that the relay reported when it gave up, and that turned out to be wrong."""

    event_id: str
    type: EventType


@dataclass(frozen=True, slots=True, kw_only=True)
class EventContext:
    """What the relay knows about a job in addition to Exec's answer, as of the event."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The metadata of all registrations of the job; of one key the newest value."""
    requested_by: str | None = None
    """An e-mail address or a name."""
    prompt: str | None = None
    """The beginning of the prompt, if the relay created the job."""
    usual_seconds: float | None = None
    """Of `job.started`: half of the workspace's jobs are ready after this time. None if nothing is learned yet."""
    tracked_seconds: float | None = None
    """Of `job.expired`: how long the relay polled."""
    page: str | None = None
    """The URL of the job's page in the dashboard; None without `server.public_url`."""
    time_zone: str | None = None
    """The time zone of times in messages; None: UTC."""
    test: bool = False
    """Whether it is a sample that somebody sent to try an endpoint."""
    tested_by: str | None = None
    """The name of who sent the sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The immutable fact. Its id is the `webhook-id` of every delivery of it."""

    id: str
    workspace: str
    job_id: str
    type: AnyEventType
    occurred_at: Instant
    """When it happened. For a final event of Exec its `completed_at` or, without one, the newest instant of the job.
    For `job.expired`, polling.max_age after the watch began; for `job.not_found`, the time after which a missing job is
    given up. If Exec gives no instant at all, when the watch began."""
    job: Mapping[str, Any]
    """Exec's job; of an operator event what happened: `message`, `workspace`, `endpoint`; of a digest `counts` by type,
    and `jobs`, the first of them."""
    created_at: Instant
    replaces: ReplacedEvent | None = None
    """The `job.not_found` or `job.expired` of the same job that subscribers got before, if this is its real ending."""
    context: EventContext = field(default_factory=EventContext)

    @property
    def is_about_job(self) -> bool:
        """False for news about the relay, and for a digest, which is about many jobs."""
        return isinstance(self.type, EventType)


def event_id(workspace: str, job_id: str, type: AnyEventType, watch_created_at: Instant | None = None) -> str:
    """The id of an event, and so its `webhook-id`. It is derived, so that two relays create the same one for one fact.

    `watch_created_at` is for facts of one watch of the job: the next watch of it has other facts.
    """
    parts = [workspace, job_id, type.value, *([] if watch_created_at is None else [str(watch_created_at)])]
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return "evt_" + base64.b32hexencode(digest[:16]).decode().rstrip("=")
