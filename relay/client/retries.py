"""What the client does with an answer, or without one: pure decisions, the same for both clients."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from relay.client.errors import ApiError, ClientError, CursorGone, Unreachable

ASK_AGAIN = frozenset([429, 499, 500, 502, 503, 504, *range(520, 525)])
"""Statuses that say nothing about the request: of a proxy that cut it off, or of a relay that restarts."""

FIRST_DELAY, MAX_DELAY = 0.25, 10.0
"""Seconds until the first retry; the delay is doubled with each further one up to the longest."""

MAX_RETRY_AFTER = 60.0
"""Seconds; a longer `Retry-After` is cut to it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The request is to be sent again."""

    reason: str
    after: float | None = None
    """Seconds that the relay asks for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer of the relay."""

    body: dict[str, Any]
    is_new: bool
    """Whether the request made something: status 201, and not the stored answer to an earlier request."""


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer | Retry:
    """A good answer, or Retry. Raises ApiError for a refusal by the relay."""
    answer = _json_object(body)
    if 200 <= status < 300 and "x-request-id" in headers and answer is not None:
        return Answer(answer, status == 201 and "idempotent-replayed" not in headers)
    refusal = _refusal_of(answer)
    if status in ASK_AGAIN and not (refusal and refusal.get("code") == "exec_key_refused"):
        reason = str(refusal["message"]) if refusal else f"status {status}"
        return Retry(reason, _seconds(headers.get("retry-after")))
    if refusal is None:
        # A login page, a captive portal, an error page of a proxy: no answer of the relay.
        return Retry(_description(status, headers))
    raise _error_of(status, refusal)


def _description(status: int, headers: Mapping[str, str]) -> str:
    """What answered instead of the relay; of a redirect's target only the host, because the rest may be secret."""
    host = urlsplit(headers.get("location", "")).hostname if 300 <= status < 400 else None
    if host is not None or "html" in headers.get("content-type", ""):
        return f"a page answered, not the relay (status {status}{f', a redirect to {host}' if host else ''})"
    return f"the answer is not a relay's (status {status})"


def _refusal_of(answer: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The error of the relay's envelope; None for an answer of anybody else."""
    refusal = (answer or {}).get("error")
    return refusal if isinstance(refusal, Mapping) and isinstance(refusal.get("message"), str) else None


def _error_of(status: int, error: Mapping[str, Any]) -> ClientError:
    message, code = str(error["message"]), str(error.get("code"))
    if status == 410 and code == "cursor_gone":
        return CursorGone(message, str(error.get("oldest_cursor")), str(error.get("newest_cursor")))
    return ApiError(status, code, message, error.get("field"))


def _seconds(text: str | None) -> float | None:
    return min(float(text), MAX_RETRY_AFTER) if text is not None and text.isdecimal() else None


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


@dataclass(slots=True)
class Patience:
    """How long one call goes on trying. Times are seconds of one monotonic clock."""

    url: str
    give_up_at: float
    tries: int = 0

    def delay(self, retry: Retry, now: float, jitter: float) -> float:
        """Seconds until the next try; `jitter` is in [0, 1). Raises Unreachable when it would be too late."""
        backoff = min(MAX_DELAY, FIRST_DELAY * 2.0 ** min(self.tries, 20)) * (1 + jitter) / 2
        delay = backoff if retry.after is None else max(retry.after, backoff)
        self.tries += 1
        if now + delay >= self.give_up_at:
            raise Unreachable(f"no relay answers at {self.url}: {retry.reason}")
        return delay
