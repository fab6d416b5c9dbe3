"""Serving the relay's API to the network: what the HTTP server takes, from whom, and what it says by itself."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network

import uvicorn
from starlette.types import ASGIApp

Networks = Sequence[IPv4Network | IPv6Network]

FINISH_REQUESTS = 1
"""Seconds that open requests get when the server stops."""


def server_config(app: ASGIApp, trusted_proxies: Networks = ()) -> uvicorn.Config:
    """How uvicorn serves the application.

    Whom a request is from is what the connection says, unless that is one of the `trusted_proxies`: then it is the last
    address in X-Forwarded-For that is not one of theirs. uvicorn by itself would trust whoever asks from 127.0.0.1.
    """
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(_named(trusted_proxies)),
        timeout_graceful_shutdown=FINISH_REQUESTS,
    )


def _named(networks: Networks) -> Iterator[str]:
    """The networks as uvicorn takes them; IPv4 ones also as they look on a socket that takes both."""
    for network in networks:
        yield str(network)
        if isinstance(network, IPv4Network):
            yield f"::ffff:{network.network_address}/{96 + network.prefixlen}"
