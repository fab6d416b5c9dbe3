"""`standard`: the body of Standard Webhooks, with Exec's job exactly as Exec sent it."""

from relay.formats.base import Format
from relay.formats.flat import all_metadata
from relay.model import Event, Registration, to_rfc3339


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"type", "timestamp": <when it happened>, "data": {"message", "workspace", "endpoint"}}` for the operator,
    `"data": {"counts", "jobs"}` for a digest; else
    `{"type", "timestamp": <when it happened>, "data": {"job", "registration": {"id", "metadata"} | null, "metadata",
    "requested_by", "prompt", "workspace", "job_page", "test", "replaces": {"event_id", "type"} | null}}`."""
    if not event.is_about_job:
        return {"type": event.type.value, "timestamp": to_rfc3339(event.occurred_at), "data": dict(event.job)}
    registered = {"id": registration.id, "metadata": dict(registration.metadata)} if registration else None
    return {
        "type": event.type.value,
        "timestamp": to_rfc3339(event.occurred_at),
        "data": {
            "job": dict(event.job),
            "registration": registered,
            "metadata": all_metadata(event, registration),
            "requested_by": event.context.requested_by,
            "prompt": event.context.prompt,
            "workspace": event.workspace,
            "job_page": event.context.page,
            "test": event.context.test,
            "replaces": replaces(event),
        },
    }


def replaces(event: Event) -> dict[str, str] | None:
    """`{"event_id", "type"}` of the relay's own ending that the event replaces."""
    replaced = event.replaces
    return {"event_id": replaced.event_id, "type": replaced.type.value} if replaced else None


FORMAT = Format(body=body)
