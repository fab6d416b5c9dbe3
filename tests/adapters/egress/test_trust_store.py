"""The trust store that Exec, receivers and proxies share: real files, a real handshake."""

import datetime
import json
import ssl
import subprocess
from ipaddress import ip_address
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay.egress import RequestFailed
from relay.egress.http_client import WebhookHttpClient
from relay.egress.tls import client_tls_context
from relay.errors import ConfigError
from relay.model import SECOND
from relay.model.poll_result import JobFound, PollFailed
from relay.polling.exec_client import ExecClient
from relay.polling.exec_transport import make_http
from relay.sandbox.exec_server import SANDBOX_KEY
from tests.adapters.egress.test_guard import _rules, _secure, certificate
from tests.loopback import answer, answering, serving
from tests.make import NOON

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
async def test_an_authority_from_the_environment_is_trusted(certificate: Path, tmp_path: Path, variable: str) -> None:
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


def _signed(name: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate in PEM: an authority's if it signs itself, else a server's for 127.0.0.1."""
    now = datetime.datetime.now(datetime.UTC)
    subject, signer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer))
    made = (
        x509.CertificateBuilder(signer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    )
    return made.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", None])
async def test_exec_and_receivers_are_trusted_by_the_same_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    """An Exec and a receiver whose certificates a company's authority signed: both are reached, or neither."""
    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca, pem = tmp_path / "ca.pem", tmp_path / "server.pem"
    ca.write_bytes(_signed("Company", authority, "Company", authority))
    own_key = server.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(_signed("127.0.0.1", server, "Company", authority) + own_key)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, str(ca if variable == "SSL_CERT_FILE" else _folder_of(ca, tmp_path / "certs")))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem)
    job = json.dumps({"id": "j1", "status": "processing"}).encode()
    async with serving(answering(answer(job)), tls) as served:
        url, http = served.url(scheme="https"), make_http(5 * SECOND)
        exec = ExecClient("default", SANDBOX_KEY, url, timeout=5 * SECOND, clock=lambda: NOON, http=http)
        poll = (await exec.get_job("j1")).result
        await exec.aclose()
        egress = WebhookHttpClient(_rules(allow="127.0.0.0/8"))
        outcome, _ = await egress.post(url, {}, b"{}", 5 * SECOND)
        await egress.aclose()
    if variable is None:
        assert isinstance(poll, PollFailed)
        assert "certificate verify failed" in poll.detail.lower()
        assert isinstance(outcome, RequestFailed)
        assert "certificate" in outcome.detail
    else:
        assert isinstance(poll, JobFound)
        assert not isinstance(outcome, RequestFailed)


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
