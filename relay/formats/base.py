"""What a format is: the layout of a body, the URLs it is meant for, and what its receiver's answers mean."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.egress.result import HttpResponse
from relay.formats.exchange import Exchange, Task
from relay.model import Event, Registration


@dataclass(frozen=True, slots=True)
class Rejection:
    """A service's own words that it did not accept a message, whatever status they came with."""

    reason: str
    """In words, with what to do about it."""
    disable: bool = False
    """Whether the endpoint is at fault and so is disabled; False if the message or a passing state is."""
    retry: bool = False
    """Whether a later attempt may succeed."""
    busy: bool = False
    """With `retry`: the service asks to slow down, and the endpoint is healthy."""


@dataclass(frozen=True, slots=True)
class Target:
    """A request as it is sent: the URL, and the body that is signed."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)


def _never(answer: HttpResponse) -> Rejection | None:
    return None


def _nowhere(host: str, path: str) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format of the body, as a value."""

    body: Callable[[Event, Registration | None], Mapping[str, object]]
    matches_url: Callable[[str, str], bool] = _nowhere
    """Whether a URL's host (lower case) and path belong to this receiver."""
    rejection: Callable[[HttpResponse], Rejection | None] = _never
    """What the receiver's body says beyond its status; None if it says nothing of its own."""
    target: Callable[[str, bytes], Target] = Target
    """What is sent for an endpoint's URL and a rendered body, if it is not the body to that very URL."""
    exchange: Callable[[Task], Exchange] | None = None
    """How events of one job become one message that changes; None if each event is a message of its own."""
    keeps_every_message: bool = False
    """With `exchange`: whether it is used for a job whose start was not sent, too."""
    rate_per_second: float | None = None
    """How many requests a second the receiver takes at one URL; None if it names no limit."""


def json_body(answer: HttpResponse) -> Mapping[str, Any]:
    """The JSON object in an answer; an empty one if the answer holds something else."""
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def short(text: object) -> str:
    """A part of a receiver's answer that may be repeated in an error: one line, at most 100 characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in str(text)[:400]).split())[:100]
