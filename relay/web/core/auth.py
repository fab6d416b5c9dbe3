"""Authenticates API requests by bearer keys, of which the relay stores the hashes."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request

from relay.model import Actor, AuditAction, Via
from relay.security import SCOPES, ApiKey, Scope, hash_api_key
from relay.service import Relay
from relay.web.core import public_url
from relay.web.core.errors import Forbidden, Unauthenticated
from relay.web.core.rate_limits import RequestLimits, address_of
from relay.web.core.refusals import RefusalLog

FORWARDING = frozenset("forwarded via x-real-ip x-client-ip true-client-ip cdn-loop x-original-url".split())
FORWARDING_PREFIXES = ("x-forwarded", "x-envoy-", "x-amzn-", "cf-", "fly-", "tailscale-")
"""Names of headers that proxies add to a request."""

_ADVICE = "make a key with `relay keys create`"


@dataclass(frozen=True, slots=True)
class Caller:
    """The API key of a request, as far as a handler needs it."""

    name: str = ""
    """The key's name; "" for a call that needs no key, and for a relay without keys."""
    scopes: Sequence[Scope] = ()
    key_hash: str = ""
    key_id: str | None = None
    """As `Actor.key_id`."""

    @property
    def is_admin(self) -> bool:
        """Whether the caller may see what is inside the operator's network."""
        return "admin" in self.scopes

    @property
    def may_see_all(self) -> bool:
        """Whether registrations of other keys are theirs to see and to withdraw."""
        return "read" in self.scopes or "admin" in self.scopes


async def authorise(request: Request, scope: Scope | None) -> Caller:
    """The caller, who may do `scope`; None: everybody may. Raises Unauthenticated, Forbidden, TooManyRequests."""
    relay: Relay = request.app.state.relay
    if scope is None:
        return Caller()
    if not await relay.requires_api_key():
        require_local_request(request)
        if relay.local_token is None:  # guard: local-token
            return Caller("", SCOPES)
    key = await authenticate(request, bearer(request.headers), Via.API)
    limits: RequestLimits = request.app.state.limits
    limits.check_rate(key.hash)  # guard: requests-per-minute
    may_all = scope == "subscribe" and "admin" in key.scopes
    if scope not in key.scopes and not may_all:  # guard: scope
        actor = Actor(via=Via.API, key=key.name or None, key_id=key.id, address=address_of(request))
        await record_missing_scope(request, actor, scope)
        raise Forbidden(
            "insufficient_scope",
            f"this call needs a key with the scope {scope}; this one has {', '.join(key.scopes) or 'none'}",
        )
    return Caller(key.name, key.scopes, key.hash, key.id)


def bearer(headers: Headers) -> str:
    """The key of the Authorization header. Raises Unauthenticated without one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("invalid_api_key", "an API key is missing; send it as Authorization: Bearer YOUR_KEY")
    return token.strip()


async def authenticate(request: Request, token: str, via: Via) -> ApiKey:
    """The API key with this text. Raises Unauthenticated, and TooManyRequests after too many unknown keys.

    The audit log has unknown keys as failed logins `via` this way.
    """
    relay: Relay = request.app.state.relay
    limits: RequestLimits = request.app.state.limits
    hash = hash_api_key(token)
    wait = limits.begin_attempt(request, hash)
    if not limits.may_be_checked(request, token, hash, wait):  # guard: chosen-keys
        limits.record_failure(request, wait)
    if (key := await relay.find_api_key(hash)) is None:  # guard: known-client
        refusals: RefusalLog = request.app.state.refusals
        actor = Actor(via=via, address=address_of(request))
        await refusals.record(relay, request, AuditAction.LOGIN_FAILED, actor)
        limits.record_failure(request, wait)
        raise Unauthenticated("invalid_api_key", "this API key is not known here; is it complete, and for this relay?")
    limits.record_success(request, hash)
    return key


async def record_missing_scope(request: Request, actor: Actor, scope: Scope) -> None:
    """Records an act that was refused, because the key lacks the scope for it."""
    refusals: RefusalLog = request.app.state.refusals
    await refusals.record(request.app.state.relay, request, AuditAction.REFUSED, actor, needed_scope=scope)


def require_local_request(request: Request) -> None:
    """Raises Forbidden for a request from elsewhere: without keys the relay is for the users of its own machine.

    A page of another site sends its own Origin; one whose name was made to resolve to loopback sends that name as Host;
    a proxy or tunnel on this machine sends the public host name, or a header that names the client.
    """
    if not public_url.is_local(request):  # guard: loopback-host
        text = "without API keys the relay answers to 127.0.0.1 and localhost only"
        raise Forbidden("foreign_host", f"{text}; {_ADVICE}")
    if _came_through_proxy(request):  # guard: no-proxy-without-keys
        text = "without API keys the relay answers to its own machine only, and this request came through a proxy"
        raise Forbidden("forwarded", f"{text}; {_ADVICE}")
    origin = request.headers.get("origin")
    is_cross_site = request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
    if is_cross_site or (origin is not None and not public_url.is_own_origin(request, origin)):
        raise Forbidden("foreign_origin", "without API keys the relay takes no calls from pages of other sites")


def _came_through_proxy(request: Request) -> bool:
    """Whether a proxy sent the request: it has a proxy's header, or is HTTP/1.0, which nginx sends by default."""
    if request.scope.get("http_version") == "1.0":
        return True
    names = request.headers.keys()
    return any(name in FORWARDING or name.startswith(FORWARDING_PREFIXES) for name in names)
