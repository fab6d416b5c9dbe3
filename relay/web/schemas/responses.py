"""Response bodies of the API. `presenters.py` makes them of stored rows."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from relay.model import (
    AnyEventType,
    AuditAction,
    DeliveryStatus,
    EndpointKind,
    EventType,
    Instant,
    RegistrationStatus,
    Via,
    WatchState,
    to_rfc3339,
)
from relay.signing import SignatureScheme

Time = Annotated[
    Instant, PlainSerializer(to_rfc3339, return_type=str), WithJsonSchema({"type": "string", "format": "date-time"})
]

_TRACE_ID = (
    "the trace of a registration and its deliveries in the log; that of the request's traceparent, if it had one"
)


class ResponseModel(BaseModel):
    """Fields that are not set are left out."""

    model_config = ConfigDict(frozen=True)


class EndpointSummary(ResponseModel):
    """An endpoint, as part of a registration or delivery."""

    id: str
    name: str = Field(default="", description="only if it has one")
    url: str | None = Field(description="masked; null if the endpoint was removed")
    format: str | None
    enabled: bool = Field(
        default=True, description="only if it is false: its deliveries are held until it is enabled again"
    )
    disabled_reason: str | None = Field(default=None, description="only if it is disabled")
    public_key: str = Field(
        default="", description="only if the endpoint signs with Ed25519: whpk_..., which verifies its notifications"
    )
    secret: str = Field(
        default="", description="only if this call created the endpoint: keep it, it is not shown again"
    )


class RegistrationResponse(ResponseModel):
    """One job × one endpoint; `endpoint` is null if the job is polled for the standing endpoints only."""

    id: str
    job_id: str
    workspace: str
    status: RegistrationStatus
    endpoint: EndpointSummary | None
    events: list[EventType]
    metadata: dict[str, Any]
    requested_by: str | None = Field(None, description="who wants the scenario")
    created_at: Time
    trace_id: str | None = Field(description=_TRACE_ID)
    endpoints: list[str] = Field(
        default=[],
        description="only if the call registers a job without an endpoint: ids of the standing endpoints",
    )
    warning: str = Field(default="", description="only if the call registers a job and nothing is notified for now")


class RegistrationList(ResponseModel):
    data: list[RegistrationResponse]
    next_cursor: str | None


class ErrorDetail(ResponseModel):
    """Exec's own error envelope, with the wrong field if there is one."""

    type: str
    code: str
    message: str
    field: str = ""
    oldest_cursor: str = Field(default="", description="only with `cursor_gone`: goes on with the oldest stored event")
    newest_cursor: str = Field(default="", description="only with `cursor_gone`: goes on with events from now on")


class ErrorResponse(ResponseModel):
    error: ErrorDetail


class BatchResult(ResponseModel):
    """The result of one item: 201 or 200 with its registration, else its error."""

    status: int
    registration: RegistrationResponse | None = None
    error: ErrorDetail | None = None


class BatchResponse(ResponseModel):
    """One result for each item, in the order of the items."""

    data: list[BatchResult]


class AttemptCounts(ResponseModel):
    """How many attempts there were, and how many succeeded."""

    attempts: int
    succeeded: int


class EndpointResponse(ResponseModel):
    """A subscriber, its filter and its health."""

    id: str
    name: str | None
    kind: EndpointKind
    source: str = Field(description="`config` or `api`: an endpoint of the configuration is changed there only")
    url: str = Field(description="masked; `pull:` if nothing is sent and the subscriber reads the feed")
    format: str
    template: dict[str, Any] | None = Field(description="the body with its placeholders, in the format `template`")
    events: list[EventType]
    signing: SignatureScheme
    public_key: str | None = Field(
        description="whpk_..., which verifies the notifications of an endpoint that signs with Ed25519"
    )
    header_names: list[str]
    quiet: str | None = Field(description="when news of success are held")
    digest: str | None = Field(description="how long news of success are gathered into one message")
    fallback: str | None = Field(description="the endpoint that gets what finally failed at this one")
    enabled: bool
    disabled_at: Time | None
    disabled_reason: str | None
    paused_until: Time | None
    failing_since: Time | None = Field(description="the first failed attempt since the last success")
    failures: int = Field(description="failed attempts since the last success")
    created_at: Time
    last_day: AttemptCounts | None = Field(
        default=None,
        description="only in lists: the attempts of the last 24 hours, of its 200 newest deliveries",
    )
    secret: str = Field(default="", description="only if this call created it: keep it, it is not shown again")
    old_secret_until: Time = Field(default=0, description="only after a rotation: until when the old secret signs too")
    released: int = Field(default=0, description="only after enabling: held deliveries that are due now")


class EndpointList(ResponseModel):
    data: list[EndpointResponse]
    next_cursor: str | None


class SignedEvent(ResponseModel):
    """What a notification of the event would be: verify `headers` with `body`, byte for byte, as a receiver does."""

    headers: dict[str, str] = Field(description="webhook-id, webhook-timestamp and webhook-signature")
    body: str = Field(description="the signed text; parsed and written again, it would have another signature")


class EventResponse(ResponseModel):
    """A fact about a job."""

    id: str = Field(description="the webhook-id of every notification of it")
    type: AnyEventType
    workspace: str
    job_id: str
    occurred_at: Time = Field(description="when it happened, by Exec's clock if known")
    created_at: Time = Field(description="when the relay learned of it")
    body: dict[str, Any] = Field(description="the body for a standing endpoint, in the requested format")
    cursor: str = Field(default="", description="only with `after` and in streams: goes on after this event")
    signed: SignedEvent | None = Field(default=None, description="only with `endpoint`")


class EventList(ResponseModel):
    data: list[EventResponse]
    next_cursor: str | None = Field(description="the next page's `cursor`, null on the last; with `after` the next")
    wait: int = Field(default=0, description="only with `after` and `wait`: the seconds that were granted")


class PublicKeys(ResponseModel):
    """The public keys that verify notifications of one endpoint."""

    public_keys: list[str] = Field(description="whpk_..., the newest first; empty if a shared secret signs")


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
    digest_id: str | None = Field(description="the delivery of the digest that sends it with others")
    attempts: int
    http_status: int | None = Field(description="the HTTP status of the last attempt; null without a response")
    created_at: Time
    next_attempt_at: Time | None
    ended_at: Time | None
    reason: str | None
    trace_id: str | None = Field(description=_TRACE_ID)


class DeliveryList(ResponseModel):
    data: list[DeliveryResponse]
    next_cursor: str | None


class AttemptResponse(ResponseModel):
    """One HTTP request of a delivery."""

    id: str
    number: int
    trigger: str = Field(description="`schedule`, `resend`, `replay` or `test`")
    triggered_by: str | None = Field(description="the name of the API key that asked for it; null for the schedule")
    started_at: Time
    duration_ms: int
    status_code: int | None
    outcome: str = Field(description="`delivered`, or the kind of failure")
    error: str | None
    response: str = Field(description="the first 4 KiB of the response")


class DeliveryDetail(DeliveryResponse):
    """A delivery with its body and every attempt."""

    body: str = Field(description="the body of every attempt, byte for byte")
    attempt_log: list[AttemptResponse]


class PollResponse(ResponseModel):
    """One GET of the job's status at Exec."""

    at: Time
    duration_ms: int
    outcome: str
    detail: str


class JobResponse(ResponseModel):
    """A job as the relay knows it, without a request to Exec."""

    job_id: str
    workspace: str
    state: WatchState
    ended: bool = Field(
        description="whether the relay polls the job no more: it ended, or the state says why; while it is false, wait "
        "on, whatever Exec's status is"
    )
    job: dict[str, Any] | None = Field(
        description="Exec's job as last polled, unchanged; null before a successful poll"
    )
    polls: int
    last_poll_at: Time | None
    next_poll_at: Time | None
    next_poll_reason: str
    last_error: str | None
    exec_callback: bool = Field(description="whether Exec calls back when it ends; polls are a fallback then")
    callback_received_at: Time | None = Field(description="when Exec's callback last caused a poll")
    created_at: Time
    ended_at: Time | None
    unknown_status: str = Field(
        default="",
        description="only if Exec's status is one that the relay does not know: the job is polled until its status is "
        "completed, failed or cancelled",
    )


class JobList(ResponseModel):
    data: list[JobResponse]
    next_cursor: str | None


class ResendResponse(ResponseModel):
    count: int = Field(description="deliveries that are sent again, or would be without `dry_run`")
    remaining: int = Field(description="deliveries beyond `limit`, for another request")
    skipped: int = Field(description="deliveries skipped because their endpoint is disabled or removed")
    dry_run: bool
    as_of: Time = Field(description="deliveries that ended by this time are included; `ended_by` of a further request")


class AuditEntryResponse(ResponseModel):
    """One act."""

    id: str
    at: Time
    action: AuditAction
    via: Via = Field(description="the way by which somebody acted; `command`: a command on the store itself")
    key: str | None = Field(description="the name of the API key that authorised it, as it was then")
    key_id: str | None = Field(
        description="the id of the key; `configuration` for one of the file, `local` for the token of a relay without "
        "keys"
    )
    user: str | None = Field(description="the person, as a proxy or the operating system names them")
    address: str | None = Field(description="the address of the client")
    target: str | None = Field(description="the id of what it was done to")
    name: str | None = Field(description="the name that it had then")
    detail: dict[str, Any] = Field(description="counts, names of changed fields, filters; never a URL or a secret")


class AuditList(ResponseModel):
    data: list[AuditEntryResponse]
    next_cursor: str | None


class SendingResponse(ResponseModel):
    """Whether deliveries are sent."""

    suspended: bool
    since: Time | None = Field(description="since when nothing is sent; null if deliveries are sent")
    reason: str | None = Field(description="why nothing is sent")
    waiting: int = Field(description="deliveries that wait, counted up to 100,000; 0 if deliveries are sent")


class DiscardResponse(ResponseModel):
    discarded: int = Field(description="deliveries that are cancelled")


class ReplayPreview(ResponseModel):
    count: int = Field(description="deliveries that a replay would send again")


class ReplayResponse(ResponseModel):
    """What was delivered to an endpoint, sent to it again."""

    id: str
    endpoint_id: str
    triggered_by: str | None = Field(description="the name of the API key that asked for it")
    since: Time
    until: Time
    created_at: Time
    sent: int = Field(description="deliveries that were made due again so far")
    ended_at: Time | None
    reason: str | None = Field(description="why it ended before its end; null if it did not")


class ReplayList(ResponseModel):
    data: list[ReplayResponse]


class Health(ResponseModel):
    status: str


class CheckResponse(ResponseModel):
    name: str
    ok: bool
    text: str


class ReadinessResponse(ResponseModel):
    """Whether the relay can do its work, and why if not."""

    status: str = Field(description="`ready` or `not_ready`")
    checks: list[CheckResponse]


class About(ResponseModel):
    name: str
    version: str
    links: dict[str, str]
