"""What may be asked: the bodies of the API. They validate requests and are its OpenAPI.

A field's description completes "it is ..." in an error about it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SkipValidation, Strict
from pydantic.config import JsonDict

from relay.egress.header_policy import MAX_HEADERS
from relay.web.schemas.fields import (
    ENDPOINT_DESCRIPTION,
    JOB_ID_DESCRIPTION,
    METADATA_DEPTH,
    METADATA_MOST,
    EndpointName,
    Events,
    Format,
    Headers,
    JobId,
    Metadata,
    Reference,
    Secret,
    Signing,
    Template,
    Time,
    Url,
    Workspace,
)

BATCH_MOST = 1_000
EXAMPLE_JOB = "j1o2b3i4d5x6"

_EVENTS = "a list of the events to hear of; left out: the endings of a job (all but job.started)"
_FORMAT = "how the body polls; `auto`, which is the default, chooses by the URL's host"
_TEMPLATE = (
    "an object, the body that is to be sent instead of a format's, its texts with placeholders such as "
    "{{ job.scenario.name }}"
)
_SIGNED_BY = (
    "what signs the notifications: whsec_ and the base64 of 24 to 64 bytes, or whsk_ and that of an Ed25519 key of 32; "
    "left out: the relay makes one"
)
_SIGNING = (
    "`hmac`, which is the default: with a secret that both sides hold; `ed25519`: with a key that only the relay "
    "holds, the receiver verifies with the endpoint's public_key"
)
_HEADERS = f"an object of at most {MAX_HEADERS} headers that every notification carries, such as Authorization"
_NAME = "a name of 1 to 63 lower-case letters, digits, - or _"
_METADATA = (
    f"an object of your own, handed back with every notification: at most {METADATA_MOST // 1024} KiB as JSON, "
    f"{METADATA_DEPTH} deep"
)
_EXEC_CALLBACK = (
    "true where the job was created with this relay's callback_url: then it is polled when Exec calls back, and "
    "before that rarely, in case the callback is lost"
)

SECRET_XOR_SIGNING: JsonDict = {
    "anyOf": [{"properties": {"secret": {"type": "null"}}}, {"properties": {"signing": {"type": "null"}}}]
}
"""A secret, or how the one that the relay makes is to sign."""
_FORMAT_OR_TEMPLATE: JsonDict = {
    "anyOf": [{"properties": {"template": {"type": "null"}}}, {"properties": {"format": {"enum": ["auto", None]}}}]
}
"""A template is a format of its own."""


def _integral_float(value: object) -> object:
    """JSON Schema takes 2.0 for a whole number, so we do."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class RequestModel(BaseModel):
    """What comes as JSON: no unknown names, no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class RegistrationRequest(RequestModel):
    """Asks to hear of a job: at `callback_url`, at a known `endpoint`, or with neither at the standing ones."""

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
    workspace: Workspace | None = Field(None, description="the Exec workspace, where the relay knows several")
    exec_callback: bool = Field(False, description=_EXEC_CALLBACK)


def _anything(schema: JsonDict) -> None:
    """Says of a batch what is so: its items should be registrations, and one that is not fails by itself."""
    schema["items"] = {"anyOf": [schema["items"], {}]}


class BatchRequest(RequestModel):
    """Many registrations at once. Each is judged by itself: one that is wrong does not spoil the others."""

    # guard: batch-size
    registrations: Annotated[list[SkipValidation[RegistrationRequest]], Field(min_length=1, max_length=BATCH_MOST)] = (
        Field(
            description=f"a list of 1 to {BATCH_MOST:,} registrations, each as POST /v1/registrations takes it",
            json_schema_extra=_anything,
        )
    )


class ExecCallback(BaseModel):
    """Exec's job as it ended. Only its id is read; a poll of Exec tells the rest."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": {"id": EXAMPLE_JOB, "status": "completed"}})
    id: JobId = Field(description=JOB_ID_DESCRIPTION)


class EndpointRequest(RequestModel):
    """A standing endpoint: it hears of every job. The URL comes as `url`, or as `hookUrl` as Zapier sends it."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [_FORMAT_OR_TEMPLATE],
            "example": {"name": "sales-channel", "url": "https://hooks.slack.com/services/T000/B000/XXXX"},
            **SECRET_XOR_SIGNING,
            "oneOf": [
                {"required": ["url"], "properties": {"url": {"type": "string"}, "hookUrl": {"type": "null"}}},
                {"required": ["hookUrl"], "properties": {"hookUrl": {"type": "string"}, "url": {"type": "null"}}},
            ],
        }
    )
    name: EndpointName | None = Field(None, description=_NAME)
    url: Url | None = Field(None, description="the https:// URL that is notified")
    hookUrl: Url | None = Field(None, description="the same, by the name that Zapier gives it")
    format: Format = Field("auto", description=_FORMAT)
    template: Template | None = Field(None, description=_TEMPLATE)
    events: Events | None = Field(None, description=_EVENTS)
    secret: Secret | None = Field(None, description=_SIGNED_BY)
    signing: Signing | None = Field(None, description=_SIGNING)
    headers: Headers = Field(default_factory=dict, description=_HEADERS)


class EndpointChange(RequestModel):
    """What is to change; what is left out stays."""

    model_config = ConfigDict(
        json_schema_extra={"minProperties": 1, "example": {"events": ["job.failed"]}, **_FORMAT_OR_TEMPLATE}
    )
    name: EndpointName | None = Field(None, description=_NAME)
    url: Url | None = Field(None, description="the https:// URL that is notified")
    format: Format | None = Field(None, description=_FORMAT)
    template: Template | None = Field(None, description=_TEMPLATE)
    events: Events | None = Field(None, description=_EVENTS)
    headers: Headers | None = Field(None, description=f"{_HEADERS}; it takes the place of all headers there were")


class RotateRequest(RequestModel):
    """A new secret of your own, or with nothing one that the relay makes."""

    model_config = ConfigDict(json_schema_extra=dict(SECRET_XOR_SIGNING))

    secret: Secret | None = Field(None, description=_SIGNED_BY)
    signing: Signing | None = Field(None, description=f"{_SIGNING}; left out: as before")


class ResendRequest(RequestModel):
    """Which ended deliveries are sent again."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"status": "failed", "since": "2026-03-01T10:00:00Z", "dry_run": True}}
    )
    status: Literal["failed", "delivered"] = Field(
        description="how they ended; delivered ones, where a receiver lost them"
    )
    job_id: JobId | None = Field(None, description=JOB_ID_DESCRIPTION)
    endpoint: Reference | None = Field(None, description=ENDPOINT_DESCRIPTION)
    since: Time | None = Field(None, description="the earliest time at which the delivery was made")
    until: Time | None = Field(None, description="the time before which the delivery was made")
    ended_by: Time | None = Field(None, description="the time by which it had ended; now, unless given")
    limit: Annotated[int, Strict(), Field(ge=1, le=10_000), BeforeValidator(_integral_float)] | None = Field(
        None, description="how many at the most, 1 to 10,000; all, unless given"
    )
    dry_run: bool = Field(False, description="true to count them and send nothing")
