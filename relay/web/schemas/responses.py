"""What is answered: the values of the API as JSON. `showing.py` makes them of the relay's own."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from relay.model import (
    AnyEventType,
    DeliveryStatus,
    EndpointKind,
    EventType,
    Instant,
    RegistrationStatus,
    WatchState,
    to_rfc3339,
)
from relay.signing.standard_webhooks import SignatureScheme

Time = Annotated[
    Instant, PlainSerializer(to_rfc3339, return_type=str), WithJsonSchema({"type": "string", "format": "date-time"})
]

_TRACE_ID = "ties a registration to its deliveries in the relay's log; that of the request's traceparent, if one came"


class ResponseModel(BaseModel):
    """A field that was not set is left out."""

    model_config = ConfigDict(frozen=True)


class EndpointSummary(ResponseModel):
    """An endpoint, as those who point to it show it."""

    id: str
    name: str = Field(default="", description="only where it has one")
    url: str | None = Field(description="masked; null where the endpoint was removed")
    format: str | None
    enabled: bool = Field(
        default=True, description="only where it is false: what is to be sent there is held until it is enabled again"
    )
    disabled_reason: str | None = Field(default=None, description="only where it is disabled")
    public_key: str = Field(
        default="", description="only where the endpoint signs with Ed25519: whpk_..., verifies what it is sent"
    )
    secret: str = Field(
        default="", description="only when the endpoint was made by this call: keep it, it is not shown again"
    )


class RegistrationResponse(ResponseModel):
    """One job × one endpoint; `endpoint` is null where the job is watched for the standing endpoints only."""

    id: str
    job_id: str
    workspace: str
    status: RegistrationStatus
    endpoint: EndpointSummary | None
    events: list[EventType]
    metadata: dict[str, Any]
    created_at: Time
    trace_id: str | None = Field(description=_TRACE_ID)


class RegistrationList(ResponseModel):
    data: list[RegistrationResponse]
    next_cursor: str | None


class ErrorDetail(ResponseModel):
    """Exec's own error envelope, and the field at fault where it is one."""

    type: str
    code: str
    message: str
    field: str = ""


class ErrorResponse(ResponseModel):
    error: ErrorDetail


class BatchResult(ResponseModel):
    """What became of one item: 201 or 200 with its registration, else its error."""

    status: int
    registration: RegistrationResponse | None = None
    error: ErrorDetail | None = None


class BatchResponse(ResponseModel):
    """One result for each item, in the order of the items."""

    data: list[BatchResult]


class EndpointResponse(ResponseModel):
    """A subscriber, its filter and its health."""

    id: str
    name: str | None
    kind: EndpointKind
    source: str = Field(description="`config` or `api`: one of the configuration is changed there only")
    url: str = Field(description="masked")
    format: str
    template: dict[str, Any] | None = Field(description="of the format `template`: the body, with its placeholders")
    events: list[EventType]
    signing: SignatureScheme
    public_key: str | None = Field(description="whpk_...: verifies what an endpoint that signs with Ed25519 is sent")
    header_names: list[str]
    enabled: bool
    disabled_at: Time | None
    disabled_reason: str | None
    paused_until: Time | None
    failing_since: Time | None = Field(description="the first failed attempt since the last success")
    failures: int = Field(description="failed attempts since the last success")
    created_at: Time
    secret: str = Field(default="", description="only when it was made by this call: keep it, it is not shown again")
    old_secret_until: Time = Field(default=0, description="only after a rotation: how long the old secret signs too")
    released: int = Field(default=0, description="only after enabling: deliveries that were held and are due now")


class EndpointList(ResponseModel):
    data: list[EndpointResponse]
    next_cursor: str | None


class EventResponse(ResponseModel):
    """A fact about a job."""

    id: str = Field(description="the webhook-id of every notification of it")
    type: AnyEventType
    workspace: str
    job_id: str
    occurred_at: Time = Field(description="when it happened, by Exec where Exec says so")
    created_at: Time = Field(description="when the relay learned of it")
    body: dict[str, Any] = Field(description="what a standing endpoint of the format that was asked for is sent")


class EventList(ResponseModel):
    data: list[EventResponse]
    next_cursor: str | None


class PublicKeys(ResponseModel):
    """What verifies the notifications of one endpoint."""

    public_keys: list[str] = Field(description="whpk_..., the newest first; none where a shared secret signs")


class DeliveryResponse(ResponseModel):
    """One event × one endpoint."""

    id: str
    event_id: str = Field(description="the webhook-id of every attempt")
    event_type: AnyEventType
    workspace: str
    job_id: str
    endpoint: EndpointSummary
    registration_id: str | None
    status: DeliveryStatus
    held: bool = Field(description="pending until its disabled endpoint is enabled")
    attempts: int
    created_at: Time
    next_attempt_at: Time | None
    ended_at: Time | None
    reason: str | None
    trace_id: str | None = Field(description=_TRACE_ID)


class DeliveryList(ResponseModel):
    data: list[DeliveryResponse]
    next_cursor: str | None


class AttemptResponse(ResponseModel):
    """One HTTP try."""

    id: str
    number: int
    trigger: str = Field(description="`schedule`, `resend` or `test`")
    started_at: Time
    duration_ms: int
    status_code: int | None
    outcome: str = Field(description="`delivered`, or the kind of failure")
    error: str | None
    response: str = Field(description="the first 4 KiB of the answer")


class DeliveryDetail(DeliveryResponse):
    """A delivery with what was sent and every attempt."""

    body: str = Field(description="what every attempt sends, byte for byte")
    attempt_log: list[AttemptResponse]


class PollResponse(ResponseModel):
    """One GET of the job's status at Exec."""

    at: Time
    duration_ms: int
    outcome: str
    detail: str


class JobResponse(ResponseModel):
    """What the relay knows of a job; asking costs Exec nothing."""

    job_id: str
    workspace: str
    state: WatchState
    job: dict[str, Any] | None = Field(description="Exec's job as last seen, unchanged; null before a good poll")
    polls: int
    last_poll_at: Time | None
    next_poll_at: Time | None
    next_poll_reason: str
    last_error: str | None
    exec_callback: bool = Field(description="whether Exec is to call back when it ends; then polls are for safety")
    callback_received_at: Time | None = Field(description="when Exec's callback was last heeded")
    created_at: Time
    ended_at: Time | None


class JobList(ResponseModel):
    data: list[JobResponse]
    next_cursor: str | None


class ResendResponse(ResponseModel):
    count: int = Field(description="deliveries that are sent again, or would be")
    remaining: int = Field(description="deliveries that `limit` left for another request")
    skipped: int = Field(description="deliveries left alone because their endpoint is disabled or was removed")
    dry_run: bool
    as_of: Time = Field(description="deliveries that ended by then are meant; `ended_by` of a further request")


class Health(ResponseModel):
    status: str


class CheckResponse(ResponseModel):
    name: str
    ok: bool
    text: str


class ReadinessResponse(ResponseModel):
    """Whether the relay can do its work, and where not, why."""

    status: str = Field(description="`ready` or `not_ready`")
    checks: list[CheckResponse]


class About(ResponseModel):
    name: str
    version: str
    links: dict[str, str]
