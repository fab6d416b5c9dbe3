"""What `POST /scenario-studio/jobs` takes. Source: Exec's page 'Create Scenario job'."""

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from relay.sandbox.fault_injection import envelope, missing
from relay.sandbox.job_callbacks import Callback

LONGEST = {"prompt": 10_000, "context": 50_000}
_TEXTS = ("user_email", "prompt", "context", "scenario_slug", "request_id", "callback_url")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class ParsedCreateJob:
    """A job as somebody asks for it."""

    request_id: str | None
    callback: Callback | None


class BadRequest(Exception):
    """It can't be made."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body["error"]["message"])
        self.status = status
        self.body = body


def parse_create_job(body: bytes, members: tuple[str, ...] | None) -> ParsedCreateJob:
    """What the body asks for. Raises Wrong, with Exec's words where its page has them."""
    try:
        wanted = json.loads(body)
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict):
        raise _wrong("the body is not a JSON object", "invalid_json")
    _check_texts(wanted)
    if not _EMAIL.fullmatch(wanted["user_email"]):
        raise _wrong("user_email is not an e-mail address", "invalid_user_email")
    if members is not None and wanted["user_email"] not in members:
        raise _wrong(f"No user found with email: {wanted['user_email']}", "user_not_found")
    slug = wanted.get("scenario_slug")
    if slug is not None and not _SLUG.fullmatch(slug):
        raise BadRequest(404, missing(slug))
    return ParsedCreateJob(wanted.get("request_id") or None, _callback(wanted))


def _check_texts(wanted: dict[str, Any]) -> None:
    for name in ("user_email", "prompt"):
        if wanted.get(name) in (None, ""):
            raise _wrong(f"{name} is required")
    for name in _TEXTS:
        text, most = wanted.get(name), LONGEST.get(name)
        if text is not None and not isinstance(text, str):
            raise _wrong(f"{name} must be a string", f"invalid_{name}")
        if text is not None and most and len(text) > most:
            raise _wrong(f"{name} must be {most} characters or fewer", f"{name}_too_long")


def _callback(wanted: dict[str, Any]) -> Callback | None:
    headers = wanted.get("callback_headers") or {}
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise _wrong("callback_headers must be an object of strings", "invalid_callback_headers")
    url = wanted.get("callback_url")
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise _wrong("callback_url must be a URL", "invalid_callback_url")
    return Callback(url, headers)


def _wrong(message: str, code: str | None = None) -> BadRequest:
    return BadRequest(400, envelope("invalid_request", code, message))
