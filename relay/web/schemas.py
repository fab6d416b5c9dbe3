"""What may be asked: the bodies and queries of the API. They validate requests and are its OpenAPI.

A field's description completes "it is ..." in an error about it.
"""

import json
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    Strict,
    WithJsonSchema,
)
from pydantic.config import JsonDict

from relay import formats, signing
from relay.addresses import LONGEST_URL
from relay.model import (
    DeliveryStatus,
    EndpointKind,
    EventType,
    Instant,
    RegistrationStatus,
    WatchState,
    from_rfc3339,
)
from relay.store import paging

METADATA_MOST = 16 * 1024
METADATA_DEPTH = 10
BATCH_MOST = 1_000
HEADERS_MOST = 20
EXAMPLE_JOB = "j1o2b3i4d5x6"

_RFC3339 = re.compile(
    r"(19[7-9][0-9]|[2-9][0-9]{3})-[0-9]{2}-[0-9]{2}[Tt]([0-9]{2}:){2}[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0


def fit_to_keep(metadata: dict[str, Any]) -> dict[str, Any]:
    """An object of the caller's, small and flat enough. Raises ValueError."""
    try:
        deep = _depth(metadata)
    except RecursionError:
        deep = METADATA_DEPTH + 1
    if deep > METADATA_DEPTH:
        raise ValueError(f"must be nested at most {METADATA_DEPTH} deep")
    if len(json.dumps(metadata, ensure_ascii=False).encode()) > METADATA_MOST:
        raise ValueError(f"must have at most {METADATA_MOST // 1024} KiB as JSON")
    return metadata


def _each_once(events: list[EventType]) -> list[EventType]:
    return list(dict.fromkeys(events))


def _known_format(name: str) -> str:
    if name not in formats.FORMATS:
        raise ValueError(f"must be one of {', '.join(formats.FORMATS)}")
    return name


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value


def _whole(value: object) -> object:
    """JSON Schema takes 2.0 for a whole number, so we do."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _instant(value: object) -> Instant:
    at = from_rfc3339(value.upper()) if isinstance(value, str) and _RFC3339.fullmatch(value) else None
    if at is None:
        raise ValueError("must be a time with its zone, such as 2026-03-01T10:00:00Z (in a URL, + is written %2B)")
    return at


_TIME = {"type": "string", "format": "date-time"}

# What `signing`, `subscribing` and `addresses` judge, and word better, is told to readers of the document as well.
_OF_SECRETS = (  # 24 to 64 bytes, in the one way in which base64 writes them
    "^(whsec_([A-Za-z0-9+/]{4}){8,20}([A-Za-z0-9+/]{4}([A-Za-z0-9+/][AQgw]==)?"
    "|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)?|whsk_[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)$"
)
_OF_HEADERS: JsonDict = {
    "propertyNames": {"pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"},
    "additionalProperties": {"type": "string", "pattern": "^[\\x20-\\x7e]{0,2000}$"},
}

JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
EndpointName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Reference = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
Workspace = Annotated[str, Field(min_length=1, max_length=63)]
Url = Annotated[
    str, Field(min_length=1, max_length=LONGEST_URL, json_schema_extra={"pattern": "^[Hh][Tt][Tt][Pp][Ss]?://."})
]
Format = Annotated[
    str, Field(min_length=1, max_length=40), WithJsonSchema({"type": "string", "enum": ["auto", *formats.FORMATS]})
]
EventFormat = Annotated[
    str, AfterValidator(_known_format), WithJsonSchema({"type": "string", "enum": [*formats.FORMATS]})
]
Events = Annotated[
    list[Annotated[EventType, Strict(False)]], Field(min_length=1, max_length=20), AfterValidator(_each_once)
]
Secret = Annotated[str, Field(min_length=1, max_length=200, json_schema_extra={"pattern": _OF_SECRETS})]
Template = Annotated[dict[str, Any], Field(min_length=1)]
Signing = Annotated[signing.Signing, Strict(False)]
Headers = Annotated[dict[str, str], Field(max_length=HEADERS_MOST, json_schema_extra=_OF_HEADERS)]
Metadata = Annotated[dict[str, Any], AfterValidator(fit_to_keep)]
Time = Annotated[Instant, BeforeValidator(_instant), WithJsonSchema({**_TIME, "pattern": f"^{_RFC3339.pattern}$"})]

Cursor = Annotated[str, Field(min_length=1, max_length=400, json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"})]

_JOB_ID = "Exec's id of the job: 1 to 128 letters, digits, - or _"
_EVENTS = "a list of the events to hear of; left out: the endings of a job (all but job.started)"
_FORMAT = "how the body looks; `auto`, which is the default, chooses by the URL's host"
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
_HEADERS = f"an object of at most {HEADERS_MOST} headers that every notification carries, such as Authorization"
_NAME = "a name of 1 to 63 lower-case letters, digits, - or _"
_ENDPOINT = "the id or the name of an endpoint"
_METADATA = (
    f"an object of your own, handed back with every notification: at most {METADATA_MOST // 1024} KiB as JSON, "
    f"{METADATA_DEPTH} deep"
)
_EXEC_CALLBACK = (
    "true where the job was created with this relay's callback_url: then it is looked at when Exec calls back, and "
    "before that rarely, in case the callback is lost"
)


ONE_OF_TWO: JsonDict = {
    "anyOf": [{"properties": {"secret": {"type": "null"}}}, {"properties": {"signing": {"type": "null"}}}]
}
"""A secret, or how the one that the relay makes is to sign."""
_FORMAT_OR_TEMPLATE: JsonDict = {
    "anyOf": [{"properties": {"template": {"type": "null"}}}, {"properties": {"format": {"enum": ["auto", None]}}}]
}
"""A template is a format of its own."""


class Body(BaseModel):
    """What comes as JSON: no unknown names, no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class RegistrationRequest(Body):
    """Asks to hear of a job: at `callback_url`, at a known `endpoint`, or with neither at the standing ones."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "job_id": EXAMPLE_JOB,
                "callback_url": "https://hooks.slack.com/services/T000/B000/XXXX",
                "metadata": {"team": "sales"},
            },
            **ONE_OF_TWO,
        }
    )
    job_id: JobId = Field(description=_JOB_ID)
    callback_url: Url | None = Field(None, description="the https:// URL that is notified")
    endpoint: Reference | None = Field(None, description=f"{_ENDPOINT}, instead of callback_url")
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


class BatchRequest(Body):
    """Many registrations at once. Each is judged by itself: one that is wrong does not spoil the others."""

    registrations: Annotated[list[SkipValidation[RegistrationRequest]], Field(min_length=1, max_length=BATCH_MOST)] = (
        Field(
            description=f"a list of 1 to {BATCH_MOST:,} registrations, each as POST /v1/registrations takes it",
            json_schema_extra=_anything,
        )
    )


class ExecCallback(BaseModel):
    """Exec's job as it ended. Only its id is read; a look at Exec tells the rest."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": {"id": EXAMPLE_JOB, "status": "completed"}})
    id: JobId = Field(description=_JOB_ID)


class EndpointRequest(Body):
    """A standing endpoint: it hears of every job. The URL comes as `url`, or as `hookUrl` as Zapier sends it."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [_FORMAT_OR_TEMPLATE],
            "example": {"name": "sales-channel", "url": "https://hooks.slack.com/services/T000/B000/XXXX"},
            **ONE_OF_TWO,
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


class EndpointChange(Body):
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


class RotateRequest(Body):
    """A new secret of your own, or with nothing one that the relay makes."""

    model_config = ConfigDict(json_schema_extra=dict(ONE_OF_TWO))

    secret: Secret | None = Field(None, description=_SIGNED_BY)
    signing: Signing | None = Field(None, description=f"{_SIGNING}; left out: as before")


class ResendRequest(Body):
    """Which ended deliveries are sent again."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"status": "failed", "since": "2026-03-01T10:00:00Z", "dry_run": True}}
    )
    status: Literal["failed", "delivered"] = Field(
        description="how they ended; delivered ones, where a receiver lost them"
    )
    job_id: JobId | None = Field(None, description=_JOB_ID)
    endpoint: Reference | None = Field(None, description=_ENDPOINT)
    since: Time | None = Field(None, description="the earliest time at which the delivery was made")
    until: Time | None = Field(None, description="the time before which the delivery was made")
    ended_by: Time | None = Field(None, description="the time by which it had ended; now, unless given")
    limit: Annotated[int, Strict(), Field(ge=1, le=10_000), BeforeValidator(_whole)] | None = Field(
        None, description="how many at the most, 1 to 10,000; all, unless given"
    )
    dry_run: bool = Field(False, description="true to count them and send nothing")


# --- queries ---------------------------------------------------------------------------------------------------


class Query(BaseModel):
    """What comes after the `?`: all of it text."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class NoQuery(Query):
    """No parameters."""


class PageQuery(Query):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=paging.MOST), Strict(), BeforeValidator(_number)] = Field(
        50, description=f"how many at the most, 1 to {paging.MOST}"
    )
    cursor: Cursor | None = Field(None, description="`next_cursor` of the page before")

    @property
    def page(self) -> paging.Page:
        return paging.Page(self.limit, self.cursor)


class RegistrationsQuery(PageQuery):
    """Which registrations."""

    job_id: JobId | None = Field(None, description=_JOB_ID)
    endpoint: Reference | None = Field(None, description=_ENDPOINT)
    status: RegistrationStatus | None = Field(None, description="the state of the registration")


class WorkspaceQuery(Query):
    """In which workspace."""

    workspace: Workspace | None = Field(None, description="the Exec workspace; left out: whichever has it")


class JobsQuery(PageQuery):
    """Which jobs."""

    workspace: Workspace | None = Field(None, description="the Exec workspace")
    state: WatchState | None = Field(None, description="whether the job is watched, or why no longer")


class EventsQuery(PageQuery):
    """Which events, and in which shape."""

    type: EventType | None = Field(None, description="the kind of event")
    job_id: JobId | None = Field(None, description=_JOB_ID)
    workspace: Workspace | None = Field(None, description="the Exec workspace")
    format: EventFormat = Field("standard", description="the format that `body` has")


class EndpointsQuery(PageQuery):
    """Which endpoints."""

    kind: EndpointKind | None = Field(None, description="`standing` ones, or `ad_hoc` ones made by a registration")


class DeliveriesQuery(PageQuery):
    """Which deliveries."""

    status: DeliveryStatus | None = Field(None, description="the state of the delivery")
    job_id: JobId | None = Field(None, description=_JOB_ID)
    endpoint: Reference | None = Field(None, description=_ENDPOINT)
    since: Time | None = Field(None, description="the earliest time at which the delivery was made")
    until: Time | None = Field(None, description="the time before which the delivery was made")
