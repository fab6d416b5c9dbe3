"""Errors of the API in Exec's envelope, with messages that say what to write instead.

No response repeats a value of the request: it could be a secret in the wrong place. Names of fields are repeated.
"""

import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from relay.errors import RequestError, StoreError
from relay.model import SECOND

UNKNOWN_PATH = "there is nothing at this path; /openapi.json lists every path"

RETRY_AFTER = 5
"""Seconds after which a client may retry while the store fails."""


class Unauthenticated(RequestError):
    """The request has no API key, or an unknown one."""

    status = 401
    type = "authentication_error"


class UnclearUser(RequestError):
    """The header with which a proxy names its user does not name one."""

    status = 401
    type = "authentication_error"


class Forbidden(RequestError):
    """The caller is known and lacks the permission."""

    status = 403
    type = "authorization_error"


class MethodNotAllowed(RequestError):
    status = 405


class TooLarge(RequestError):
    status = 413


class WrongMediaType(RequestError):
    status = 415


class TooManyRequests(RequestError):
    """A limit is exceeded; after `wait` milliseconds the request may be repeated."""

    status = 429
    type = "rate_limited"

    def __init__(self, code: str, message: str, wait: float) -> None:
        self.retry_after = max(1, math.ceil(wait / SECOND))
        super().__init__(code, f"{message}; try again in {self.retry_after} s")


class InternalError(RequestError):
    """The relay's own fault."""

    status = 500
    type = "internal_error"


class BadGateway(RequestError):
    """Exec fails, or refuses the relay."""

    status = 502
    type = "exec_error"


class GatewayTimeout(BadGateway):
    status = 504


class Unavailable(RequestError):
    """The relay can't do it now; the client may try again."""

    status = 503
    type = "service_unavailable"


def store_unavailable(error: StoreError) -> Unavailable:
    """The answer to a request for which the store fails."""
    return Unavailable("store_unavailable", f"{error}; nothing was done, try again later")


_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"www-authenticate": 'Bearer realm="relay"'},
    413: {"connection": "close"},
    503: {"retry-after": str(RETRY_AFTER)},
}


def envelope(error: RequestError) -> dict[str, Any]:
    """`{"error": {"type", "code", "message", "field"?}}`."""
    fields = {"type": error.type, "code": error.code, "message": error.message}
    return {"error": {**fields, **({"field": error.field} if error.field else {}), **error.details}}


def headers_of(error: RequestError) -> Mapping[str, str]:
    """Headers of the error response: how to authenticate, or when to retry."""
    retry_header = {"retry-after": str(error.retry_after)} if isinstance(error, TooManyRequests) else {}
    return {**_HEADERS.get(error.status, {}), **retry_header}


def error_response(error: RequestError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The error response."""
    return JSONResponse(envelope(error), error.status, {**headers_of(error), **(headers or {})})
