"""Who is logged in: a session, begun with an API key, that ends with the key or after twelve hours.

The browser holds a random token, the store its hash and that of the key: neither can be used to call the API, and a
key that is revoked ends its sessions. Without API keys the dashboard is open, to this machine only, as the API is.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from relay.config import Config
from relay.model import HOUR, SECOND, Instant
from relay.security.api_keys import SCOPES, Scope
from relay.service import Relay
from relay.store.tables import sessions
from relay.store.tables.sessions import Session
from relay.web.core import auth
from relay.web.core.errors import Forbidden, Unauthenticated
from relay.web.core.rate_limits import RequestLimits

SESSION_TTL = 12 * HOUR
"""How long a session lasts, milliseconds."""

_COOKIE = "relay_session"


@dataclass(frozen=True, slots=True)
class CurrentUser:
    """What the person in front of the browser may do."""

    name: str
    """The name of their key; "" where the relay has no keys."""
    scopes: Sequence[Scope]
    csrf: str = field(default="", repr=False)
    """What each of their forms must hold."""
    token: str = field(default="", repr=False)
    key_hash: str = field(default="", repr=False)

    def has_scope(self, scope: Scope) -> bool:
        return scope in self.scopes

    @property
    def home(self) -> str:
        """The first page that they may see."""
        return "/" if self.has_scope("read") or not self.has_scope("register") else "/register"


ANONYMOUS = CurrentUser("", ())


async def load_session(request: Request, relay: Relay, now: Instant) -> CurrentUser:
    """The visitor; NOBODY where no session is going on.

    Raises Forbidden for pages of other sites, without keys; TooMany where the session asks too often.
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


async def is_valid(relay: Relay, visitor: CurrentUser) -> bool:
    """Whether their key still holds; without one, whether the relay still wants none."""
    if visitor.key_hash:
        return await auth.find_key(relay, visitor.key_hash) is not None
    return not await relay.requires_api_key()


async def log_in(request: Request, relay: Relay, api_key: str, now: Instant) -> CurrentUser:
    """Begins a session for the holder of a key.

    Raises Unauthenticated for a key not known, TooMany where too many wrong ones came before it.
    """
    key = await auth.authenticate(request, api_key.strip())  # guard: login-guesses
    limits: RequestLimits = request.app.state.limits
    limits.check_rate(key.hash)
    token = secrets.token_urlsafe(32)
    made = Session(id=_hash(token), key_hash=key.hash, csrf=secrets.token_urlsafe(24), expires_at=now + SESSION_TTL)
    await relay.store.write(lambda tx: sessions.add(tx, made, now))
    return CurrentUser(key.name, key.scopes, made.csrf, token)


async def log_out(relay: Relay, visitor: CurrentUser) -> None:
    """Ends a session, here and in every other tab."""
    if visitor.token:
        await relay.store.write(lambda tx: sessions.remove(tx, _hash(visitor.token)))


def set_cookie(response: Response, token: str, request: Request, config: Config) -> None:
    """Gives the browser a session's token, for this site alone and out of reach of scripts; "" takes it away."""
    public = urlsplit(config.server.public_url or "")
    encrypted = "https" in (request.url.scheme, public.scheme)
    life = SESSION_TTL // SECOND if token else 0
    # guard: session-cookie
    response.set_cookie(_COOKIE, token, max_age=life, httponly=True, samesite="lax", secure=encrypted, path="/")


def check_scope(visitor: CurrentUser, scope: Scope) -> None:
    """Raises Unauthenticated where nobody is logged in, Forbidden where the key lacks the scope."""
    if visitor is ANONYMOUS:
        raise Unauthenticated("login_needed", "log in first")
    if not visitor.has_scope(scope):
        text = f"this needs a key with the scope {scope}; yours has {', '.join(visitor.scopes) or 'none'}"
        raise Forbidden("insufficient_scope", f"{text}. Log out, and in again with another key")


def check_csrf(request: Request, config: Config, visitor: CurrentUser, form: Mapping[str, str]) -> None:
    """Raises Forbidden for a form that another site made the browser send."""
    origin = request.headers.get("origin", "")
    ours = {request.headers.get("host", ""), urlsplit(config.server.public_url or "").netloc} - {""}
    stranger = origin != "" and urlsplit(origin).netloc not in ours
    foreign = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
    # guard: foreign-form
    if stranger or foreign or not hmac.compare_digest(form.get("csrf", "").encode(), visitor.csrf.encode()):
        raise Forbidden(
            "foreign_form", "this form is not from a page of this session; reload the page, and send it again"
        )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
