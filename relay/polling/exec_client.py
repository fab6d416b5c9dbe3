"""A client for Exec's API: polls a job, creates a job. It returns a `Poll` or a `CreateJobResult`.

The API key has full rights on the workspace. It is sent only to the configured address, never along a redirect, and
appears in no text that leaves this module.
"""

import asyncio
import json
import math
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, cast
from urllib.parse import quote

import httpx
from pydantic import ValidationError

import relay
from relay.backoff import http_date, retry_after
from relay.egress import descriptors, mask_url
from relay.errors import ConfigError
from relay.model import DAY, JOB_ID, Instant, ScenarioJob
from relay.model.create_result import CreateJobResult, JobCreated, JobCreationUnknown, JobRejected
from relay.model.poll_result import JobFound, JobNotFound, Poll, PollFailed, PollResult, RateLimited, Unauthorized
from relay.polling.request_budget import MAY_REPEAT

MAX_BODY_READ = 1024 * 1024
MAX_JOB_SIZE = 128 * 1024
"""Bytes of JSON up to which a job is passed on whole."""
_MAX_FIELD_SIZE = 8 * 1024
"""Bytes of an answer that are read; a longer one is rejected. Each delivery stores the job, and sends it."""

_KEY = re.compile(r"[\x21-\x7e]+")
_KEY_SHAPED = re.compile(r"exec_(live|test)_\w+")
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_TEXT = 300
_MAX_STATUS = 100
_PROXY_STATUS = re.compile(r"[1-5][0-9]{2}\b")
_PROXY_LOGIN = "it wants a user and a password, or others than exec.proxy has"
_MAX_NAMES = 10
_MAX_DIGITS = 1_000
_EXEC_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""How Exec writes a `type` or `code`: `not_found`, `invalid_api_key`."""


class ExecClient:
    """Exec's API with the key of one workspace.

    `timeout` is milliseconds of wall clock for one call, its answer's body included. `clock` gives the instant a call
    started; `monotonic` the seconds it took. Raises `ConfigError` for a key or an address that no request can have.
    """

    def __init__(
        self,
        name: str,
        api_key: str,
        base_url: str,
        *,
        timeout: int,
        clock: Callable[[], Instant],
        http: httpx.AsyncClient,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not _KEY.fullmatch(api_key):
            raise ConfigError(f"workspace {name!r}: the API key is empty or holds spaces, line breaks or non-ASCII.")
        if not _is_valid_base_url(base_url):
            raise ConfigError(f"workspace {name!r}: base_url is not a URL such as https://api.exec.com/rest/v1.")
        self.name = name
        self._api_key = api_key
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._clock = clock
        self._http = http
        self._monotonic = monotonic

    async def get_job(self, job_id: str, may_repeat: Callable[[], Awaitable[bool]] | None = None) -> Poll:
        """GET the job's status. Never raises for what Exec or the network does.

        If Exec closes a reused connection, `may_repeat` says whether the budget has a second request.
        """
        started_at, started = self._clock(), self._monotonic()
        poll_result = await self._poll(job_id, may_repeat)
        return Poll(started_at, round((self._monotonic() - started) * 1_000), poll_result)

    async def create(self, fields: Mapping[str, Any]) -> CreateJobResult:
        """POST a new job with these fields. Never raises for what Exec or the network does."""
        try:
            async with asyncio.timeout(self._timeout / 1_000):
                status, headers, body = await self._ask(self._request("POST", "/scenario-studio/jobs", fields))
        except (TimeoutError, httpx.TimeoutException):
            return JobCreationUnknown("timeout", f"no complete answer within {self._timeout / 1_000:g} s")
        except httpx.ConnectError as error:
            return JobRejected(502, "exec_unreachable", self._connection_error_text(error))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return JobCreationUnknown("connection", self._connection_error_text(error))
        if 200 <= status < 300:
            result = _job(None, headers, body, self._api_key)
            if isinstance(result, JobFound):
                return JobCreated(result.job)
            return JobCreationUnknown("malformed", getattr(result, "detail", ""))
        envelope = _envelope(body)
        if not (400 <= status < 500 and _is_from_exec(envelope)):
            return JobCreationUnknown(
                "status", ": ".join(filter(None, (f"Exec answered {status}", self._message(envelope))))
            )
        code = _error(envelope).get("code") or _error(envelope).get("type")
        message = self._message(envelope) or f"Exec answered {status}"
        wait = self._asked_wait(envelope, headers) if status == 429 else None
        return JobRejected(
            status, code if isinstance(code, str) and _CODE.fullmatch(code) else "declined", message, wait
        )

    async def aclose(self) -> None:
        """Closes the HTTP client, even if other workspaces share it."""
        await self._http.aclose()

    async def _poll(self, job_id: str, may_repeat: Callable[[], Awaitable[bool]] | None) -> PollResult:
        segment = quote(job_id, safe="", errors="surrogatepass")
        if segment in ("", ".", ".."):
            return JobNotFound()  # the URL would not be a job's
        request = self._request("GET", f"/scenario-studio/jobs/{segment}")
        request.extensions[MAY_REPEAT] = may_repeat
        try:
            async with asyncio.timeout(self._timeout / 1_000):
                status, headers, body = await self._ask(request)
        except (TimeoutError, httpx.TimeoutException):
            return PollFailed("timeout", f"no complete answer within {self._timeout / 1_000:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            if descriptors.are_used_up(error):
                return PollFailed("internal", descriptors.NONE_LEFT)
            return PollFailed("connection", self._connection_error_text(error))
        return self._read(job_id, status, headers, body)

    def _request(self, method: str, path: str, fields: Mapping[str, Any] | None = None) -> httpx.Request:
        headers = {
            "authorization": f"Bearer {self._api_key}",
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"exec-relay/{relay.__version__}",
        }
        return self._http.build_request(method, self._base_url + path, headers=headers, json=fields)

    async def _ask(self, request: httpx.Request) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and at most one byte more of the body than may be read."""
        # guard: exec-redirect
        response = await self._http.send(request, stream=True, auth=None, follow_redirects=False)
        try:
            body = bytearray()
            async with aclosing(cast(AsyncGenerator[bytes, None], response.aiter_raw())) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > MAX_BODY_READ:
                        break
            return response.status_code, response.headers, bytes(body[: MAX_BODY_READ + 1])
        finally:
            await response.aclose()

    def _read(self, job_id: str, status: int, headers: httpx.Headers, body: bytes) -> PollResult:
        """Classifies an answer. A status code counts only if Exec wrote the answer, as gateways use the same codes."""
        if 200 <= status < 300:
            return _job(job_id, headers, body, self._api_key)
        if 300 <= status < 400 and "location" in headers:
            return PollFailed("status", f"Exec answered {status}: {_redirect(headers)}", is_foreign=True)
        envelope = _envelope(body)
        if status == 407:
            return PollFailed("status", f"a proxy answered 407: {_PROXY_LOGIN}", is_foreign=True)
        if status < 500 and not _is_from_exec(envelope):
            detail = f"answered {status} without Exec's JSON error: a gateway or proxy answered in place of Exec"
            return PollFailed("status", detail, is_foreign=True)
        if status == 404:
            return JobNotFound()
        if status == 429:
            return RateLimited(self._asked_wait(envelope, headers))
        if status in (401, 403):
            return Unauthorized(status, self._message(envelope) or f"Exec answered {status}")
        return PollFailed("status", ": ".join(filter(None, (f"Exec answered {status}", self._message(envelope)))))

    def _asked_wait(self, envelope: Mapping[str, Any], headers: httpx.Headers) -> int | None:
        now = self._clock()
        for value in (envelope.get("retry_after"), _error(envelope).get("retry_after"), headers.get("retry-after")):
            wait = retry_after(value, now, DAY) if isinstance(value, str | int | float) else None
            if wait is not None:
                return wait
        return None

    def _message(self, envelope: Mapping[str, Any]) -> str:
        error = _error(envelope)
        text = next((text for name in ("message", "code", "type") if isinstance(text := error.get(name), str)), "")
        return self._safe(text)

    def _connection_error_text(self, error: Exception) -> str:
        """Why there was no answer. Only the text of a failed connection is certain to contain nothing that was sent."""
        if isinstance(error, httpx.ProxyError) and (match := _PROXY_STATUS.match(str(error))):
            login = f"; {_PROXY_LOGIN}" if match[0] == "407" else ""
            return f"the proxy answered {match[0]} and opened no tunnel to Exec{login}"
        if isinstance(error, httpx.ConnectError):
            return self._safe(f"no connection: {error}")
        return f"the exchange failed ({type(error).__name__})"

    def _safe(self, text: str) -> str:
        """The text without unprintable characters, shortened, and without a key that Exec may have repeated."""
        without_key = _KEY_SHAPED.sub("exec_…", text.replace(self._api_key, "…"))  # guard: exec-key-in-answer
        return "".join(char if char.isprintable() else " " for char in without_key)[:_MAX_TEXT].strip()


# --- parsing the answer ----------------------------------------------------------------------------------------


def _job(job_id: str | None, headers: httpx.Headers, body: bytes, api_key: str) -> PollResult:
    """Parses the job of an answer: the one with `job_id`, or any job if that is None.

    `api_key` is left out wherever the answer repeats it: all subscribers get the job as Exec sent it.
    """
    if len(body) > MAX_BODY_READ:
        return _malformed(f"it is longer than {MAX_BODY_READ // 1024:,} KiB")
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):  # guard: exec-compressed
        return _malformed("it is compressed, which was not asked for")
    left_out: tuple[str, ...] = ()
    try:
        text = _strict_json(body).replace(api_key.encode(), "exec_…".encode())
        if len(text) > MAX_JOB_SIZE:
            text, left_out = _without_long_fields(text)
        job = ScenarioJob.model_validate_json(text)
    except ValidationError as fault:
        first = fault.errors(include_input=False, include_url=False)[0]
        return _malformed(f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}")
    except (ValueError, RecursionError):
        return _malformed("it is not JSON, or too deeply nested")
    if job_id is None and not JOB_ID.fullmatch(job.id):
        return _malformed("its id is not a job's id")
    if job_id is not None and job.id != job_id:  # guard: exec-other-job
        return _malformed("it is about another job")
    if not (0 < len(job.status) <= _MAX_STATUS and job.status.isprintable()):
        return _malformed("its status is empty, too long or not printable")
    return JobFound(job, http_date(headers.get("date", "")), left_out)


def _malformed(reason: str) -> PollFailed:
    return PollFailed("malformed", f"Exec's answer is not a job: {reason}")


def _strict_json(body: bytes) -> bytes:
    """The body as JSON that every parser reads. Raises ValueError or RecursionError if it is no JSON.

    A number that no parser can hold (NaN, 1e400, ten thousand digits) becomes null, and half a surrogate `?`: the end
    of a job is not missed for a field beside it.
    """
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False, allow_nan=False)
    except ValueError:
        lenient = json.loads(body, parse_constant=lambda _: None, parse_float=_finite, parse_int=_integer)
        text = json.dumps(lenient, ensure_ascii=False)
    return text.encode("utf-8", "replace")


def _without_long_fields(text: bytes) -> tuple[bytes, tuple[str, ...]]:
    """A long JSON object without the fields of more than 8 KiB, and with the documented ones alone if it is still long.

    So the end of a job is not missed for a field beside it, and a stored event stays small. Returns the names of the
    fields that are left out too, at most ten.
    """
    document = json.loads(text)
    if not isinstance(document, dict):
        return b"null", ()
    short_fields = {name: value for name, value in document.items() if len(json.dumps(value)) <= _MAX_FIELD_SIZE}
    if len(json.dumps(short_fields)) > MAX_JOB_SIZE:
        short_fields = {name: value for name, value in short_fields.items() if name in ScenarioJob.model_fields}
    left_out = [name[:_MAX_STATUS] for name in document if name not in short_fields and name.isprintable()]
    return json.dumps(short_fields).encode(), tuple(left_out[:_MAX_NAMES])


def _finite(digits: str) -> float | None:
    return number if math.isfinite(number := float(digits)) else None


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MAX_DIGITS else None


def _envelope(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _error(envelope: Mapping[str, Any]) -> Mapping[str, Any]:
    error = envelope.get("error")
    return error if isinstance(error, dict) else {}


def _is_from_exec(envelope: Mapping[str, Any]) -> bool:
    """Whether this is the error envelope of Exec's page: `{"error": {"type": "...", "code": "...", "message": "..."}}`.

    The JSON errors of gateways and hosts are similar, but their codes are numbers (Google), `NOT_FOUND` (Vercel) or
    `ResourceNotFound` (Azure).
    """
    codes = (_error(envelope).get(name) for name in ("type", "code"))
    return any(isinstance(code, str) and _EXEC_WORD.fullmatch(code) for code in codes)


def _is_valid_base_url(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    extra = parsed.userinfo or parsed.query or parsed.fragment
    return (
        parsed.scheme in ("http", "https")
        and bool(parsed.host)
        and (parsed.port is None or 0 < parsed.port < 65_536)
        and not extra
    )


def _redirect(headers: httpx.Headers) -> str:
    return (
        f"a redirect to {mask_url(headers.get('location', ''))}, which is never followed, because the API key would go "
        "along. Set exec.base_url to the address where Exec answers."
    )
