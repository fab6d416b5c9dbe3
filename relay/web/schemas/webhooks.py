"""What subscribers are sent in the format `standard`, as the OpenAPI document describes it under `webhooks`.

Nothing is made of these models: `relay.formats.standard` makes the bodies, and a test holds both together.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from relay.model import EventType, OperatorEventType

EVENT_DESCRIPTIONS = {
    EventType.STARTED: "Exec has begun to work on the job; only for whoever asks for it in `events`",
    EventType.COMPLETED: "the scenario is there",
    EventType.FAILED: "Exec could not make the scenario; `error` says why",
    EventType.CANCELLED: "somebody cancelled the job at Exec",
    EventType.NOT_FOUND: "Exec does not know the job, on three polls over at least two minutes",
    EventType.EXPIRED: "the job has not ended within `polling.max_age` (24 hours)",
}
"""Of each event, in words."""

OPERATOR_EVENT_DESCRIPTIONS = {
    OperatorEventType.KEY_REFUSED: "Exec refuses the API key of a workspace",
    OperatorEventType.UNREACHABLE: "Exec is unreachable, answers with errors, or something else answers in its place",
    OperatorEventType.BUDGET_EXHAUSTED: "the requests of a workspace are used up: the relay's budget or Exec's limit",
    OperatorEventType.ENDPOINT_FAILING: "ten attempts in a row failed at an endpoint, or half of "
    "`delivery.disable_after` is over without a success",
    OperatorEventType.ENDPOINT_DISABLED: "an endpoint is disabled, by the relay or by hand; its deliveries are held",
    OperatorEventType.DELIVERY_FAILED: "a delivery failed for good; the first of an endpoint within an hour",
    OperatorEventType.RECOVERED: "one of these is over",
}
"""What each operator event means."""

_HEADERS = {
    "webhook-id": "the event's id, the same on every retry and resend: what to deduplicate by",
    "webhook-timestamp": "when this attempt was signed, seconds since 1970",
    "webhook-signature": "one or several of `v1,BASE64` (or `v1a,BASE64`), separated by spaces; Standard Webhooks 1.0",
}


class _OpenModel(BaseModel):
    model_config = ConfigDict(extra="allow")


class WebhookScenario(_OpenModel):
    """The scenario that Exec made."""

    id: str | None = None
    name: str | None = None
    url: str | None = None


class WebhookError(_OpenModel):
    """Why Exec made none."""

    code: str | None = Field(None, description="`GENERATION_ERROR`, `CONTENT_POLICY_VIOLATION`, ...: an open set")
    message: str | None = None


class WebhookJob(_OpenModel):
    """Exec's job as Exec sent it, with whatever fields it has beyond these."""

    id: str
    status: str | None = Field(description="as Exec last said; null where Exec never did")
    scenario: WebhookScenario | None = Field(None, description="once the job completed")
    error: WebhookError | None = Field(None, description="where the job failed")
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    duration_seconds: float | None = None


class WebhookRegistration(BaseModel):
    """Who asked."""

    id: str
    metadata: dict[str, Any] = Field(description="what the registration brought")


class WebhookData(BaseModel):
    """What the event is about."""

    job: WebhookJob
    registration: WebhookRegistration | None = Field(description="null for a standing endpoint")
    workspace: str


class Notification(BaseModel):
    """An event, as the format `standard` tells it."""

    type: Literal["job.started", "job.completed", "job.failed", "job.cancelled", "job.not_found", "job.expired"]
    timestamp: str = Field(description="when it happened: RFC 3339, in UTC", json_schema_extra={"format": "date-time"})
    data: WebhookData


def webhooks(schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI's `webhooks`: a request for each event, its body as `schema` has it."""
    return {type.value: {"post": _request(type, schema)} for type in EventType}


def _request(type: EventType, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": "on" + "".join(word.capitalize() for word in type.name.split("_")),
        "tags": ["webhooks"],
        "summary": f"{EVENT_DESCRIPTIONS[type][0].upper()}{EVENT_DESCRIPTIONS[type][1:]}.",
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for name, text in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "2XX": {"description": "Taken. Anything else is tried again, or as the documentation says."},
            "410": {"description": "No more, please: the endpoint is disabled."},
        },
        "security": [],
    }
