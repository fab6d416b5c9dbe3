"""The user that a proxy in front has authenticated: the header `server.trusted_user_header`, from a trusted proxy only.

The proxy is the other end of the TCP connection, never an address of X-Forwarded-For. Only headers of exactly the
configured names are read.
"""

from dataclasses import dataclass

from starlette.requests import Request

from relay.config import Server
from relay.web.core.errors import UnclearUser
from relay.web.server.http_protocol import CONNECTION, BoundedHttpProtocol

MAX_NAME = 200
"""Characters of a user's name."""


@dataclass(frozen=True, slots=True)
class TrustedUser:
    """Who uses the dashboard, as the proxy says."""

    name: str
    role: str
    """`admin`, `register`, `read`, or `none`: not allowed."""


def trusted_user(request: Request, server: Server) -> TrustedUser | None:
    """The user that the proxy names; None without the header, or if it does not come from a trusted proxy.

    Raises UnclearUser for a header that comes twice, is empty, or is no name: a visitor may have sent a copy.
    """
    header = server.trusted_user_header
    if header is None or not _comes_from_trusted_proxy(request):  # guard: user-header-from-proxy
        return None
    names = _values(request, header)
    if not names:
        return None  # a role without a user does nothing
    roles = _values(request, server.trusted_role_header) if server.trusted_role_header else []
    if len(names) > 1 or len(roles) > 1:  # guard: one-user-header
        raise _unclear(header if len(names) > 1 else str(server.trusted_role_header), "comes more than once")
    name = _text(header, names[0])
    if not name or "," in name:
        raise _unclear(header, "is empty" if not name else "names several users")
    return TrustedUser(name, _role(server, _text(str(server.trusted_role_header), roles[0]) if roles else ""))


def _comes_from_trusted_proxy(request: Request) -> bool:
    connection = request.scope.get("extensions", {}).get(CONNECTION)
    return isinstance(connection, BoundedHttpProtocol) and connection.is_from_trusted_proxy


def _values(request: Request, header: str) -> list[bytes]:
    wanted = header.lower().encode()
    return [value for name, value in request.scope["headers"] if name.lower() == wanted]


def _text(header: str, value: bytes) -> str:
    try:
        text = value.decode().strip()
    except UnicodeDecodeError:
        raise _unclear(header, "is not UTF-8") from None
    if len(text) > MAX_NAME or not text.isprintable():
        raise _unclear(header, "is too long, or holds a control character")
    return text


def _role(server: Server, text: str) -> str:
    """The highest role of those that the header lists, or the default."""
    values = [part.strip() for part in text.split(",")]
    named = [server.trusted_roles.get(value) for value in values] if server.trusted_roles else values
    return next((role for role in ("admin", "register", "read") if role in named), server.trusted_default_role)


def _unclear(header: str, fault: str) -> UnclearUser:
    text = f"nobody is logged in, because the header {header} of the proxy {fault}"
    return UnclearUser("unclear_user", f"{text}; the proxy has to delete the visitor's own, and set one")
