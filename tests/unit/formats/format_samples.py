"""Events for the tests of the formats: Exec's own examples, one of each kind."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from relay.delivery.digest import MAX_LISTED, listed
from relay.model import (
    OPERATOR_WORKSPACE,
    DigestEventType,
    Event,
    EventContext,
    EventType,
    Registration,
    RegistrationStatus,
    event_id,
    from_rfc3339,
)

JOB_ID = "j1o2b3i4d5x6"
SEEN = 1_709_287_500_000
"""2024-03-01T10:05:00Z: when the relay saw what Exec put no time to."""
QUEUED: dict[str, Any] = {
    "id": JOB_ID,
    "status": "queued",
    "scenario": None,
    "error": None,
    "created_at": "2024-03-01T10:00:00Z",
    "started_at": None,
    "completed_at": None,
    "duration_seconds": None,
}
PROCESSING = QUEUED | {"status": "processing", "started_at": "2024-03-01T10:00:05Z"}
COMPLETED = PROCESSING | {
    "status": "completed",
    "scenario": {
        "id": "s1c2e3n4a5r6",
        "name": "Discovery Call with IT Director",
        "url": "https://acme-corp.app.exec.com/scenarios/discovery-call-it-director",
        "slug": "discovery-call-it-director",
    },
    "completed_at": "2024-03-01T10:00:45Z",
    "duration_seconds": 40,
}
FAILED = PROCESSING | {
    "status": "failed",
    "error": {"code": "GENERATION_ERROR", "message": "Unable to generate scenario from the provided prompt"},
    "completed_at": "2024-03-01T10:00:30Z",
    "duration_seconds": 25,
}
JOBS: dict[EventType, dict[str, Any]] = {
    EventType.COMPLETED: COMPLETED,
    EventType.FAILED: FAILED,
    EventType.CANCELLED: PROCESSING | {"status": "cancelled", "completed_at": "2024-03-01T10:02:30Z"},
    EventType.STARTED: PROCESSING,
    EventType.NOT_FOUND: {"id": JOB_ID, "status": None},
    EventType.EXPIRED: PROCESSING,
}

REGISTRATION = Registration(
    id="reg_01HQX0000000000000000000AA",
    workspace="default",
    job_id=JOB_ID,
    endpoint_id="ep_01HQX0000000000000000000AA",
    status=RegistrationStatus.ACTIVE,
    events=tuple(EventType),
    metadata={"course": "Sales 101", "seats": 12, "tags": ["it", "é"]},
    created_at=1_709_287_200_000,
)


CONTEXT = EventContext(
    metadata={"deal": "Acme renewal", "crm": "https://crm.example.com/deals/7?x=1&y=2", "course": "Sales 101"},
    requested_by="jane@acme.com",
    prompt="A discovery call with a skeptical IT director",
    usual_seconds=340,
    tracked_seconds=86_400,
    page=f"https://relay.example.com/jobs/default/{JOB_ID}",
)
"""What two registrations of the job, and the relay, say about it."""


def event(
    type: EventType, job: Mapping[str, Any], workspace: str = "default", context: EventContext | None = None
) -> Event:
    """The event that `job` would make."""
    occurred_at = from_rfc3339(job.get("completed_at")) or SEEN
    return Event(
        id=event_id(workspace, JOB_ID, type),
        workspace=workspace,
        job_id=JOB_ID,
        type=type,
        occurred_at=occurred_at,
        job=job,
        created_at=occurred_at,
        context=context or EventContext(),
    )


def digest(of: Sequence[Event]) -> Event:
    """The event of a digest of these."""
    return Event(
        id="evt_01HQX0000000000000000000DD",
        workspace=OPERATOR_WORKSPACE,
        job_id="digest:evt_01HQX0000000000000000000DD",
        type=DigestEventType.DIGEST,
        occurred_at=SEEN,
        job={"counts": dict(Counter(one.type.value for one in of)), "jobs": [listed(one) for one in of[:MAX_LISTED]]},
        created_at=SEEN,
        context=EventContext(page="https://relay.example.com/deliveries/dlv_01HQX0000000000000000000DD"),
    )


def many(number: int, job: Mapping[str, Any] = COMPLETED, context: EventContext = CONTEXT) -> list[Event]:
    """So many endings, with different jobs and names that begin with the given one's."""
    name, endings = job["scenario"]["name"], []
    for index in range(1, number + 1):
        named = {**job, "scenario": {**job["scenario"], "name": f"{name} {index}" if name else name}}
        endings.append(replace(event(EventType.COMPLETED, named, context=context), job_id=f"{JOB_ID}{index}"))
    return endings
