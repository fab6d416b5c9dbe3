"""The logged-in user: a session begins with an API key and ends with the key or after twelve hours.

The browser holds a random token; the store holds its hash and the hash of the key. Neither can be used to call the API,
and revoking a key ends its sessions. Without API keys the dashboard is open, but to this machine only, like the API.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from relay.config import Config
from relay.egress.url_policy import is_loopback
from relay.model import HOUR, SECOND, Instant
from relay.security.api_keys import SCOPES, Scope
from relay.service import Relay
from relay.store.tables import sessions
from relay.store.tables.sessions import Session
from relay.web.core import auth
from relay.web.core.errors import Forbidden, Unauthenticated
from relay.web.core.rate_limits import RequestLimits
from relay.web.dashboard.base_path import base_path

SESSION_TTL = 12 * HOUR
"""How long a session lasts, milliseconds."""

_COOKIE = "relay_session"
_OWN_SITES = ("same-origin", "none")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class CurrentUser:
    """The user of the browser, and what they may do."""

    name: str
    """The name of their key; "" if the relay has no keys."""
    scopes: Sequence[Scope]
    csrf: str = field(default="", repr=False)
    """The token that each of their forms must contain."""
    token: str = field(default="", repr=False)
    key_hash: str = field(default="", repr=False)

    def has_scope(self, scope: Scope) -> bool:
        return scope in self.scopes

    @property
    def home(self) -> str:
        """The first page that they may open."""
        return "/" if self.has_scope("read") or not self.has_scope("register") else "/register"


ANONYMOUS = CurrentUser("", ())


async def load_session(request: Request, relay: Relay, now: Instant) -> CurrentUser:
    """The user of the session; ANONYMOUS if there is none.

    Raises Forbidden if the relay has no keys and the request comes from another site or machine; TooManyRequests if the
    session exceeds its rate limit.
    """
    if not await relay.requires_api_key():
        auth.require_local_request(request.headers)
        return CurrentUser("", SCOPES)
    token = request.cookies.get(_COOKIE, "")
    if not token:
        return ANONYMOUS
    session = await relay.store.read(lambda tx: sessions.get(tx, _hash(token), now))
    if session is None or (key := await auth.find_key(relay, session.key_hash)) is None:
        return ANONYMOUS
    limits: RequestLimits = request.app.state.limits
    limits.check_rate(session.id)
    return CurrentUser(key.name, key.scopes, session.csrf, token, key.hash)


async def is_valid(relay: Relay, user: CurrentUser) -> bool:
    """Whether the user's key is still valid; without a key, whether the relay still requires none."""
    if user.key_hash:
        return await auth.find_key(relay, user.key_hash) is not None
    return not await relay.requires_api_key()


async def log_in(request: Request, relay: Relay, api_key: str, now: Instant) -> CurrentUser:
    """Begins a session for the holder of a key.

    Raises Unauthenticated for an unknown key, TooManyRequests after too many failed logins.
    """
    key = await auth.authenticate(request, api_key.strip())  # guard: login-guesses
    limits: RequestLimits = request.app.state.limits
    limits.check_rate(key.hash)
    token = secrets.token_urlsafe(32)
    session = Session(id=_hash(token), key_hash=key.hash, csrf=secrets.token_urlsafe(24), expires_at=now + SESSION_TTL)
    await relay.store.write(lambda tx: sessions.add(tx, session, now))
    return CurrentUser(key.name, key.scopes, session.csrf, token)


async def log_out(relay: Relay, user: CurrentUser) -> None:
    """Ends the session, in every tab."""
    if user.token:
        await relay.store.write(lambda tx: sessions.remove(tx, _hash(user.token)))


def set_cookie(response: Response, token: str, request: Request, config: Config) -> None:
    """Sets the session cookie, for this site alone and not readable by scripts; "" removes it."""
    path = base_path(config) or "/"
    secure = _is_secure(request, config)
    max_age = SESSION_TTL // SECOND if token else 0
    # guard: session-cookie
    response.set_cookie(_COOKIE, token, max_age=max_age, httponly=True, samesite="lax", secure=secure, path=path)


def cookie_problem(request: Request, config: Config) -> Forbidden | None:
    """Why the browser would drop the session cookie; None if it keeps it.

    Browsers drop a Secure cookie that comes over plain http, except from this machine.
    """
    origin = request.headers.get("origin") or ""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    is_plain = origin.lower().startswith("http://") and not is_loopback(host)
    if not is_plain or not _is_secure(request, config):
        return None
    text = (
        "your browser would not keep this login: this page came over plain http, and server.public_url is https. "
        f"Open {config.server.public_url} instead"
    )
    return Forbidden("insecure_login", text)


def _is_secure(request: Request, config: Config) -> bool:
    return "https" in (request.url.scheme, urlsplit(config.server.public_url or "").scheme)


def check_scope(user: CurrentUser, scope: Scope) -> None:
    """Raises Unauthenticated if nobody is logged in, Forbidden if the key lacks the scope."""
    if user is ANONYMOUS:
        raise Unauthenticated("login_needed", "log in first")
    if not user.has_scope(scope):
        text = f"this needs a key with the scope {scope}; yours has {', '.join(user.scopes) or 'none'}"
        raise Forbidden("insufficient_scope", f"{text}. Log out and log in with another key")


def check_csrf(request: Request, config: Config, user: CurrentUser, form: Mapping[str, str]) -> None:
    """Raises Forbidden for a form that is not from a page of this session."""
    is_own_origin = _is_own_origin(request.headers, config)
    is_foreign = not is_own_origin or request.headers.get("sec-fetch-site", "same-origin") not in _OWN_SITES
    # guard: foreign-form
    if is_foreign or not hmac.compare_digest(form.get("csrf", "").encode(), user.csrf.encode()):
        text = "this form is not from a page of this session; reload the page, and send it again"
        if not is_own_origin:
            expected = config.server.public_url or f"the host {request.headers.get('host', '')}"
            text += f". The browser's address is not {expected}: set server.public_url to the address in the browser"
        raise Forbidden("foreign_form", text)


def _is_own_origin(headers: Headers, config: Config) -> bool:
    """Whether the Origin header, if any, is this relay's own: `server.public_url`, or the Host of the request.

    Origins are compared without case and with default ports. At the host of `server.public_url` the scheme counts too.
    """
    text = headers.get("origin", "")
    if text == "":
        return True
    origin, public = _parse_origin(text), _parse_origin(config.server.public_url or "")
    if origin is None:
        return False
    if public is not None and origin[1] == public[1] and origin[0] != public[0]:
        return False
    return origin in (public, _parse_origin(f"{origin[0]}://{headers.get('host', '')}"))


def _parse_origin(text: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of a URL or an origin, in lower case with the default port; None if it is not one."""
    try:
        parts = urlsplit(text.lower())
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname and port else None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
