"""The body of `POST /scenario-studio/jobs`. Source: Exec's page 'Create Scenario job'."""

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from relay.sandbox.fault_injection import envelope, missing
from relay.sandbox.job_callbacks import Callback

MAX_LENGTHS = {"prompt": 10_000, "context": 50_000}
_TEXTS = ("user_email", "prompt", "context", "scenario_slug", "request_id", "callback_url")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class ParsedCreateJob:
    """A validated request for a job."""

    request_id: str | None
    callback: Callback | None


class BadRequest(Exception):
    """The request is refused with this status and body."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body["error"]["message"])
        self.status = status
        self.body = body


def parse_create_job(body: bytes, members: tuple[str, ...] | None) -> ParsedCreateJob:
    """The request in the body. Raises BadRequest, with Exec's text if its page has one."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise _bad_request("the body is not a JSON object", "invalid_json")
    _check_texts(fields)
    if not _EMAIL.fullmatch(fields["user_email"]):
        raise _bad_request("user_email is not an e-mail address", "invalid_user_email")
    if members is not None and fields["user_email"] not in members:
        raise _bad_request(f"No user found with email: {fields['user_email']}", "user_not_found")
    slug = fields.get("scenario_slug")
    if slug is not None and not _SLUG.fullmatch(slug):
        raise BadRequest(404, missing(slug))
    return ParsedCreateJob(fields.get("request_id") or None, _callback(fields))


def _check_texts(fields: dict[str, Any]) -> None:
    for name in ("user_email", "prompt"):
        if fields.get(name) in (None, ""):
            raise _bad_request(f"{name} is required")
    for name in _TEXTS:
        text, limit = fields.get(name), MAX_LENGTHS.get(name)
        if text is not None and not isinstance(text, str):
            raise _bad_request(f"{name} must be a string", f"invalid_{name}")
        if text is not None and limit and len(text) > limit:
            raise _bad_request(f"{name} must be {limit} characters or fewer", f"{name}_too_long")


def _callback(fields: dict[str, Any]) -> Callback | None:
    headers = fields.get("callback_headers") or {}
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise _bad_request("callback_headers must be an object of strings", "invalid_callback_headers")
    url = fields.get("callback_url")
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise _bad_request("callback_url must be a URL", "invalid_callback_url")
    return Callback(url, headers)


def _bad_request(message: str, code: str | None = None) -> BadRequest:
    return BadRequest(400, envelope("invalid_request", code, message))
