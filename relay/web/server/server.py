"""The HTTP server: uvicorn with the relay's connection limits and trusted proxies."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from relay.web.server.http_protocol import MAX_HEAD, BoundedHttpProtocol, ConnectionCount, ConnectionLimits

Networks = Sequence[IPv4Network | IPv6Network]

DEFAULT_LIMITS = ConnectionLimits()

FINISH_REQUESTS = 1
"""Seconds for open requests when the server stops."""


class Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to the program: at the first it would close its socket at once."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


def server_config(
    app: ASGIApp, trusted_proxies: Networks = (), limits: ConnectionLimits = DEFAULT_LIMITS
) -> uvicorn.Config:
    """uvicorn's configuration for the application.

    The client's address is that of the connection. If that is one of the `trusted_proxies`, it is the last address in
    X-Forwarded-For that is none of theirs. uvicorn's default would trust every client at 127.0.0.1.
    """
    connection = partial(
        BoundedHttpProtocol,
        limits=limits,
        count=ConnectionCount(),
        is_trusted_proxy=partial(_in_networks, trusted_proxies),
    )
    return uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], connection),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # below that it logs what strangers send, once a request
        access_log=False,
        server_header=False,  # guard: server-header
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(_network_names(trusted_proxies)),  # guard: trusted-proxies
        h11_max_incomplete_event_size=MAX_HEAD,
        timeout_graceful_shutdown=FINISH_REQUESTS,
    )


def _in_networks(networks: Networks, address: str) -> bool:
    """Whether an address is in one of the networks."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    unmapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(unmapped in network for network in networks)


def _network_names(networks: Networks) -> Iterator[str]:
    """The networks for uvicorn; IPv4 ones also as a dual-stack socket shows them."""
    for network in networks:
        yield str(network)
        if isinstance(network, IPv4Network):
            yield f"::ffff:{network.network_address}/{96 + network.prefixlen}"
