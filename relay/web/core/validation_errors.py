"""Converts pydantic's errors to the API's: one error for each request, with the field and how to correct it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from relay.errors import ValidationFailed
from relay.suggestions import did_you_mean_or_list

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
"""Error codes by field; any other field has `invalid_field`."""

_MESSAGES = {
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
"""Errors that do not say how to write the field: its description follows."""

_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")
_MAX_NAME = 100


def from_validation_error(
    error: ValidationError, model: type[BaseModel], parent: Sequence[str | int] = ()
) -> ValidationFailed:
    """The first thing to correct in a body or query: an unknown name if there is one, else pydantic's first error.

    `parent` is the path of `model` in the body.
    """
    details = error.errors(include_url=False, include_input=False)
    unknown = [detail for detail in details if detail["type"] == "extra_forbidden"]
    detail: Mapping[str, Any] = (unknown or details)[0]
    loc = [part for part in detail["loc"] if part != "[key]"]
    field = format_path([*parent, *loc])
    path = field or "the body"
    if unknown:
        suggestion = did_you_mean_or_list(str(loc[-1]), names_at(model, loc))
        return ValidationFailed("unknown_field", f"{path} is not known here{suggestion}", field or None)
    hint = describe(model, loc) if detail["type"] in _NEEDS_DESCRIPTION else None
    message = f"{path} {_message_of(detail)}" + (f"; it is {hint}" if hint else "")
    return ValidationFailed("missing_field" if detail["type"] == "missing" else _code(loc), message, field or None)


def _message_of(detail: Mapping[str, Any]) -> str:
    """One error of pydantic as the end of a sentence that begins with the field."""
    if detail["type"] == "value_error":
        return str(detail["msg"]).removeprefix("Value error, ")
    return _MESSAGES.get(detail["type"], "is not what it must be").format(**detail.get("ctx", {}))


def format_path(loc: Sequence[str | int]) -> str:
    """`("registrations", 3, "callback_url")` → `registrations[3].callback_url`, printable and short."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += ("." if path else "") + _UNPRINTABLE.sub("?", part[:_MAX_NAME])
    return path


def names_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The names that are allowed in place of the last part of `loc`."""
    parent = _model_at(model, loc)
    return list(parent.model_fields) if parent else []


def describe(model: type[BaseModel], loc: Sequence[str | int]) -> str | None:
    """The schema's description of the field at `loc`, None without one."""
    names = [part for part in loc if isinstance(part, str)]
    parent = _model_at(model, names)
    info = parent.model_fields.get(names[-1]) if parent and names else None
    return info.description if info else None


def _model_at(model: type[BaseModel], loc: Sequence[str | int]) -> type[BaseModel] | None:
    """The model that has the field at `loc`, None if `loc` leads through another kind of value."""
    parent: type[BaseModel] | None = model
    for name in [part for part in loc if isinstance(part, str)][:-1]:
        info = parent.model_fields.get(name) if parent else None
        parent = next(iter(_models_in(info.annotation)), None) if info else None
    return parent


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _code(loc: Sequence[str | int]) -> str:
    names = [part for part in loc if isinstance(part, str)]
    return next((_CODES[name] for name in names if name in _CODES), "invalid_field")
