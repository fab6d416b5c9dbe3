"""Who may use the API: bearer keys, known by their hash."""

import hashlib
import hmac
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request

from relay.config import ApiKey, Config
from relay.web.problems import Forbidden, Unauthenticated

Scope = Literal["register", "read", "admin"]
"""What a key may do: register jobs and withdraw; read what the relay knows; change endpoints and resend."""


FORWARDING = frozenset("forwarded via x-forwarded-for x-forwarded-host x-forwarded-proto x-real-ip".split())
"""What a proxy adds to a request that it hands on."""

_ADVICE = "make a key with `relay keygen`"


def authorise(request: Request, config: Config, scope: Scope | None) -> str:
    """The name of the caller's key; "" where the call needs none, or the relay has no keys. Raises Refused."""
    if scope is None:
        return ""
    if not config.security.api_keys:
        _refuse_others(request.headers)
        return ""
    key = known(_bearer(request.headers), config.security.api_keys)
    if scope not in key.scopes:
        raise Forbidden(
            "insufficient_scope",
            f"this call needs a key with the scope {scope}; this one has {', '.join(key.scopes) or 'none'}",
        )
    return key.name


def _bearer(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("invalid_api_key", "an API key is missing; send it as Authorization: Bearer YOUR_KEY")
    return token.strip()


def known(token: str, keys: Sequence[ApiKey]) -> ApiKey:
    """The key with this text; every key is compared, so that the time tells nothing."""
    digest = "sha256:" + hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
    found = [key for key in keys if hmac.compare_digest(key.hash, digest)]
    if not found:
        raise Unauthenticated("invalid_api_key", "this API key is not known here; is it complete, and for this relay?")
    return found[0]


def _refuse_others(headers: Headers) -> None:
    """Without keys the relay is for the people at its own machine, whatever leads there from elsewhere.

    A page of another site sends its own Origin; one whose name was made to resolve to loopback sends that name as Host;
    a proxy or tunnel on this machine sends the name that the world knows, or says for whom it asks.
    """
    host = headers.get("host", "")
    if not _is_loopback(host):
        text = "without API keys the relay answers to 127.0.0.1 and localhost only"
        raise Forbidden("foreign_host", f"{text}; {_ADVICE}")
    if any(name in headers for name in FORWARDING):
        text = "without API keys the relay answers to its own machine only, and this request came through a proxy"
        raise Forbidden("forwarded", f"{text}; {_ADVICE}")
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise Forbidden("foreign_origin", "without API keys the relay takes no calls from pages of other sites")


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
