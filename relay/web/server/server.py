"""Serving the relay's API to the network: what the HTTP server takes, from whom, and what it says by itself."""

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from relay.web.server.http_protocol import LONGEST_HEAD, BoundedHttpProtocol, ConnectionLimits

Networks = Sequence[IPv4Network | IPv6Network]

DEFAULT_LIMITS = ConnectionLimits()

FINISH_REQUESTS = 1
"""Seconds that open requests get when the server stops."""


def server_config(
    app: ASGIApp, trusted_proxies: Networks = (), bounds: ConnectionLimits = DEFAULT_LIMITS
) -> uvicorn.Config:
    """How uvicorn serves the application.

    Whom a request is from is what the connection says, unless that is one of the `trusted_proxies`: then it is the last
    address in X-Forwarded-For that is not one of theirs. uvicorn by itself would trust whoever asks from 127.0.0.1.
    """
    connection = partial(BoundedHttpProtocol, bounds=bounds, is_trusted_proxy=partial(_in_networks, trusted_proxies))
    return uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], connection),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # below that it tells what strangers send, once a request
        access_log=False,
        server_header=False,  # guard: server-header
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(_named(trusted_proxies)),  # guard: trusted-proxies
        h11_max_incomplete_event_size=LONGEST_HEAD,
        timeout_graceful_shutdown=FINISH_REQUESTS,
    )


def _in_networks(networks: Networks, address: str) -> bool:
    """Whether the other end of a connection is in one of the networks."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    plain = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(plain in network for network in networks)


def _named(networks: Networks) -> Iterator[str]:
    """The networks as uvicorn takes them; IPv4 ones also as they poll on a socket that takes both."""
    for network in networks:
        yield str(network)
        if isinstance(network, IPv4Network):
            yield f"::ffff:{network.network_address}/{96 + network.prefixlen}"
