"""ASGI middleware around the application: request targets, request ids, default headers, and the 500 response."""

import re
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from logging import Logger
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from relay.errors import RequestError, StoreError
from relay.registration import exec_callback_tokens
from relay.telemetry import trace_context
from relay.web.core import errors
from relay.web.core.errors import InternalError

DEFAULT_HEADERS = {
    "x-content-type-options": "nosniff",  # guard: no-cors
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
"""On every response without its own."""

_PARKED_FIELDS = ("type", "method", "path", "root_path", "headers", "query_string", "client", "http_version")
"""Fields of the scope that answering needs, the server's access log included."""

PARKED = "parked"
"""In the request's state: what makes a response that is not there yet (`web/core/open_request.py`), and then what the
application calls to answer, once all of its layers are done with the request."""

_STRICT_TRANSPORT_SECURITY = ("strict-transport-security", "max-age=31536000")
"""On responses over TLS: for a year browsers use https only, for this host and none of its subdomains."""

_MAX_PATH = 200
"""Characters of a path in a line of the log."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def new_request_id() -> str:
    """An id for a request whose client gave none."""
    return f"req_{ULID()}"


class RequestTargetMiddleware:
    """ASGI middleware. Each request gets the path that the routes know, below the path of `server.public_url`.

    A target in absolute form (RFC 9112, 3.2.2) becomes its path, and its host replaces the Host header. A proxy may
    take the base path off or leave it on; either way `path` has it and `root_path` names it, as ASGI wants.
    """

    def __init__(self, app: ASGIApp, base_path: str) -> None:
        self.app, self.base_path = app, base_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # The server's own scope: a copy of it would keep what a parked request drops.
            scope.update(_origin_form(scope))
            path, base = scope["path"], self.base_path
            if base and path.startswith("/"):
                below = path.removeprefix(base) if path == base or path.startswith(f"{base}/") else path
                scope.update({"root_path": base, "path": f"{base}{below or '/'}"})
        await self.app(scope, receive, send)


def _origin_form(scope: Scope) -> dict[str, Any]:
    """The fields of the scope that differ once an absolute request target is read."""
    target = scope.get("raw_path") or b""
    if not target[:8].lower().startswith((b"http://", b"https://")):
        return {}
    _, _, authority_and_path = target.partition(b"://")
    host, slash, path = authority_and_path.partition(b"/")
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {
        "path": unquote((slash + path).decode("ascii")) or "/",
        "raw_path": slash + path or b"/",
        "headers": [(b"host", host), *headers],
    }


@dataclass(frozen=True, slots=True)
class _Answered:
    """What the headers of a response depend on."""

    request_id: str
    is_secure: bool
    must_close: bool

    def complete(self, headers: MutableHeaders) -> None:
        """Adds what every response has."""
        headers["x-request-id"] = self.request_id
        for name, value in DEFAULT_HEADERS.items():  # guard: answer-headers
            headers.setdefault(name, value)
        if self.must_close:
            headers["connection"] = "close"  # guard: request-smuggling
        if self.is_secure:
            headers.setdefault(*_STRICT_TRANSPORT_SECURITY)


class ResponseMiddleware:
    """ASGI middleware: request id, trace and default headers. A valid `x-request-id` of the request is kept."""

    def __init__(self, app: ASGIApp, log: Logger) -> None:
        self.app, self.log = app, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        client_request_id = headers.get("x-request-id", "")
        request_id = client_request_id if _REQUEST_ID.fullmatch(client_request_id) else new_request_id()
        # RFC 9112, 6.1: a proxy in front may have read another length.
        must_close = "content-length" in headers and "transfer-encoding" in headers
        response_state = _Answered(request_id, scope.get("scheme") == "https", must_close)
        scope.setdefault("state", {}).update(request_id=request_id, trace=_trace_of(headers))
        await self._run(self.app, response_state, scope, receive, send)
        if (make := scope["state"].get(PARKED)) is not None:
            scope["state"][PARKED] = partial(self._answer_parked, make, response_state)

    async def _run(self, app: ASGIApp, response_state: _Answered, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                response_state.complete(MutableHeaders(scope=message))
            await send(message)

        try:
            await app(scope, receive, send_with_headers)
        except Exception as error:
            response = self._failure(error, response_state, scope)
            if not started:
                await response(scope, receive, send_with_headers)

    async def _answer_parked(
        self,
        make: Callable[[], Awaitable[Response]],
        response_state: _Answered,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Waits for a parked response, and sends it. Meanwhile only a few fields of the request stay in memory."""
        parked_scope = {name: scope[name] for name in _PARKED_FIELDS if name in scope}
        scope["headers"].clear()
        scope.clear()
        scope.update(parked_scope)
        try:
            response = await make()
        except RequestError as error:
            response = errors.error_response(error)
        except StoreError as error:
            self.log.error("a request failed and gets 503: %s", error)
            response = errors.error_response(errors.store_unavailable(error))
        except Exception as error:
            response = self._failure(error, response_state, scope)
        await self._run(response, response_state, scope, receive, send)

    def _failure(self, error: Exception, response_state: _Answered, scope: Scope) -> Response:
        """The 500 response to an error that nobody expects, which is logged."""
        frames = _frames_of(error)  # guard: crash-log
        text = "request %s failed: %s in %s, at %s"
        self.log.error(text, response_state.request_id, type(error).__name__, _path_for_log(scope), frames)
        text = f"the relay failed, not the request; its log has more under {response_state.request_id}"
        return errors.error_response(InternalError("internal_error", text))


def _trace_of(headers: Headers) -> str | None:
    """The trace of the request; None without exactly one valid traceparent."""
    values = headers.getlist(trace_context.HEADER)
    return trace_context.parse_traceparent(values[0]) if len(values) == 1 else None


def _frames_of(error: BaseException) -> str:
    """Where an error was raised, innermost call first, in one line. Its text is left out: it could contain a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{'/'.join(Path(at.filename).parts[-3:])}:{at.lineno} {at.name}" for at in reversed(frames))


def _path_for_log(scope: Scope) -> str:
    """A path for the log: short, without control characters, without the token of Exec's callbacks."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    if path.startswith(exec_callback_tokens.PATH):
        return f"{exec_callback_tokens.PATH}…"
    text = ascii(path)[1:-1]
    return text if len(text) <= _MAX_PATH else f"{text[:_MAX_PATH]}…"
