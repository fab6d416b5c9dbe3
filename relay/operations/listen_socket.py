"""A socket to listen on, and the URL that leads to it."""

import socket

from relay.errors import RelayError

_BACKLOG = 512


def bind_socket(host: str, port: int, hint: str) -> socket.socket:
    """A listening socket; port 0: any free one. Raises RelayError that ends in `hint` where it can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the socket's protocol says TCP; without it each answer waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        why = (error.strerror or str(error)) if isinstance(error, OSError) else "no such port"
        raise RelayError(f"can't listen on {host}:{port}: {why}; {hint}") from None
    return listening


def url_of(listening: socket.socket) -> str:
    """`http://127.0.0.1:8080`."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
