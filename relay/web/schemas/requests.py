"""Request bodies of the API: they validate requests and describe them in OpenAPI.

A field's description completes "it is ..." in an error about it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SkipValidation, Strict
from pydantic.config import JsonDict

from relay.egress.header_policy import MAX_HEADERS
from relay.model import EventType
from relay.web.schemas.fields import (
    ENDPOINT_DESCRIPTION,
    HTTP_STATUS_DESCRIPTION,
    JOB_ID_DESCRIPTION,
    MAX_METADATA,
    MAX_METADATA_DEPTH,
    METADATA_DESCRIPTION,
    Digest,
    EndpointName,
    EndpointUrl,
    Events,
    Fallback,
    Format,
    Headers,
    HttpStatusFilter,
    JobId,
    Metadata,
    MetadataFilter,
    Quiet,
    Reference,
    RequestedBy,
    Secret,
    Signing,
    Template,
    Time,
    Url,
    Workspace,
)

MAX_BATCH = 1_000
MAX_IDS = 1_000
"""Deliveries that one request names."""
EXAMPLE_JOB = "j1o2b3i4d5x6"

_EVENTS = "a list of the events to notify of; left out: the endings of a job (all but job.started)"
_FORMAT = "the format of the body; `auto`, which is the default, chooses by the URL's host"
_TEMPLATE = (
    "an object, the body to send instead of a format's, its texts with placeholders such as {{ job.scenario.name }}"
)
_SIGNED_BY = (
    "the secret that signs the notifications: whsec_ and the base64 of 24 to 64 bytes, or whsk_ and that of an Ed25519 "
    "key of 32; left out: the relay creates one"
)
_SIGNING = (
    "`hmac`, which is the default: with a secret that both sides hold; `ed25519`: with a key that only the relay "
    "holds, the receiver verifies with the endpoint's public_key"
)
_HEADERS = f"an object of at most {MAX_HEADERS} headers that every notification carries, such as Authorization"
_QUIET = (
    "a daily window in which news of success are held, such as `22:00-07:00 Europe/Berlin`; failures pass; only for "
    "chats and e-mail"
)
_DIGEST = (
    "how long news of success are gathered into one message, such as `5m`, from 10s to 24h; failures pass; only for "
    "chats and e-mail"
)
_FALLBACK = "the name of another endpoint, which gets what finally failed at this one"
_ENDPOINT_URL = "the https:// URL that is notified; `pull:` if nothing is sent and the subscriber reads the feed"
_NAME = "a name of 1 to 63 lower-case letters, digits, - or _"
_METADATA = (
    f"an object of your own, part of every notification about the job: at most {MAX_METADATA // 1024} KiB as JSON, "
    f"{MAX_METADATA_DEPTH} deep"
)
_REQUESTED_BY = (
    "the e-mail address or the name of who wants the scenario, part of every notification about the job; left out: the "
    "text requested_by of the metadata"
)
_EXEC_CALLBACK = (
    "true if the job was created with this relay's callback_url: then it is polled when Exec calls back, and before "
    "that rarely, in case the callback is lost"
)


def _is_given(name: str) -> JsonDict:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def _must_be(name: str, schema: JsonDict) -> JsonDict:
    return {"properties": {name: schema}}


# With if and then, which generators of clients pass over: of an anyOf they make one class for each of its options.
SECRET_XOR_SIGNING: JsonDict = {"if": _is_given("secret"), "then": _must_be("signing", {"type": "null"})}
"""Either a secret, or how the relay's new secret signs."""
_FORMAT_OR_TEMPLATE: JsonDict = {"if": _is_given("template"), "then": _must_be("format", {"enum": ["auto", None]})}
"""A template is a format of its own."""
_URL_XOR_HOOK_URL: JsonDict = {
    "if": _is_given("url"),
    "then": _must_be("hookUrl", {"type": "null"}),
    "else": _is_given("hookUrl"),
}
"""One URL, by either name."""
_IDS_OR_STATUS: JsonDict = {"if": _is_given("ids"), "else": _is_given("status")}
"""Named deliveries, or how they ended."""


def _integral_float(value: object) -> object:
    """2.0 is an integer in JSON Schema, so it is one here."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class RequestModel(BaseModel):
    """A JSON body: no unknown names, no text in place of a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class RegistrationRequest(RequestModel):
    """Registers a job: for `callback_url`, for a known `endpoint`, or with neither for the standing endpoints."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "job_id": EXAMPLE_JOB,
                "callback_url": "https://hooks.slack.com/services/T000/B000/XXXX",
                "metadata": {"team": "sales"},
            },
            **SECRET_XOR_SIGNING,
        }
    )
    job_id: JobId = Field(description=JOB_ID_DESCRIPTION)
    callback_url: Url | None = Field(None, description="the https:// URL that is notified")
    endpoint: Reference | None = Field(None, description=f"{ENDPOINT_DESCRIPTION}, instead of callback_url")
    format: Format = Field("auto", description=_FORMAT)
    events: Events | None = Field(None, description=_EVENTS)
    secret: Secret | None = Field(None, description=_SIGNED_BY)
    signing: Signing | None = Field(None, description=_SIGNING)
    headers: Headers = Field(default_factory=dict, description=_HEADERS)
    metadata: Metadata = Field(default_factory=dict, description=_METADATA)
    requested_by: RequestedBy | None = Field(None, description=_REQUESTED_BY)
    workspace: Workspace | None = Field(None, description="the Exec workspace, if the relay has several")
    exec_callback: bool = Field(False, description=_EXEC_CALLBACK)


def _anything(schema: JsonDict) -> None:
    """A batch in OpenAPI: its items should be registrations, and a wrong item fails by itself."""
    schema["items"] = {"anyOf": [schema["items"], {}]}


class BatchRequest(RequestModel):
    """Many registrations at once. Each is validated by itself: a wrong one does not affect the others."""

    # guard: batch-size
    registrations: Annotated[list[SkipValidation[RegistrationRequest]], Field(min_length=1, max_length=MAX_BATCH)] = (
        Field(
            description=f"a list of 1 to {MAX_BATCH:,} registrations, each as POST /v1/registrations takes it",
            json_schema_extra=_anything,
        )
    )


class ExecCallback(BaseModel):
    """Exec's ended job. Only its id is read; a poll of Exec confirms the rest."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": {"id": EXAMPLE_JOB, "status": "completed"}})
    id: JobId = Field(description=JOB_ID_DESCRIPTION)


class EndpointRequest(RequestModel):
    """A standing endpoint, notified of every job. Its URL is `url`, or `hookUrl` as Zapier sends it."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [_FORMAT_OR_TEMPLATE, SECRET_XOR_SIGNING, _URL_XOR_HOOK_URL],
            "example": {"name": "sales-channel", "url": "https://hooks.slack.com/services/T000/B000/XXXX"},
        }
    )
    name: EndpointName | None = Field(None, description=_NAME)
    url: EndpointUrl | None = Field(None, description=_ENDPOINT_URL)
    hookUrl: Url | None = Field(None, description="the same, by Zapier's name for it")
    format: Format = Field("auto", description=_FORMAT)
    template: Template | None = Field(None, description=_TEMPLATE)
    events: Events | None = Field(None, description=_EVENTS)
    secret: Secret | None = Field(None, description=_SIGNED_BY)
    signing: Signing | None = Field(None, description=_SIGNING)
    headers: Headers = Field(default_factory=dict, description=_HEADERS)
    quiet: Quiet | None = Field(None, description=_QUIET)
    digest: Digest | None = Field(None, description=_DIGEST)
    fallback: Fallback | None = Field(None, description=_FALLBACK)


class EndpointChange(RequestModel):
    """The fields to change; omitted ones stay the same."""

    model_config = ConfigDict(
        json_schema_extra={"minProperties": 1, "example": {"events": ["job.failed"]}, **_FORMAT_OR_TEMPLATE}
    )
    name: EndpointName | None = Field(None, description=_NAME)
    url: EndpointUrl | None = Field(None, description=_ENDPOINT_URL)
    format: Format | None = Field(None, description=_FORMAT)
    template: Template | None = Field(None, description=_TEMPLATE)
    events: Events | None = Field(None, description=_EVENTS)
    headers: Headers | None = Field(None, description=f"{_HEADERS}; it replaces all present headers")
    quiet: Quiet | None = Field(None, description=f"{_QUIET}; empty: none")
    digest: Digest | None = Field(None, description=f"{_DIGEST}; empty: none")
    fallback: Fallback | None = Field(None, description=f"{_FALLBACK}; empty: none")


class RotateRequest(RequestModel):
    """A new secret: the given one, or one that the relay creates."""

    model_config = ConfigDict(json_schema_extra=dict(SECRET_XOR_SIGNING))

    secret: Secret | None = Field(None, description=_SIGNED_BY)
    signing: Signing | None = Field(None, description=f"{_SIGNING}; left out: as before")


class EndpointTestRequest(RequestModel):
    """Which sample event is sent."""

    model_config = ConfigDict(json_schema_extra={"example": {"event": "job.failed"}})

    event: Annotated[EventType, Strict(False)] | None = Field(
        None, description="the kind of the sample event; left out: job.completed"
    )


class ReplayRequest(RequestModel):
    """What of an endpoint's deliveries is sent to it again."""

    model_config = ConfigDict(json_schema_extra={"example": {"since": "2026-03-01T02:00:00Z", "dry_run": True}})
    since: Time = Field(description="the earliest time of delivery")
    until: Time | None = Field(None, description="the time before which it was delivered; left out: now")
    dry_run: bool = Field(False, description="true to count them and send nothing")


class ResendRequest(RequestModel):
    """Filter of the ended deliveries to send again."""

    model_config = ConfigDict(
        json_schema_extra={
            **_IDS_OR_STATUS,
            "example": {"status": "failed", "since": "2026-03-01T10:00:00Z", "dry_run": True},
        }
    )
    status: Literal["failed", "delivered"] | None = Field(
        None, description="how they ended; `delivered` is for a receiver that lost them; needed unless `ids` are given"
    )
    ids: Annotated[list[Reference], Field(min_length=1, max_length=MAX_IDS)] | None = Field(
        None, description=f"only these deliveries, {MAX_IDS:,} at most"
    )
    job_id: JobId | None = Field(None, description=JOB_ID_DESCRIPTION)
    endpoint: Reference | None = Field(None, description=ENDPOINT_DESCRIPTION)
    since: Time | None = Field(None, description="the earliest time of the delivery's creation")
    until: Time | None = Field(None, description="the time before which the delivery was created")
    event_type: Annotated[EventType, Strict(False)] | None = Field(None, description="the kind of event")
    workspace: Workspace | None = Field(None, description="the Exec workspace")
    http_status: HttpStatusFilter | None = Field(None, description=HTTP_STATUS_DESCRIPTION)
    metadata: MetadataFilter | None = Field(None, description=METADATA_DESCRIPTION)
    ended_by: Time | None = Field(None, description="the time by which it ended; left out: now")
    limit: Annotated[int, Strict(), Field(ge=1, le=10_000), BeforeValidator(_integral_float)] | None = Field(
        None, description="deliveries at most, 1 to 10,000; left out: all"
    )
    dry_run: bool = Field(False, description="true to count them and send nothing")
