"""Field types of requests: each validates its value and describes it in OpenAPI."""

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, Strict, WithJsonSchema
from pydantic.config import JsonDict

from relay import formats
from relay.egress.header_policy import MAX_HEADERS, NAME_PATTERN, VALUE_PATTERN
from relay.egress.url_policy import MASK, MAX_URL
from relay.model import PULL_URL, EventType, Instant, from_rfc3339
from relay.signing import standard_webhooks
from relay.store.tables.filters import HttpStatus, MetadataPair

MAX_METADATA = 16 * 1024
MAX_METADATA_DEPTH = 10

_RFC3339 = re.compile(
    r"(19[7-9][0-9]|[2-9][0-9]{3})-[0-9]{2}-[0-9]{2}[Tt]([0-9]{2}:){2}[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0


def validate_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """The caller's own object, if it is small and flat enough. Raises ValueError."""
    if _depth(metadata) > MAX_METADATA_DEPTH:  # guard: metadata-depth
        raise ValueError(f"must be nested at most {MAX_METADATA_DEPTH} deep")
    if len(json.dumps(metadata, ensure_ascii=False).encode()) > MAX_METADATA:
        raise ValueError(f"must have at most {MAX_METADATA // 1024} KiB as JSON")
    return metadata


def _each_once(events: list[EventType]) -> list[EventType]:
    return list(dict.fromkeys(events))


def _event_types(text: object) -> tuple[EventType, ...]:
    try:
        return tuple(dict.fromkeys(EventType(name) for name in str(text).split(",")))
    except ValueError:
        raise ValueError(f"must be one of {', '.join(EventType)}, or several with commas between them") from None


def _known_format(name: str) -> str:
    if name not in formats.FORMATS:
        raise ValueError(f"must be one of {', '.join(formats.FORMATS)}")
    return name


def _instant(value: object) -> Instant:
    at = from_rfc3339(value.upper()) if isinstance(value, str) and _RFC3339.fullmatch(value) else None
    if at is None:
        raise ValueError("must be a time with its zone, such as 2026-03-01T10:00:00Z (in a URL, + is written %2B)")
    return at


def _http_status(value: object) -> HttpStatus:
    return HttpStatus.parse(value if isinstance(value, str) else "")


def _metadata_pair(value: object) -> MetadataPair:
    return MetadataPair.parse(value if isinstance(value, str) else "")


_TIME = {"type": "string", "format": "date-time"}

# `standard_webhooks` and the egress policies validate these with better messages; the patterns are for readers of the
# OpenAPI document.
_OF_SECRETS = (  # 24 to 64 bytes, in the one way in which base64 writes them
    "^(whsec_([A-Za-z0-9+/]{4}){8,20}([A-Za-z0-9+/]{4}([A-Za-z0-9+/][AQgw]==)?"
    "|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)?|whsk_[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)$"
)
_OF_HEADERS: JsonDict = {
    "propertyNames": {"pattern": f"^{NAME_PATTERN}$"},
    "additionalProperties": {"type": "string", "pattern": f"^{VALUE_PATTERN}$"},
}

JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
EndpointName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Reference = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
Quiet = Annotated[str, Field(max_length=80)]
Digest = Annotated[str, Field(max_length=20, json_schema_extra={"pattern": "^([1-9][0-9]{0,5}[smh])?$"})]
Fallback = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_-]{0,62})?$")]
RequestedBy = Annotated[str, Field(min_length=1, max_length=200)]
Workspace = Annotated[str, Field(min_length=1, max_length=63)]
Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL,
        json_schema_extra={"pattern": f"^([Hh][Tt][Tt][Pp]|[Ss][Mm][Tt][Pp])[Ss]?://[^{MASK}]+$"},
    ),
]
EndpointUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL,
        json_schema_extra={"pattern": f"^(([Hh][Tt][Tt][Pp]|[Ss][Mm][Tt][Pp])[Ss]?://[^{MASK}]+|{PULL_URL})$"},
    ),
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
EventTypes = Annotated[
    tuple[EventType, ...],
    BeforeValidator(_event_types),
    WithJsonSchema({"type": "array", "items": {"type": "string", "enum": [*EventType]}, "minItems": 1}),
]
Secret = Annotated[str, Field(min_length=1, max_length=200, json_schema_extra={"pattern": _OF_SECRETS})]
Template = Annotated[dict[str, Any], Field(min_length=1)]
Signing = Annotated[standard_webhooks.SignatureScheme, Strict(False)]
Headers = Annotated[dict[str, str], Field(max_length=MAX_HEADERS, json_schema_extra=_OF_HEADERS)]
Metadata = Annotated[dict[str, Any], AfterValidator(validate_metadata)]
Time = Annotated[Instant, BeforeValidator(_instant), WithJsonSchema({**_TIME, "pattern": f"^{_RFC3339.pattern}$"})]

HttpStatusFilter = Annotated[
    HttpStatus,
    PlainValidator(_http_status),
    WithJsonSchema({"type": "string", "pattern": "^([1-5]([0-9]{2}|xx)|none)$"}),
]
MetadataFilter = Annotated[
    MetadataPair,
    PlainValidator(_metadata_pair),
    WithJsonSchema({"type": "string", "pattern": "^[^=]{1,200}=[^\\x00]{0,400}$"}),
]

CheckName = Annotated[str, Field(pattern=r"^[a-z]{1,30}$")]
Cursor = Annotated[str, Field(min_length=1, max_length=400, json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"})]

JOB_ID_DESCRIPTION = "Exec's id of the job: 1 to 128 letters, digits, - or _"
"""The description of every job id and endpoint field."""
ENDPOINT_DESCRIPTION = "the id or the name of an endpoint"
HTTP_STATUS_DESCRIPTION = "the HTTP status of the last attempt: `404`, a class such as `5xx`, or `none` for no response"
METADATA_DESCRIPTION = "a key of a registration's metadata and its value, `customer=acme`, without regard to case"
