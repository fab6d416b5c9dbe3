"""`standard`: Standard Webhooks' own shape, with Exec's job in it exactly as Exec sent it."""

from relay.formats.base import Format
from relay.model import Event, Registration, to_rfc3339


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"type", "timestamp": <when it happened>, "data": {"message", "workspace", "endpoint"}}` for the operator; else
    `{"type", "timestamp": <when it happened>, "data": {"job", "registration": {"id", "metadata"} | null,
    "workspace"}}`."""
    if event.is_for_operator:
        return {"type": event.type.value, "timestamp": to_rfc3339(event.occurred_at), "data": dict(event.job)}
    registered = {"id": registration.id, "metadata": dict(registration.metadata)} if registration else None
    return {
        "type": event.type.value,
        "timestamp": to_rfc3339(event.occurred_at),
        "data": {"job": dict(event.job), "registration": registered, "workspace": event.workspace},
    }


FORMAT = Format(body=body)
