"""A sample job, for test messages, examples and previews."""

from dataclasses import replace
from typing import Any

from relay.model import (
    OPERATOR_WORKSPACE,
    DigestEventType,
    Event,
    EventContext,
    EventType,
    Instant,
    event_id,
)

SAMPLE_JOB: dict[str, Any] = {
    "id": "j1o2b3i4d5x6",
    "status": "completed",
    "scenario": {
        "id": "s1c2e3n4a5r6",
        "name": "Discovery Call with IT Director",
        "url": "https://acme-corp.app.exec.com/scenarios/discovery-call-it-director",
    },
    "error": None,
    "created_at": "2024-03-01T10:00:00Z",
    "started_at": "2024-03-01T10:00:05Z",
    "completed_at": "2024-03-01T10:00:45Z",
    "duration_seconds": 40,
}
"""The completed example of Exec's page 'Get Scenario job status'."""

_PROCESSING = SAMPLE_JOB | {"status": "processing", "scenario": None, "completed_at": None, "duration_seconds": None}
_SAMPLES: dict[EventType, dict[str, Any]] = {
    EventType.COMPLETED: SAMPLE_JOB,
    EventType.STARTED: _PROCESSING,
    EventType.FAILED: SAMPLE_JOB
    | {
        "status": "failed",
        "scenario": None,
        "error": {"code": "GENERATION_ERROR", "message": "Unable to generate scenario from the provided prompt"},
    },
    EventType.CANCELLED: _PROCESSING | {"status": "cancelled", "completed_at": "2024-03-01T10:00:45Z"},
    EventType.NOT_FOUND: {"id": SAMPLE_JOB["id"], "status": None},
    EventType.EXPIRED: _PROCESSING,
}


SAMPLE_CONTEXT = EventContext(
    metadata={"deal": "Acme renewal", "team": "sales"},
    requested_by="jane@acme.com",
    prompt="A discovery call with a skeptical IT director",
    usual_seconds=300,
    tracked_seconds=86_400,
)


def sample_digest(now: Instant, page: str | None = None) -> Event:
    """The event of a digest of three scenarios and a cancelled job, with a link to `page`."""
    names = ("Discovery Call with IT Director", "Renewal with a skeptical CFO", "First Call after a Trade Fair", None)
    jobs = [
        {
            "job_id": f"{SAMPLE_JOB['id']}{number}",
            "workspace": "default",
            "event": (EventType.COMPLETED if name else EventType.CANCELLED).value,
            "name": name,
            "url": SAMPLE_JOB["scenario"]["url"] if name else None,
            "page": page,
            "requested_by": SAMPLE_CONTEXT.requested_by,
        }
        for number, name in enumerate(names)
    ]
    id = event_id("default", "digest", DigestEventType.DIGEST)
    return Event(
        id=id,
        workspace=OPERATOR_WORKSPACE,
        job_id=f"digest:{id}",
        type=DigestEventType.DIGEST,
        occurred_at=now,
        job={"counts": {EventType.COMPLETED.value: 3, EventType.CANCELLED.value: 1}, "jobs": jobs},
        created_at=now,
        context=EventContext(page=page),
    )


def sample_event(type: EventType, now: Instant, page: str | None = None) -> Event:
    """The sample job's event, with a link to `page`."""
    job_id = str(SAMPLE_JOB["id"])
    return Event(
        id=event_id("default", job_id, type),
        workspace="default",
        job_id=job_id,
        type=type,
        occurred_at=now,
        job=_SAMPLES[type],
        created_at=now,
        context=replace(SAMPLE_CONTEXT, page=page),
    )


def marked_sample(type: EventType, now: Instant, id: str, by: str | None, **context: Any) -> Event:
    """The sample job's event as it is sent to try an endpoint: the message says that it is a test, and by whom.

    `context` has further fields of its `EventContext`.
    """
    sample = sample_event(type, now)
    return replace(sample, id=id, context=replace(sample.context, test=True, tested_by=by, **context))
