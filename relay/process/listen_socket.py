"""Opens a socket to listen on, and gives the URL that leads to it."""

import socket
from typing import Any

from relay.errors import RelayError

_BACKLOG = 512


def bind_socket(host: str, port: int, hint: str) -> socket.socket:
    """A listening socket on an address or a name of either family, IPv4 first. Port 0 means any free port.

    An IPv6 address may be in brackets. Raises RelayError, whose text ends with `hint`.
    """
    bare = host.removeprefix("[").removesuffix("]")
    try:
        addresses = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, OverflowError, UnicodeError) as error:
        raise RelayError(f"can't listen on {host}:{port}: {_reason(error)}; {hint}") from None
    addresses.sort(key=lambda address: address[0] != socket.AF_INET)
    problem = "the name has no address"
    for family, _, _, _, address in addresses:
        try:
            return _bind(family, address)
        except (OSError, OverflowError) as error:
            problem = _reason(error)
    raise RelayError(f"can't listen on {host}:{port}: {problem}; {hint}")


def _bind(family: int, address: tuple[Any, ...]) -> socket.socket:
    # asyncio sets TCP_NODELAY only if the socket's protocol is TCP. Without it each answer waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "the name has no address"
    return (error.strerror or str(error)) if isinstance(error, OSError) else "no such port or name"


def url_of(listening: socket.socket) -> str:
    """`http://127.0.0.1:8080`."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
