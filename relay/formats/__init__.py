"""Formats: the body for each kind of receiver, which receiver a URL belongs to, and what its responses mean.

One file per format holds one `Format`; a new format is a new file and a line in `FORMATS`.
"""

import math
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from relay.egress import HttpResponse
from relay.egress.mail_url import is_mail_url
from relay.formats import (
    discord,
    email,
    google_chat,
    mattermost,
    ntfy,
    response_rules,
    rocketchat,
    slack,
    slack_app,
    slack_workflow,
    standard,
    teams,
    telegram,
    template,
    zapier,
)
from relay.formats.base import Format, Rejection, Target, page_instead_of_answer
from relay.formats.encode_json import encode_json
from relay.formats.pasted_urls import check_pasted_url
from relay.model import ENDINGS_AT_EXEC, FINAL_EVENTS, Event, EventType, Registration

__all__ = [
    "FORMATS",
    "NAMES",
    "Target",
    "check_pasted_url",
    "default_events",
    "detect_format",
    "has_living_messages",
    "is_read_by_people",
    "min_interval",
    "rate_limit",
    "rejection",
    "render",
    "target",
]

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "standard": standard.FORMAT,
        "slack": slack.FORMAT,
        "slack_workflow": slack_workflow.FORMAT,
        "slack_app": slack_app.FORMAT,
        "zapier": zapier.FORMAT,
        "discord": discord.FORMAT,
        "teams": teams.FORMAT,
        "google_chat": google_chat.FORMAT,
        "mattermost": mattermost.FORMAT,
        "rocketchat": rocketchat.FORMAT,
        "ntfy": ntfy.FORMAT,
        "telegram": telegram.FORMAT,
        "email": email.FORMAT,
    }
)
"""By name, as in configuration and API. `auto` is not a format: `detect_format` replaces it."""

NAMES = (*FORMATS, template.NAME)
"""All formats that an endpoint can have; `template` is the format of endpoints with their own template."""


_CHATS = frozenset(FORMATS) - {"standard", "zapier"}


def detect_format(url: str) -> str:
    """The format for a URL by its host and path; `standard` unless it belongs to a known receiver. Never raises."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return "standard"
    if is_mail_url(url):
        return "email"
    return next((name for name, format in FORMATS.items() if format.matches_url(host, parts.path)), "standard")


def render(format: str, event: Event, registration: Registration | None, own_template: str | None = None) -> bytes:
    """The body: compact JSON in UTF-8, of the endpoint's own template if it has one.

    Raises KeyError for an unknown format, and never for a value in the event. One odd character must not stop a
    notification, so half a surrogate pair becomes U+FFFD, and a number that is not finite becomes null.
    """
    if own_template is None:
        body = FORMATS[format].body(event, registration)
    else:
        body = template.body(own_template, event, registration)
    try:
        return encode_json(body)
    except ValueError:
        return encode_json(_sanitize_json(body))


def _sanitize_json(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {_sanitize_json(key): _sanitize_json(item) for key, item in value.items()}
        case list() | tuple():
            return [_sanitize_json(item) for item in value]
    return value


def rejection(format: str, response: HttpResponse, own_template: str | None = None) -> Rejection | None:
    """Why the receiver rejected the message, by its response's body or the rules of the endpoint's own template.

    None if the status alone decides.
    """
    if own_template is None:
        page = page_instead_of_answer(response) if is_read_by_people(format) else None
        return _of(format).rejection(response) or page
    return response_rules.rejection(own_template, response)


def target(format: str, url: str, body: bytes) -> Target:
    """The request for an endpoint's URL and a rendered body."""
    return _of(format).target(url, body)


def rate_limit(format: str) -> float | None:
    """Requests a second that a receiver of this format accepts at one URL; None if it documents no limit."""
    return _of(format).rate_per_second


def default_events(format: str) -> tuple[EventType, ...]:
    """The events of an endpoint that names none: a chat gets the endings at Exec, other receivers all final events."""
    return ENDINGS_AT_EXEC if format in _CHATS else FINAL_EVENTS


def has_living_messages(format: str) -> bool:
    """Whether events of one job become one message that changes."""
    return _of(format).exchange is not None


def is_read_by_people(format: str) -> bool:
    """Whether messages of this format are read by people: in chats, on phones, in mails."""
    return format in _CHATS


@cache
def min_interval(format: str) -> int | None:
    """Milliseconds between the starts of two requests to a receiver of this format; None if it has no rate limit."""
    rate = rate_limit(format)
    return round(1_000 / rate) if rate else None


def _of(format: str) -> Format:
    """The format with this name; for the receiver of a template, `standard`."""
    return FORMATS.get(format, standard.FORMAT)
