"""Faults on demand: which request goes wrong, and what its answer is then."""

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
    "ok": "the plain answer",
    "slow": "the plain answer, 2 s late (or as long as it says)",
    "timeout": "no answer for a minute (or as long as it says)",
    "closed": "the connection closes in the middle of the answer",
    "not_json": "200 with a web page",
    "wrong_shape": "200 with JSON that is no job",
    "other_job": "200 with another job's id",
    "huge": "200 with a job of more than 1 MiB",
    "truncated": "200 with half a job",
    "unknown_status": "200 with a status that Exec never published",
}
"""Kinds of fault by name; besides, any status code from 400 to 599."""

WAITS = {"slow": 2 * SECOND, "timeout": MINUTE}
"""Milliseconds, unless the fault says otherwise."""

UNKNOWN_STATUS = "reviewing"

_HUGE = 1024 * 1024 + 1


def _known(kind: str) -> str:
    if kind in NAMED or (len(kind) == 3 and kind.isascii() and kind.isdigit() and "400" <= kind <= "599"):
        return kind
    raise ValueError(f"there is no such fault; choose a status code from 400 to 599, or one of {', '.join(NAMED)}")


class Fault(BaseModel):
    """What goes wrong with one answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Annotated[str, AfterValidator(_known)]
    wait: int | None = Field(default=None, ge=0)
    """Milliseconds: how late `slow` and `timeout` are; for a status code, what it asks the client to wait."""
    retry_after: Literal["both", "body", "error", "header", "date", "none"] = "both"
    """How a status code asks it: `retry_after` in the body (or in its `error`), the header in seconds or as a date."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        return {"kind": given} if isinstance(given, str) else given

    @property
    def status(self) -> int | None:
        """The status code that takes the place of the plain answer."""
        return int(self.kind) if self.kind.isdigit() else None

    @property
    def delay(self) -> int:
        """Milliseconds before the answer begins."""
        default = WAITS.get(self.kind)
        return 0 if default is None else default if self.wait is None else self.wait


class FaultRule(Fault):
    """A fault that strikes a share of the requests, for good or for a while."""

    share: float = Field(default=1.0, gt=0, le=1)
    lasts: int | None = Field(default=None, gt=0)
    """Milliseconds from when it is set."""
    calls: Literal["polls", "all"] = "polls"


class FaultConfig(BaseModel):
    """What `POST /sandbox/faults` takes; what is left out stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    faults: tuple[FaultRule, ...] | None = None
    """In place of those before; together a share of 1 at most, save that one may be 1 for `lasts`."""
    missing_first: int | None = Field(default=None, ge=0)
    """The first polls of every job that get a 404."""
    jobs: Mapping[str, tuple[Fault, ...]] = Field(default_factory=dict)
    """By job id: the answers to its next polls, in order."""

    @model_validator(mode="after")
    def _at_most_all(self) -> Self:
        if sum(trouble.share for trouble in self.faults or () if trouble.lasts is None) > 1 + 1e-9:
            raise ValueError("the shares of the faults add up to more than 1")
        return self


class Faults:
    """Decides which request goes wrong: a job's script first, then the first polls, then what strikes by chance."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._troubles: list[tuple[FaultRule, Instant | None]] = []
        self._scripts: dict[str, deque[Fault]] = {}
        self._missing_first = 0
        self._missed: dict[str, int] = {}

    def order(self, orders: FaultConfig, now: Instant) -> None:
        """Takes up new orders."""
        if orders.faults is not None:
            self._troubles = [(one, None if one.lasts is None else now + one.lasts) for one in orders.faults]
        if orders.missing_first is not None:
            self._missing_first, self._missed = orders.missing_first, {}
        for job_id, script in orders.jobs.items():
            self._scripts.setdefault(job_id, deque()).extend(script)

    def next(self, call: str, job_id: str | None, now: Instant) -> Fault | None:
        """The fault of this request, None where it goes well. `call`: `poll`, `create` or `cancel`."""
        if call == "poll" and job_id is not None:
            if script := self._scripts.get(job_id):
                return script.popleft()
            if self._missed.get(job_id, 0) < self._missing_first:
                self._missed[job_id] = self._missed.get(job_id, 0) + 1
                return Fault(kind="404")
        return self._by_chance(call, now)

    def active(self, now: Instant) -> dict[str, Any]:
        """What is ordered, for people."""
        return {
            "faults": [one.model_dump() for one, until in self._troubles if until is None or now < until],
            "missing_first": self._missing_first,
            "jobs": {
                job_id: [one.model_dump() for one in script] for job_id, script in self._scripts.items() if script
            },
        }

    def _by_chance(self, call: str, now: Instant) -> Fault | None:
        chance, reached = self._rng.random(), 0.0
        for trouble, until in self._troubles:
            if (trouble.calls == "all" or call == "poll") and (until is None or now < until):
                reached += trouble.share
                if chance < reached:
                    return trouble
        return None


# --- what the answers are --------------------------------------------------------------------------------------


def envelope(type: str, code: str | None, message: str) -> dict[str, Any]:
    """Exec's error envelope; `code` is left out where its page leaves it out."""
    return {"error": {"type": type, **({"code": code} if code else {}), "message": message}}


INVALID_KEY = envelope("authentication_error", "invalid_api_key", "Invalid or inactive API key")
INACTIVE = envelope("authorization_error", "workspace_inactive", "Workspace is inactive")
_KNOWN_ERRORS = {
    400: envelope("invalid_request", None, "Invalid request parameters"),
    401: INVALID_KEY,
    403: INACTIVE,
    429: envelope("rate_limited", "rate_limited", "Rate limit exceeded"),
    500: envelope("api_error", "internal_error", "Something went wrong"),
}
_PROXY_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr></body></html>\n"


def missing(job_id: str | None) -> dict[str, Any]:
    """The body of a 404, in the words of the page's example."""
    return envelope("not_found", None, f"Scenario not found: {job_id}")


def error(
    status: int, job_id: str | None, now: Instant, wait: int | None = None, retry_after: str = "both"
) -> Response:
    """An error answer: Exec's own where its pages show one, a proxy's page for other 5xx.

    `wait` in milliseconds is what the client is asked to wait, told the way `retry_after` says.
    """
    headers: dict[str, str] = {}
    told: dict[str, Any] = missing(job_id) if status == 404 else _KNOWN_ERRORS.get(status, {})
    if wait is not None:
        seconds = max(-(-wait // SECOND), 1)
        if retry_after in ("both", "header"):
            headers["retry-after"] = str(seconds)
        elif retry_after == "date":
            headers["retry-after"] = formatdate(-(-(now + wait) // SECOND), usegmt=True)
        if retry_after in ("both", "body"):
            told = {**told, "retry_after": seconds}
        elif retry_after == "error":
            told = {**told, "error": {**told.get("error", {}), "retry_after": seconds}}
    if told:
        return JSONResponse(told, status, headers)
    return Response(_PROXY_PAGE.format(status), status, headers, "text/html")


def corrupt_response(kind: str, status: int, plain: Mapping[str, Any], rng: random.Random) -> Response:
    """The plain answer, spoiled as one of the named kinds says."""
    body = json.dumps(plain, ensure_ascii=False).encode()
    match kind:
        case "closed":
            return _TruncatedResponse(body, status, media_type="application/json")
        case "truncated":
            return Response(body[: len(body) // 2], status, media_type="application/json")
        case "not_json":
            return Response(_PROXY_PAGE.format("Back soon"), status, media_type="text/html")
        case "wrong_shape":
            return JSONResponse(rng.choice(_wrong_shapes(plain)), status)
        case "other_job":
            return JSONResponse({**plain, "id": str(plain.get("id", ""))[::-1] + "0"}, status)
        case "huge":
            return JSONResponse({**plain, "padding": "x" * _HUGE}, status)
        case "unknown_status":
            live = {"status": UNKNOWN_STATUS, "scenario": None, "error": None}
            return JSONResponse({**plain, **live, "completed_at": None, "duration_seconds": None}, status)
    return Response(body, status, media_type="application/json")


def _wrong_shapes(plain: Mapping[str, Any]) -> Sequence[Any]:
    return [plain], {"job": plain}, {**plain, "status": None}, {**plain, "id": 7}, {**plain, "scenario": "ready"}, None


class _TruncatedResponse(Response):
    """Promises the whole body and stops half way; the server then has to close the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
