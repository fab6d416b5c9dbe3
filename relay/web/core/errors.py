"""What is said when a request can't be granted: Exec's own error envelope, in words that say what to write instead.

No answer repeats a value that came with the request: it could be a secret in the wrong place. Names are repeated.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from starlette.responses import JSONResponse

from relay.errors import RequestError, ValidationFailed
from relay.model import SECOND
from relay.suggestions import did_you_mean_or_list

UNKNOWN_PATH = "there is nothing at this path; /openapi.json lists what there is"

RETRY_AFTER = 5
"""Seconds after which a client may try again while the store does not work."""


class Unauthenticated(RequestError):
    """No API key came, or one that the relay does not know."""

    status = 401
    type = "authentication_error"


class Forbidden(RequestError):
    """The caller is known, and may not do this."""

    status = 403
    type = "authorization_error"


class MethodNotAllowed(RequestError):
    status = 405


class TooLarge(RequestError):
    status = 413


class WrongMediaType(RequestError):
    status = 415


class TooManyRequests(RequestError):
    """It is too much for now; in `wait` milliseconds it is not."""

    status = 429
    type = "rate_limited"

    def __init__(self, code: str, message: str, wait: float) -> None:
        self.retry_after = max(1, math.ceil(wait / SECOND))
        super().__init__(code, f"{message}; try again in {self.retry_after} s")


class InternalError(RequestError):
    """The relay's own fault."""

    status = 500
    type = "internal_error"


class BadGateway(RequestError):
    """Exec is at fault, or refuses the relay."""

    status = 502
    type = "exec_error"


class GatewayTimeout(BadGateway):
    status = 504


class Unavailable(RequestError):
    """The relay can't do it now; later it may."""

    status = 503
    type = "service_unavailable"


_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"www-authenticate": 'Bearer realm="relay"'},
    413: {"connection": "close"},
    503: {"retry-after": str(RETRY_AFTER)},
}


def envelope(refused: RequestError) -> dict[str, Any]:
    """`{"error": {"type", "code", "message", "field"?}}`."""
    error = {"type": refused.type, "code": refused.code, "message": refused.message}
    return {"error": error | ({"field": refused.field} if refused.field else {})}


def headers_of(refused: RequestError) -> Mapping[str, str]:
    """What goes along with the answer: how to log in, or when to come again."""
    own = {"retry-after": str(refused.retry_after)} if isinstance(refused, TooManyRequests) else {}
    return {**_HEADERS.get(refused.status, {}), **own}


def error_response(refused: RequestError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer to a request that is refused."""
    return JSONResponse(envelope(refused), refused.status, {**headers_of(refused), **(headers or {})})


# --- what pydantic found, in our words -------------------------------------------------------------------------

_CODES = {
    "job_id": "invalid_job_id",
    "callback_url": "invalid_url",
    "url": "invalid_url",
    "hookUrl": "invalid_url",
    "headers": "invalid_headers",
    "events": "invalid_events",
    "metadata": "invalid_metadata",
    "name": "invalid_name",
    "cursor": "invalid_cursor",
    "limit": "invalid_limit",
}
"""By field; a field without an entry is at fault with `invalid_field`."""

_WORDS = {
    "missing": "is missing",
    "string_type": "must be a text",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "enum": "must be one of {expected}",
    "literal_error": "must be one of {expected}",
    "string_pattern_mismatch": "is not written as it must be",
}
_NEEDS_DESCRIPTION = frozenset(
    {"missing", "string_type", "list_type", "dict_type", "model_type", "string_pattern_mismatch"}
)
"""What leaves open how the field is to be written, so that its description follows."""

_ODD = re.compile(r"[^\x21-\x7e]")
_LONGEST_NAME = 100


def from_validation_error(
    error: ValidationError, model: type[BaseModel], place: Sequence[str | int] = ()
) -> ValidationFailed:
    """The one thing to put right first, of all that is wrong with a body or query; `place` is where `model` stands."""
    found = error.errors(include_url=False, include_input=False)
    unknown = [item for item in found if item["type"] == "extra_forbidden"]
    item: Mapping[str, Any] = (unknown or found)[0]
    loc = [part for part in item["loc"] if part != "[key]"]
    path = format_path([*place, *loc]) or "the body"
    field = format_path([*place, *loc]) or None
    if unknown:
        return ValidationFailed(
            "unknown_field",
            f"{path} is not known here{did_you_mean_or_list(str(loc[-1]), names_at(model, loc))}",
            field,
        )
    if item["type"] == "value_error":
        text = str(item["msg"]).removeprefix("Value error, ")
    else:
        text = _WORDS.get(item["type"], "is not what it must be").format(**item.get("ctx", {}))
    hint = describe(model, loc) if item["type"] in _NEEDS_DESCRIPTION else None
    code = "missing_field" if item["type"] == "missing" else _code(loc)
    return ValidationFailed(code, f"{path} {text}" + (f"; it is {hint}" if hint else ""), field)


def format_path(loc: Sequence[str | int]) -> str:
    """`("registrations", 3, "callback_url")` → `registrations[3].callback_url`, fit to be printed."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += ("." if path else "") + _ODD.sub("?", part[:_LONGEST_NAME])
    return path


def names_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The names that may stand where the last part of `loc` stands."""
    at = _model_at(model, loc)
    return list(at.model_fields) if at else []


def describe(model: type[BaseModel], loc: Sequence[str | int]) -> str | None:
    """What the field at `loc` is, in the schema's words."""
    named = [part for part in loc if isinstance(part, str)]
    at = _model_at(model, named)
    info = at.model_fields.get(named[-1]) if at and named else None
    return info.description if info else None


def _model_at(model: type[BaseModel], loc: Sequence[str | int]) -> type[BaseModel] | None:
    at: type[BaseModel] | None = model
    for part in [part for part in loc if isinstance(part, str)][:-1]:
        info = at.model_fields.get(part) if at else None
        at = next(iter(_models_in(info.annotation)), None) if info else None
    return at


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _code(loc: Sequence[str | int]) -> str:
    names = [part for part in loc if isinstance(part, str)]
    return next((_CODES[name] for name in names if name in _CODES), "invalid_field")
