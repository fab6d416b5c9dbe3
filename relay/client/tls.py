"""Whom a client of a relay trusts. To read the public authorities takes longer than most requests to a relay."""

import ssl
from functools import lru_cache

import httpx


def trusted_by(url: str) -> ssl.SSLContext:
    """The TLS context for the relay at this URL: of the public authorities, read once for all clients of a program.

    For `http://`, which has no TLS, it is a context that trusts nobody.
    """
    return _nobody() if url.lower().startswith("http://") else _public_authorities()


@lru_cache(1)
def _public_authorities() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


@lru_cache(1)
def _nobody() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
