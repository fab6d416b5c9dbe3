"""Response rules of a template: which 2xx responses mean that the receiver rejected the message.

Some APIs answer 200 to everything and report an error in the body. A template says so in two keys, which are not
sent:

"$rejected_if": {"ok": false}     the message was rejected if any of these fields has one of its values
"$accepted_if": {"code": [0]}     the message was accepted only if each of these fields has one of its values

A field is a path of names (`error.code`), a value a text, number, boolean or null, or a list of those. A rejected
message is retried on the schedule.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from relay.egress import HttpResponse
from relay.formats.base import Rejection, json_body

REJECTED_IF, ACCEPTED_IF = KEYS = ("$rejected_if", "$accepted_if")

_MAX_FIELDS = 20
_MAX_PATH = 200
_CACHE_SIZE = 64

_Scalar = str | int | float | bool | None
_Rules = Mapping[str, tuple[_Scalar, ...]]


def without_rules(template: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a template that is sent."""
    return {key: value for key, value in template.items() if key not in KEYS}


def find_problem(rules: Any) -> str | None:
    """What is wrong with the value of one of the two keys, as text; None if it is valid."""
    if not isinstance(rules, Mapping) or not 1 <= len(rules) <= _MAX_FIELDS:
        return f'write it as {{"field": value}}, with 1 to {_MAX_FIELDS} fields of the receiver\'s response'
    for path, values in rules.items():
        if not path or len(path) > _MAX_PATH or "" in path.split("."):
            return "a field is a path of names, such as ok or error.code"
        if not all(isinstance(value, str | int | float | None) for value in _as_list(values)):
            return "the value of a field is a text, number, boolean or null, or a list of those"
    return None


def rejection(template: str, response: HttpResponse) -> Rejection | None:
    """Why the response is a rejection by the rules of a valid template; None if it is not, or is no 2xx.

    A response with an incomplete body counts as accepted, because its status is 2xx.
    """
    rejected, accepted = _rules(template)
    if not response.succeeded or response.body_error or not (rejected or accepted):
        return None
    body = json_body(response)
    for path, values in rejected.items():
        if (value := _field(body, path)) is not _ABSENT and _is_one_of(value, values):
            return _rejected(response, f"{path} is {_shortened_json(value)}, a value of {REJECTED_IF}")
    for path, values in accepted.items():
        if (value := _field(body, path)) is _ABSENT:
            return _rejected(response, f"{path} of {ACCEPTED_IF} is missing")
        if not _is_one_of(value, values):
            return _rejected(response, f"{path} is {_shortened_json(value)}, no value of {ACCEPTED_IF}")
    return None


_ABSENT = object()


def _rejected(response: HttpResponse, reason: str) -> Rejection:
    return Rejection(f"answered {response.status}, but its body says no: {reason}", retry=True)


@lru_cache(maxsize=_CACHE_SIZE)
def _rules(template: str) -> tuple[_Rules, _Rules]:
    if not any(key in template for key in KEYS):
        return {}, {}
    parsed = json.loads(template)
    rejected, accepted = (
        {path: tuple(_as_list(values)) for path, values in parsed.get(key, {}).items()} for key in KEYS
    )
    return rejected, accepted


def _as_list(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]


def _field(body: Mapping[str, Any], path: str) -> Any:
    value: Any = body
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return _ABSENT
        value = value[name]
    return value


def _is_one_of(value: Any, values: tuple[_Scalar, ...]) -> bool:
    """Whether a value is in the list, compared by value and type: in Python `False == 0`, in JSON it is not."""
    return any(value == candidate and isinstance(value, bool) == isinstance(candidate, bool) for candidate in values)


def _shortened_json(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
