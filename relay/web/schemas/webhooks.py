"""Notifications in the format `standard`, for the `webhooks` of the OpenAPI document.

These models only describe: `relay.formats.standard` makes the bodies, and a test compares both.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from relay.model import EventType, OperatorEventType

EVENT_DESCRIPTIONS = {
    EventType.STARTED: "Exec has started the job; only sent if `events` names it",
    EventType.COMPLETED: "the scenario is ready",
    EventType.FAILED: "Exec could not create the scenario; `error` says why",
    EventType.CANCELLED: "the job was cancelled at Exec",
    EventType.NOT_FOUND: "Exec does not know the job, on three polls over at least two minutes",
    EventType.EXPIRED: "the job has not ended within `polling.max_age` (24 hours)",
}
"""Descriptions of the events."""

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
    """The scenario that Exec created."""

    id: str | None = None
    name: str | None = None
    url: str | None = None


class WebhookError(_OpenModel):
    """Why Exec created none."""

    code: str | None = Field(None, description="`GENERATION_ERROR`, `CONTENT_POLICY_VIOLATION`, ...: an open set")
    message: str | None = None


class WebhookJob(_OpenModel):
    """Exec's job as Exec sent it, including fields that are not listed here."""

    id: str
    status: str | None = Field(description="Exec's last status; null if there was none")
    scenario: WebhookScenario | None = Field(None, description="once the job completed")
    error: WebhookError | None = Field(None, description="if the job failed")
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    duration_seconds: float | None = None


class WebhookRegistration(BaseModel):
    """The registration that the notification belongs to."""

    id: str
    metadata: dict[str, Any] = Field(description="the metadata of the registration")


class WebhookReplacedEvent(BaseModel):
    """An ending that the relay reported before, and that turned out to be wrong."""

    event_id: str = Field(description="the `webhook-id` of its notifications")
    type: Literal["job.not_found", "job.expired"]


class WebhookData(BaseModel):
    """The job of the event, and the registration."""

    job: WebhookJob
    registration: WebhookRegistration | None = Field(description="null for a standing endpoint")
    metadata: dict[str, Any] = Field(
        description="the metadata of all registrations of the job; of one key the newest value, or the endpoint's own"
    )
    requested_by: str | None = Field(description="who wants the scenario: an e-mail address or a name")
    prompt: str | None = Field(description="the beginning of the prompt, if the relay created the job")
    workspace: str
    job_page: str | None = Field(description="the URL of the job's page in the relay, if server.public_url is set")
    test: bool = Field(description="true for a sample that somebody sent to try the endpoint")
    replaces: WebhookReplacedEvent | None = Field(
        description="the earlier `job.not_found` or `job.expired` of the job, if this is its real ending; else null"
    )


class Notification(BaseModel):
    """An event in the format `standard`."""

    type: Literal["job.started", "job.completed", "job.failed", "job.cancelled", "job.not_found", "job.expired"]
    timestamp: str = Field(description="when it happened: RFC 3339, in UTC", json_schema_extra={"format": "date-time"})
    data: WebhookData


def webhooks(schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI's `webhooks`: a request for each event, with `schema` as its body."""
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
            "2XX": {"description": "Accepted. Other responses are retried, or as the documentation says."},
            "410": {"description": "Gone: the endpoint is disabled."},
        },
        "security": [],
    }
