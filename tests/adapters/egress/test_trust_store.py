"""The trust store that Exec, receivers and proxies share: real files, a real handshake."""

import ssl
import subprocess
from pathlib import Path

import certifi
import pytest

from relay.egress import RequestFailed
from relay.egress.http_client import WebhookHttpClient
from relay.egress.tls import client_tls_context
from relay.errors import ConfigError
from tests.adapters.egress.test_guard import _rules, _secure, certificate

__all__ = ["certificate"]


def _folder_of(certificate: Path, folder: Path) -> Path:
    """The certificate under the name that OpenSSL searches for, as `openssl rehash` writes it."""
    folder.mkdir()
    hashed = subprocess.run(
        ["openssl", "x509", "-subject_hash", "-noout", "-in", certificate], check=True, capture_output=True, text=True
    )
    (folder / f"{hashed.stdout.strip()}.0").write_bytes(certificate.read_bytes())
    return folder


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_an_authority_of_the_company_is_trusted(certificate: Path, tmp_path: Path, variable: str) -> None:
    """A certificate that only the named file or folder vouches for is accepted."""
    place = certificate if variable == "SSL_CERT_FILE" else _folder_of(certificate, tmp_path / "certs")
    trusted, public = client_tls_context({variable: str(place)}), client_tls_context({})
    async with _secure(certificate) as (served, _):
        for context, accepted in ((trusted, True), (public, False)):
            egress = WebhookHttpClient(_rules(allow="127.0.0.0/8"), ssl_context=context)
            outcome, _ = await egress.post(f"https://127.0.0.1:{served.port}/", {}, b"{}", 5_000)
            await egress.aclose()
            # The certificate names a.test, so being trusted shows as a complaint about the name alone.
            assert isinstance(outcome, RequestFailed)
            assert ("self-signed" not in outcome.detail) is accepted


def test_without_variables_the_public_authorities_are_trusted() -> None:
    """The bundle of certifi, and no certificate of the machine."""
    expected = ssl.create_default_context(cafile=certifi.where()).cert_store_stats()
    assert client_tls_context({}).cert_store_stats() == expected
    assert client_tls_context({"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}).cert_store_stats() == expected


def test_file_and_folder_are_both_trusted(certificate: Path, tmp_path: Path) -> None:
    """With both variables, the file's certificates count as they do by themselves."""
    folder = tmp_path / "certs"
    folder.mkdir()
    both = client_tls_context({"SSL_CERT_FILE": str(certificate), "SSL_CERT_DIR": str(folder)})
    assert both.cert_store_stats()["x509"] == 1


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_missing_file_is_named(variable: str, tmp_path: Path) -> None:
    """The error names the variable and the path."""
    with pytest.raises(ConfigError, match=rf"{variable} names .*missing"):
        client_tls_context({variable: str(tmp_path / "missing")})


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    """A key, or an empty file, in the certificates' place."""
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"SSL_CERT_FILE names .* holds no PEM certificate"):
        client_tls_context({"SSL_CERT_FILE": str(file)})
