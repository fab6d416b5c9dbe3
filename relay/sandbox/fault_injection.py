"""Faults on demand: which requests fail, and with which response."""

import json
import random
from collections import deque
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from relay.model import MINUTE, SECOND, Instant

NAMED = {
    "ok": "the normal response",
    "slow": "the normal response after 2 s (or after the given wait)",
    "timeout": "no response for a minute (or for the given wait)",
    "closed": "the connection closes in the middle of the response",
    "not_json": "200 with a web page",
    "wrong_shape": "200 with JSON that is not a job",
    "other_job": "200 with another job's id",
    "huge": "200 with a job of more than 1 MiB",
    "truncated": "200 with half a job",
    "unknown_status": "200 with a status that Exec never published",
}
"""Kinds of fault by name; besides, any status code from 400 to 599."""

WAITS = {"slow": 2 * SECOND, "timeout": MINUTE}
"""Milliseconds, unless the fault gives its own wait."""

UNKNOWN_STATUS = "reviewing"

_HUGE = 1024 * 1024 + 1


def _check_kind(kind: str) -> str:
    if kind in NAMED or (len(kind) == 3 and kind.isascii() and kind.isdigit() and "400" <= kind <= "599"):
        return kind
    raise ValueError(f"there is no such fault; choose a status code from 400 to 599, or one of {', '.join(NAMED)}")


class Fault(BaseModel):
    """The fault of one response."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Annotated[str, AfterValidator(_check_kind)]
    wait: int | None = Field(default=None, ge=0)
    """Milliseconds: the delay of `slow` and `timeout`; for a status code, how long the client is asked to wait."""
    retry_after: Literal["both", "body", "error", "header", "date", "none"] = "both"
    """Where a status code has its wait: `retry_after` in the body or its `error`, the header in seconds or as a date.
    """

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @property
    def status(self) -> int | None:
        """The status code that replaces the normal response."""
        return int(self.kind) if self.kind.isdigit() else None

    @property
    def delay(self) -> int:
        """Milliseconds before the response begins."""
        default = WAITS.get(self.kind)
        return 0 if default is None else default if self.wait is None else self.wait


class FaultRule(Fault):
    """A fault of a share of the requests, permanently or for a while."""

    share: float = Field(default=1.0, gt=0, le=1)
    lasts: int | None = Field(default=None, gt=0)
    """Milliseconds from when it is set; None: permanently."""
    calls: Literal["polls", "all"] = "polls"


class FaultConfig(BaseModel):
    """The body of `POST /sandbox/faults`; fields that are left out keep their values."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    faults: tuple[FaultRule, ...] | None = None
    """Replaces the previous faults. The shares of permanent faults add up to at most 1."""
    missing_first: int | None = Field(default=None, ge=0)
    """How many first polls of every job get a 404."""
    jobs: Mapping[str, tuple[Fault, ...]] = Field(default_factory=dict)
    """By job id: the responses to its next polls, in order."""

    @model_validator(mode="after")
    def _at_most_all(self) -> Self:
        if sum(rule.share for rule in self.faults or () if rule.lasts is None) > 1 + 1e-9:
            raise ValueError("the shares of the faults add up to more than 1")
        return self


class Faults:
    """Decides which requests fail: a job's script first, then the first polls, then the rules by chance."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._rules: list[tuple[FaultRule, Instant | None]] = []
        self._scripts: dict[str, deque[Fault]] = {}
        self._missing_first = 0
        self._missed: dict[str, int] = {}

    def order(self, config: FaultConfig, now: Instant) -> None:
        """Applies a new configuration."""
        if config.faults is not None:
            self._rules = [(rule, None if rule.lasts is None else now + rule.lasts) for rule in config.faults]
        if config.missing_first is not None:
            self._missing_first, self._missed = config.missing_first, {}
        for job_id, script in config.jobs.items():
            self._scripts.setdefault(job_id, deque()).extend(script)

    def next(self, call: str, job_id: str | None, now: Instant) -> Fault | None:
        """The fault of this request; None if it succeeds. `call`: `poll`, `create` or `cancel`."""
        if call == "poll" and job_id is not None:
            if script := self._scripts.get(job_id):
                return script.popleft()
            if self._missed.get(job_id, 0) < self._missing_first:
                self._missed[job_id] = self._missed.get(job_id, 0) + 1
                return Fault(kind="404")
        return self._by_chance(call, now)

    def active(self, now: Instant) -> dict[str, Any]:
        """The faults in force, as `GET /sandbox/faults` returns them."""
        return {
            "faults": [rule.model_dump() for rule, until in self._rules if until is None or now < until],
            "missing_first": self._missing_first,
            "jobs": {
                job_id: [fault.model_dump() for fault in script] for job_id, script in self._scripts.items() if script
            },
        }

    def _by_chance(self, call: str, now: Instant) -> Fault | None:
        chance, cumulative_share = self._rng.random(), 0.0
        for rule, until in self._rules:
            if (rule.calls == "all" or call == "poll") and (until is None or now < until):
                cumulative_share += rule.share
                if chance < cumulative_share:
                    return rule
        return None


# --- responses -------------------------------------------------------------------------------------------------


def envelope(type: str, code: str | None, message: str) -> dict[str, Any]:
    """Exec's error envelope; `code` is left out if its page leaves it out."""
    return {"error": {"type": type, **({"code": code} if code else {}), "message": message}}


INVALID_KEY = envelope("authentication_error", "invalid_api_key", "Invalid or inactive API key")
INACTIVE = envelope("authorization_error", "workspace_inactive", "Workspace is inactive")
_ERRORS_BY_STATUS = {
    400: envelope("invalid_request", None, "Invalid request parameters"),
    401: INVALID_KEY,
    403: INACTIVE,
    429: envelope("rate_limited", "rate_limited", "Rate limit exceeded"),
    500: envelope("api_error", "internal_error", "Something went wrong"),
}
_PROXY_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr></body></html>\n"


def missing(job_id: str | None) -> dict[str, Any]:
    """The body of a 404, with the text of the page's example."""
    return envelope("not_found", None, f"Scenario not found: {job_id}")


def error(
    status: int, job_id: str | None, now: Instant, wait: int | None = None, retry_after: str = "both"
) -> Response:
    """An error response: Exec's own if its pages show one, a proxy's page for other 5xx.

    `wait` is how long the client is asked to wait, in milliseconds; `retry_after` says where the response has it.
    """
    headers: dict[str, str] = {}
    body: dict[str, Any] = missing(job_id) if status == 404 else _ERRORS_BY_STATUS.get(status, {})
    if wait is not None:
        seconds = max(-(-wait // SECOND), 1)
        if retry_after in ("both", "header"):
            headers["retry-after"] = str(seconds)
        elif retry_after == "date":
            headers["retry-after"] = formatdate(-(-(now + wait) // SECOND), usegmt=True)
        if retry_after in ("both", "body"):
            body = {**body, "retry_after": seconds}
        elif retry_after == "error":
            body = {**body, "error": {**body.get("error", {}), "retry_after": seconds}}
    if body:
        return JSONResponse(body, status, headers)
    return Response(_PROXY_PAGE.format(status), status, headers, "text/html")


def corrupt_response(kind: str, status: int, normal_body: Mapping[str, Any], rng: random.Random) -> Response:
    """The normal response, corrupted by a fault of this kind."""
    body = json.dumps(normal_body, ensure_ascii=False).encode()
    match kind:
        case "closed":
            return _TruncatedResponse(body, status, media_type="application/json")
        case "truncated":
            return Response(body[: len(body) // 2], status, media_type="application/json")
        case "not_json":
            return Response(_PROXY_PAGE.format("Back soon"), status, media_type="text/html")
        case "wrong_shape":
            return JSONResponse(rng.choice(_wrong_shapes(normal_body)), status)
        case "other_job":
            return JSONResponse({**normal_body, "id": str(normal_body.get("id", ""))[::-1] + "0"}, status)
        case "huge":
            return JSONResponse({**normal_body, "padding": "x" * _HUGE}, status)
        case "unknown_status":
            live = {"status": UNKNOWN_STATUS, "scenario": None, "error": None}
            return JSONResponse({**normal_body, **live, "completed_at": None, "duration_seconds": None}, status)
    return Response(body, status, media_type="application/json")


def _wrong_shapes(body: Mapping[str, Any]) -> Sequence[Any]:
    return [body], {"job": body}, {**body, "status": None}, {**body, "id": 7}, {**body, "scenario": "ready"}, None


class _TruncatedResponse(Response):
    """Announces the whole body and stops half way, so the server has to close the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
