"""Process: what a process asks of the operating system: the time, a socket to listen on, and file descriptors."""

from relay.process.clock import monotonic_ms, system_clock
from relay.process.listen_socket import bind_socket, url_of

__all__ = ["bind_socket", "monotonic_ms", "system_clock", "url_of"]
