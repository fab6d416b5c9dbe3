"""Whom the clients trust."""

import ssl

import pytest

from relay.client.tls import trusted_by


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "HTTP://relay.example"])
def test_without_tls_no_authority_is_read(url: str) -> None:
    """And none is trusted, should a request meet TLS all the same."""
    tls = trusted_by(url)
    assert tls.cert_store_stats()["x509_ca"] == 0
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_authorities_are_read_once_for_all_clients() -> None:
    """Those of every HTTP client, with names and dates checked."""
    tls = trusted_by("https://relay.example")
    assert tls.cert_store_stats()["x509_ca"] > 50
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert trusted_by("https://other.example/relay") is tls
