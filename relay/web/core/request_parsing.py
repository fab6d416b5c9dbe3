"""Parses bodies and query parameters strictly, so that the relay stores nothing that the caller did not mean."""

import codecs
import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request

from relay.errors import ValidationFailed
from relay.suggestions import did_you_mean_or_list
from relay.web.core.errors import TooLarge, WrongMediaType
from relay.web.core.validation_errors import from_validation_error

MAX_BODY = 256 * 1024
"""Bytes of a request's body."""

MAX_DEPTH = 100
"""Objects and arrays inside each other in a body."""

_TOO_DEEP = f"the body is nested too deep: objects and arrays stand at most {MAX_DEPTH} deep inside each other"

M = TypeVar("M", bound=BaseModel)


async def parse_body(request: Request, model: type[M], may_be_empty: bool = False) -> tuple[M, Any]:
    """The validated body, and its JSON as sent. Raises RequestError.

    An empty body counts as `{}` if it `may_be_empty`.
    """
    raw = await read_body(request)
    if not raw.strip() and may_be_empty:
        return model(), {}
    check_media_type(request)
    value = parse(raw)
    return validated(model, value), value


async def read_body(request: Request) -> bytes:
    """The bytes of the body.

    Raises TooLarge as soon as it is known to be longer than 256 KiB, WrongMediaType for a compressed body.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):  # guard: content-encoding
        text = "the relay takes no compressed bodies; send it without content-encoding"
        raise WrongMediaType("unsupported_content_encoding", text, "content-encoding")
    declared = request.headers.get("content-length", "")
    too_large = TooLarge("body_too_large", f"a request's body has at most {MAX_BODY // 1024} KiB; send it in several")
    if declared.isdecimal() and int(declared[:20]) > MAX_BODY:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:  # guard: body-size
            raise too_large
    return bytes(body)


def check_media_type(request: Request) -> None:
    """Raises WrongMediaType unless the body is declared as JSON in UTF-8, or not declared at all."""
    content_type = request.headers.get("content-type")
    if content_type is None:
        return
    kind, *parameters = [part.strip().lower() for part in content_type.split(";")]
    charsets = [part.partition("=")[2].strip('" ') for part in parameters if part.startswith("charset=")]
    if kind != "application/json" or any(charset not in ("utf-8", "utf8", "us-ascii") for charset in charsets):
        raise WrongMediaType("unsupported_media_type", "send JSON in UTF-8, with content-type: application/json")


def validated(model: type[M], value: Any, *parent: str | int) -> M:
    """The value as the model. Raises ValidationFailed with the field below `parent` and what to write instead."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise from_validation_error(error, model, parent) from None


def parse_query(request: Request, model: type[M]) -> M:
    """The validated query parameters. Raises ValidationFailed for an unknown, wrong or repeated one."""
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in model.model_fields:
            raise ValidationFailed("unknown_parameter", _unknown(name, model), name[:100] if name.isascii() else None)
        if name in values:
            raise ValidationFailed("repeated_parameter", f"{name} is there twice; give it once", name)
        values[name] = value
    return validated(model, values)


def _unknown(name: str, model: type[BaseModel]) -> str:
    names = list(model.model_fields)
    return f"a query parameter is not known here{did_you_mean_or_list(name, names) or '; this call takes none'}"


# --- JSON ------------------------------------------------------------------------------------------------------


_ANYTHING = TypeAdapter[Any](Any)


class _JsonRejected(ValueError):
    """JSON that the relay refuses; the text says why."""


def parse(raw: bytes) -> Any:
    """The value of a JSON text. A byte order mark before it is ignored (RFC 8259, 8.1).

    Raises ValidationFailed (`invalid_json`, with line and column if known) for JSON that parsers read differently:
    repeated names, NaN, numbers beyond a double, half a surrogate pair, other encodings, deep nesting.
    """
    try:
        text = raw.removeprefix(codecs.BOM_UTF8).decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=_parse_float,
            parse_constant=_refuse_constant,
            parse_int=_parse_integer,
        )
        _check_depth(value)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError:
        raise _invalid(_fault_of(text)) from None
    except UnicodeDecodeError:
        raise _invalid("the body is not UTF-8") from None
    except UnicodeEncodeError:
        raise _invalid("the body holds half of a surrogate pair (\\ud800 to \\udfff), which is no character") from None
    except _JsonRejected as error:
        raise _invalid(str(error)) from None
    except RecursionError:
        raise _invalid(_TOO_DEEP) from None
    return value


def _fault_of(text: str) -> str:
    """The error in a text that is not JSON, with its position; pydantic's parser has one text on every Python."""
    if not text.strip():
        return "the body is empty"
    try:
        _ANYTHING.validate_json(text)
    except ValidationError as error:
        return f"the body is not JSON: {error.errors()[0]['ctx']['error'].replace(' column', ', column')}"
    return "the body is not JSON"


def _invalid(message: str) -> ValidationFailed:
    return ValidationFailed("invalid_json", message)


def _object(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):  # guard: duplicate-names
        raise _JsonRejected("the body holds an object in which a name is there twice; give it once")
    return value


def _check_depth(value: Any) -> None:
    """Raises _JsonRejected for a value nested deeper than every later reader and writer can follow."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
    raise _JsonRejected(_TOO_DEEP)  # guard: json-depth


def _parse_float(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise _JsonRejected("the body holds a number too large to be kept")
    return number


def _parse_integer(text: str) -> int:
    if len(text) > 309:
        raise _JsonRejected("the body holds a number too large to be kept")
    return int(text)


def _refuse_constant(text: str) -> Any:
    raise _JsonRejected(f"the body holds {text}, which is no JSON number; use null or a text")
