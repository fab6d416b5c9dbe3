"""The type of a format: the layout of a body, the URLs of its receiver, and the meaning of its receiver's responses."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.egress import HttpResponse
from relay.formats.exchange import Exchange, Task
from relay.model import Event, Registration


@dataclass(frozen=True, slots=True)
class Rejection:
    """A service's own report that it did not accept a message, with any status."""

    reason: str
    """The reason as text, with what to do about it."""
    disable: bool = False
    """Whether the endpoint is at fault, and is disabled; False if the message or a passing state is at fault."""
    retry: bool = False
    """Whether a later attempt may succeed."""
    busy: bool = False
    """With `retry`: the service asks to slow down, and the endpoint is healthy."""
    of_address: bool = False
    """With `busy`: the service refuses the address of this machine, so all endpoints at the host pause."""


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
    """One format of the body."""

    body: Callable[[Event, Registration | None], Mapping[str, object]]
    matches_url: Callable[[str, str], bool] = _nowhere
    """Whether a URL's host (lower case) and path belong to this receiver."""
    rejection: Callable[[HttpResponse], Rejection | None] = _never
    """What the receiver's body says beyond its status; None if it says nothing of its own."""
    target: Callable[[str, bytes], Target] = Target
    """What is sent for an endpoint's URL and a rendered body, if it is not the body to that very URL."""
    exchange: Callable[[Task], Exchange] | None = None
    """How events of one job become one message that changes; None if each event is a message of its own."""
    address_key: str | None = None
    """With `exchange`: a name that every address of this service's messages has, and no other service's."""
    keeps_every_message: bool = False
    """With `exchange`: whether it is used for a job whose start was not sent, too."""
    rate_per_second: float | None = None
    """Requests a second that the receiver accepts at one URL; None if it documents no limit."""


def json_body(response: HttpResponse) -> Mapping[str, Any]:
    """The JSON object in the body of a response; an empty one if the body is anything else."""
    try:
        value = json.loads(response.body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def page_instead_of_answer(response: HttpResponse) -> Rejection | None:
    """A web page with a 2xx, which no chat answers: a login page or a proxy's stands in front, and took the message."""
    start = response.body[:100].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not (response.succeeded and start.startswith((b"<!doctype html", b"<html"))):
        return None
    text = f"a web page answered ({response.status}) and not the chat: let the relay's requests pass the login page"
    return Rejection(f"{text} or proxy in front of it", retry=True)


def short(text: object) -> str:
    """A part of a receiver's response for an error message: one line, at most 100 characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in str(text)[:400]).split())[:100]
