"""The logged-in user: a session begins with an API key and ends with the key or after twelve hours.

The browser holds a random token; the store holds its hash and the hash of the key. Neither can be used to call the API,
and revoking a key ends its sessions. Without API keys the local token of the relay takes the place of a key.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from starlette.requests import Request
from starlette.responses import Response

from relay.model import HOUR, SECOND, Actor, AuditAction, Instant, Via, new_token
from relay.security import SCOPES, Scope
from relay.service import Relay
from relay.store import Tx
from relay.store.tables import audit, sessions
from relay.store.tables.sessions import Session
from relay.web.core import auth, public_url
from relay.web.core.errors import Forbidden, Unauthenticated
from relay.web.core.rate_limits import RequestLimits, address_of
from relay.web.core.trusted_user import TrustedUser, trusted_user

_HTTP_BESIDE_HTTPS = "this page came over http, and the session is for https only; open {} and log in there"

SESSION_TTL = 12 * HOUR
"""How long a session lasts, milliseconds."""

_COOKIE, _FORM_COOKIE = "relay_session", "relay_form"
_SECURE_PREFIX = {True: "__Host-", False: "__Secure-"}
"""By whether the relay has the site's root: `__Host-` wants the path `/` (RFC 6265bis, 4.1.3)."""


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
    key_id: str | None = None
    """As `Actor.key_id`."""
    proxy_user: str | None = None
    """The user that the proxy in front names."""
    new_form_token: str = field(default="", repr=False)
    """What their browser is to keep, so that `csrf` stays the same; "" if it has it."""

    @property
    def is_by_proxy(self) -> bool:
        """Whether the proxy logged them in, and no key."""
        return self.proxy_user is not None and not self.key_hash

    @property
    def owner(self) -> str:
        """Whose the registrations are that they make: their key's, or their own, which no key's name can be."""
        return f"user:{self.proxy_user}" if self.is_by_proxy else self.name

    @property
    def title(self) -> str:
        """How pages call them."""
        return self.proxy_user or self.name

    def has_scope(self, scope: Scope) -> bool:
        return scope in self.scopes

    @property
    def home(self) -> str:
        """The first page that they may open."""
        return "/" if self.has_scope("read") or not self.has_scope("register") else "/register"


ANONYMOUS = CurrentUser("", ())

_SCOPES_OF: Mapping[str, Sequence[Scope]] = {
    "admin": SCOPES,
    "register": ("register", "read"),
    "read": ("read",),
    "none": (),
}
"""What a role of `server.trusted_roles` may do."""


async def load_session(request: Request, relay: Relay, now: Instant) -> CurrentUser:
    """The user of the session; ANONYMOUS if there is none.

    Raises Forbidden if the relay has no keys and the request comes from another site or machine; TooManyRequests if the
    session exceeds its rate limit.
    """
    if not await relay.requires_api_key():
        auth.require_local_request(request)
        if relay.local_token is None:
            return CurrentUser("", SCOPES)
    proxied = trusted_user(request, relay.config.server)
    user = await _of_session(request, relay, now)
    if user is ANONYMOUS:
        return _by_proxy(request, proxied) if proxied is not None else ANONYMOUS
    return user if proxied is None else replace(user, proxy_user=proxied.name)


async def _of_session(request: Request, relay: Relay, now: Instant) -> CurrentUser:
    token = _cookie(request)
    if not token:
        return ANONYMOUS
    session = await relay.store.read(lambda tx: sessions.get(tx, _hash(token), now))
    if session is None or (key := await relay.find_api_key(session.key_hash)) is None:
        return ANONYMOUS
    limits: RequestLimits = request.app.state.limits
    limits.check_rate(f"pages:{key.hash}")  # apart from calls: a busy client does not close the pages to people
    return CurrentUser(key.name, key.scopes, session.csrf, token, key.hash, key.id)


def _by_proxy(request: Request, proxied: TrustedUser) -> CurrentUser:
    """The user that the proxy logged in. Each request has to have the header: nothing is stored.

    What keeps other sites from sending forms is a token of the browser, in a cookie that no script can read.
    """
    scopes = _SCOPES_OF[proxied.role]
    if not scopes:
        return ANONYMOUS
    limits: RequestLimits = request.app.state.limits
    limits.check_rate(f"pages:user:{proxied.name}")
    kept = _cookie(request, _FORM_COOKIE)
    new = "" if kept else new_token(request.app.state.relay.store.random_bytes(32))
    csrf = _hash(f"{kept or new}:{proxied.name}")
    return CurrentUser(proxied.name, scopes, csrf, proxy_user=proxied.name, new_form_token=new)


def actor_of(user: CurrentUser, request: Request) -> Actor:
    """Who acts, for the audit log: the key that the user logged in with, and the user that the proxy names."""
    key = None if user.is_by_proxy else user.name or None
    return Actor(via=Via.DASHBOARD, key=key, key_id=user.key_id, user=user.proxy_user, address=address_of(request))


async def is_valid(relay: Relay, user: CurrentUser) -> bool:
    """Whether their session and its key still hold; without a session, whether the relay still needs no key."""
    if user.is_by_proxy:
        return True  # the proxy decides at the next request of the page
    if user.key_hash:
        session = await relay.store.read(lambda tx: sessions.get(tx, _hash(user.token), relay.clock()))
        return session is not None and await relay.find_api_key(user.key_hash) is not None
    return not await relay.requires_credentials()


async def log_in(request: Request, relay: Relay, api_key: str, now: Instant) -> CurrentUser:
    """Begins a session for the holder of a key.

    Raises Unauthenticated for an unknown key, TooManyRequests after too many of them, Forbidden for a page of http if
    browsers keep the session's cookie over https only.
    """
    if _is_secure(request) and request.headers.get("origin", "").startswith("http://"):
        public = request.app.state.relay.config.server.public_url or "the https:// address"
        raise Forbidden("insecure_login", _HTTP_BESIDE_HTTPS.format(public))
    key = await auth.authenticate(request, api_key.strip(), Via.DASHBOARD)  # guard: login-throttle
    limits: RequestLimits = request.app.state.limits
    limits.check_rate(key.hash)
    token = new_token(relay.store.random_bytes(32))
    session = Session(
        id=_hash(token), key_hash=key.hash, csrf=new_token(relay.store.random_bytes(24)), expires_at=now + SESSION_TTL
    )
    actor = Actor(via=Via.DASHBOARD, key=key.name or None, key_id=key.id, address=address_of(request))

    def begin(tx: Tx) -> None:
        sessions.add(tx, session, now)
        audit.add(tx, actor, AuditAction.LOGIN, now)

    await relay.store.write(begin)
    return CurrentUser(key.name, key.scopes, session.csrf, token)


async def log_out(relay: Relay, user: CurrentUser) -> None:
    """Ends the session, in every tab."""
    if user.token:
        await relay.store.write(lambda tx: sessions.remove(tx, _hash(user.token)))


def set_cookie(response: Response, token: str, request: Request) -> None:
    """Gives the browser a session's token, for this site alone and out of reach of scripts; "" takes it away.

    Over https the cookie's name has a prefix with which browsers refuse it from any other site, and over http.
    """
    _set_cookie(response, _COOKIE, token, request)


def keep_form_token(response: Response, user: CurrentUser, request: Request) -> None:
    """Gives the browser of a user that the proxy logged in what their forms are checked by."""
    if user.new_form_token:
        _set_cookie(response, _FORM_COOKIE, user.new_form_token, request)


def _set_cookie(response: Response, cookie: str, token: str, request: Request) -> None:
    secure = _is_secure(request) or request.headers.get("origin", "").startswith("https://")
    path = public_url.with_base_path(request, "") or "/"
    named = _own_name(cookie, request)
    name = _SECURE_PREFIX[path == "/"] + named if secure else named
    life = SESSION_TTL // SECOND if token else 0
    # guard: session-cookie
    response.set_cookie(name, token, max_age=life, httponly=True, samesite="lax", secure=secure, path=path)


def _cookie(request: Request, cookie: str = _COOKIE) -> str:
    """The token that the browser holds; "" without one. A name without the prefix counts over http only."""
    named = _own_name(cookie, request)
    names = [_SECURE_PREFIX[True] + named, _SECURE_PREFIX[False] + named]
    if not _is_secure(request):
        names.append(named)
    return next((request.cookies[name] for name in names if name in request.cookies), "")


def _own_name(cookie: str, request: Request) -> str:
    """The cookie's name with the port: browsers send cookies to all ports of a host, and two relays may be on one."""
    port = public_url.port_in_browser(request)
    return f"{cookie}_{port}" if port else cookie


def _is_secure(request: Request) -> bool:
    """Whether browsers use https. On this machine itself they use http, even if the public address is https."""
    public = public_url.parse_origin(request.app.state.relay.config.server.public_url or "")
    is_public = public is not None and public.scheme == "https" and not public_url.is_local(request)
    return public_url.is_https(request) or is_public


async def check_scope(request: Request, user: CurrentUser, scope: Scope) -> None:
    """Raises Unauthenticated if nobody is logged in, Forbidden if the key lacks the scope: the audit log has that."""
    if user is ANONYMOUS:
        raise Unauthenticated("login_needed", "log in first")
    if not user.has_scope(scope):
        await auth.record_missing_scope(request, actor_of(user, request), scope)
        if user.is_by_proxy:
            text = f"this needs the scope {scope}; your role has {', '.join(user.scopes)}"
            raise Forbidden("insufficient_scope", f"{text}. The operator gives roles in server.trusted_roles")
        text = f"this needs a key with the scope {scope}; yours has {', '.join(user.scopes) or 'none'}"
        raise Forbidden("insufficient_scope", f"{text}. Log out and log in with another key")


def check_csrf(request: Request, user: CurrentUser, form: Mapping[str, str]) -> None:
    """Raises Forbidden for a form that another site made the browser send; Unauthenticated if its session has ended."""
    origin = request.headers.get("origin", "")
    if origin and not public_url.is_own_origin(request, origin):  # guard: foreign-origin
        raise Forbidden("foreign_form", _foreign_origin(request, origin))
    foreign = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
    if user is ANONYMOUS and form.get("csrf") and not foreign:
        raise Unauthenticated("session_ended", "the session of this form has ended")
    # guard: foreign-form
    if foreign or not hmac.compare_digest(form.get("csrf", "").encode(), user.csrf.encode()):
        raise Forbidden(
            "foreign_form", "this form is not from a page of this session; reload the page, and send it again"
        )


def _foreign_origin(request: Request, origin: str) -> str:
    """Why a form is refused for its origin, and what the operator can do about it."""
    configured = request.app.state.relay.config.server.public_url
    public = public_url.parse_origin(configured or "")
    page = public_url.parse_origin(origin)
    if (
        public is not None
        and page is not None
        and public.scheme == "https"
        and page == replace(public, scheme="http", port=page.port)
    ):
        return _HTTP_BESIDE_HTTPS.format(configured)
    expected = f"; it is {configured} now" if configured else ""
    return (
        "this form is not from a page of this session: it comes from another address than the relay's. If it is the "
        f"relay's own page, set server.public_url to the address that the browser shows{expected}"
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
