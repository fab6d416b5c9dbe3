"""Name resolution for webhooks, on threads of its own."""

import asyncio
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

_MAX_ADDRESSES = 16
_THREADS_PER_CONNECTION = 4
"""A name server that does not answer holds a thread for longer than an attempt lasts: half a minute, by default."""
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class ThreadResolver(AbstractResolver):
    """The system's resolver on its own threads.

    On the event loop's few shared threads, names whose name servers do not answer would delay all others.
    """

    def __init__(self, connections: int, getaddrinfo: Callable[..., Any] = socket.getaddrinfo) -> None:
        """For a client with so many connections at once."""
        self._getaddrinfo = getaddrinfo
        # guard: slow-names
        self._threads = ThreadPoolExecutor(connections * _THREADS_PER_CONNECTION, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The first 16 addresses of `host`.

        Raises OSError if it has none, or if no file descriptor is left for the query: the system's resolver reports
        both in the same way.
        """
        resolve = partial(self._getaddrinfo, host.encode(), port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        try:
            addresses = await asyncio.get_running_loop().run_in_executor(self._threads, resolve)
        except OSError:
            os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))  # raises if no descriptor is left
            raise
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=_NUMERIC)
            for kind, _, protocol, _, address in addresses[:_MAX_ADDRESSES]
        ]

    async def close(self) -> None:
        """Cancels waiting resolutions; those that have begun end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
