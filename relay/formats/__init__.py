"""Formats: the body that each kind of receiver wants, which receiver a URL belongs to, and what its errors mean.

One file per format holds one `Format`; a new format is a new file and a line in `FORMATS`.
"""

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from relay.egress.result import HttpResponse
from relay.formats import discord, google_chat, slack, slack_workflow, standard, teams, template, zapier
from relay.formats.base import Format, PermanentError
from relay.model import Event, Registration

__all__ = [
    "FORMATS",
    "NAMES",
    "Format",
    "PermanentError",
    "detect_format",
    "min_interval",
    "permanent_error",
    "rate_limit",
    "render",
]

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "standard": standard.FORMAT,
        "slack": slack.FORMAT,
        "slack_workflow": slack_workflow.FORMAT,
        "zapier": zapier.FORMAT,
        "discord": discord.FORMAT,
        "teams": teams.FORMAT,
        "google_chat": google_chat.FORMAT,
    }
)
"""By name, as configuration and API have it; `auto` is no format but the wish that `detect_format` grants."""

NAMES = (*FORMATS, template.NAME)
"""All formats that an endpoint can have: `template` is the one that takes a template of its own."""


def detect_format(url: str) -> str:
    """The format for a URL by its host and path: `standard` unless a receiver is recognised. Never raises."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return "standard"
    return next((name for name, format in FORMATS.items() if format.matches_url(host, parts.path)), "standard")


def render(format: str, event: Event, registration: Registration | None, own: str | None = None) -> bytes:
    """The body: compact JSON in UTF-8; `own` is the endpoint's template, where it has one.

    Never raises for what JSON could carry here; raises KeyError for no format.

    What JSON can't carry on is mended, since one odd character must not keep the news back: half a surrogate pair
    becomes U+FFFD, a number that is not finite null.
    """
    body = FORMATS[format].body(event, registration) if own is None else template.body(own, event, registration)
    try:
        return _compact(body)
    except ValueError:
        return _compact(_sanitize_json(body))


def _compact(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


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


def permanent_error(format: str, answer: HttpResponse) -> PermanentError | None:
    """What makes this answer final for this receiver, beyond what HTTP says by itself; None where a retry may help."""
    return _of(format).permanent_error(answer)


def rate_limit(format: str) -> float | None:
    """Requests a second that this format's receiver takes at one URL; None where it names no limit."""
    return _of(format).rate_per_second


def min_interval(format: str) -> int | None:
    """Milliseconds between the starts of two requests to a receiver of this format; None if it has no rate limit."""
    rate = rate_limit(format)
    return round(1_000 / rate) if rate else None


def _of(format: str) -> Format:
    """A template's receiver is like one of `standard`: only HTTP's own answers are known of it."""
    return FORMATS.get(format, standard.FORMAT)
