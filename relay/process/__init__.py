"""Process: what a process asks of the operating system: a socket to listen on, and file descriptors."""

from relay.process.listen_socket import bind_socket, url_of

__all__ = ["bind_socket", "url_of"]
