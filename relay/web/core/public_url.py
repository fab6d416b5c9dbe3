"""The relay's public URL: the path below which the relay is served, and the origin of its pages.

`server.public_url` may end in a path, such as https://tools.example.com/relay. A proxy in front may strip that path
from requests or leave it: the relay accepts both, and every link, redirect and cookie of its responses has the path."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import idna
from starlette.requests import HTTPConnection

from relay.egress import is_loopback
from relay.service import Relay

_DEFAULT_PORTS = {"http": 80, "https": 443}

_HOST_HEADER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]@:/?#\\\s]+)(:[0-9]*)?")
"""A Host header: a name or an address, and a port. `urlsplit` takes more, and would find a host of its own in it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a page: lower case, the name in ASCII, the scheme's default port filled in."""

    scheme: str
    host: str
    port: int


def parse_origin(text: str) -> Origin | None:
    """The origin of a URL or of an Origin header; None for `null` and for text that has none."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    return Origin(parts.scheme, _ascii(parts.hostname), _DEFAULT_PORTS[parts.scheme] if port is None else port)


def _ascii(host: str) -> str:
    """A name as browsers send it: `server.public_url` may be written with letters beyond ASCII."""
    try:
        return host if host.isascii() else idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        return host


def base_path_of(public_url: str | None) -> str:
    """The path of `server.public_url`, such as `/relay`; "" without one."""
    return urlsplit(public_url or "").path.rstrip("/")


def with_base_path(request: HTTPConnection, path: str) -> str:
    """A path of the relay, such as `/jobs`, as clients have to request it: `/relay/jobs`."""
    return f"{request.scope.get('root_path', '')}{path}"


def path_below_base(request: HTTPConnection) -> str:
    """The path of a request without the path of `server.public_url`."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", "")) or "/"


def is_own_origin(request: HTTPConnection, origin: str) -> bool:
    """Whether a page of this origin is a page of this relay: of `server.public_url`, or of the host of the request.

    If the relay sees http, its own page may be https, because a proxy may end TLS without saying so. But a page of http
    is never a page of an https relay: anybody on the network path could have written it.
    """
    page = parse_origin(origin)
    if page is None:
        return False
    relay: Relay = request.app.state.relay
    public = parse_origin(relay.config.server.public_url or "")
    if page == public:
        return True
    expects_https = is_https(request) or (public is not None and public.scheme == "https" and public.host == page.host)
    if expects_https and page.scheme == "http":
        return False
    return page == _host_of(request, page.scheme)


def is_https(request: HTTPConnection) -> bool:
    """Whether the request came over TLS, as this connection or a trusted proxy says."""
    return request.url.scheme == "https"


def is_local(request: HTTPConnection) -> bool:
    """Whether the request names this machine as its host, as a browser on this machine does."""
    host = _host_of(request)
    return host is not None and is_loopback(host.host)


def port_in_browser(request: HTTPConnection) -> str:
    """The port of the relay's address, as far as the Host header or `server.public_url` names one; else ""."""
    host = _HOST_HEADER.fullmatch(request.headers.get("host", ""))
    if host is not None and host[2] and host[2] != ":":
        return host[2].removeprefix(":")
    relay: Relay = request.app.state.relay
    public = urlsplit(relay.config.server.public_url or "")
    return str(public.port or "")


def _host_of(request: HTTPConnection, scheme: str = "http") -> Origin | None:
    host = request.headers.get("host", "")
    return parse_origin(f"{scheme}://{host}") if _HOST_HEADER.fullmatch(host) else None  # guard: host-header
