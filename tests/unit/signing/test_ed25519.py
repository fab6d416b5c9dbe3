"""Ed25519: keys as Standard Webhooks writes them, signatures that others verify, and nothing else accepted."""

import base64
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ValidationFailed
from relay.model import SECOND, Secret
from relay.signing import SignatureScheme, ed25519, standard_webhooks
from relay.verify import BadSignature, verify

NOW = 1_709_287_245_000
BODY = b'{"type":"job.completed"}'
PRIVATE = standard_webhooks.new_secret(b"s" * 32, SignatureScheme.ED25519)
PUBLIC = ed25519.public_key_of(PRIVATE)
OTHER = ed25519.public_key_of(standard_webhooks.new_secret(b"o" * 32, SignatureScheme.ED25519))

VECTOR = (
    bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"),
    bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"),
    bytes.fromhex("af82"),
    bytes.fromhex(
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    ),
)
"""RFC 8032, section 7.1, test 3: seed, public key, message, signature."""


def test_keys_and_signatures_match_rfc_8032() -> None:
    """The example of RFC 8032, in the encoding of Standard Webhooks."""
    seed, public, message, signed = VECTOR
    private = ed25519.new_private_key(seed)
    assert private == "whsk_" + base64.b64encode(seed + public).decode()
    assert ed25519.public_key_of(private) == "whpk_" + base64.b64encode(public).decode()
    assert ed25519.signature(private, message) == "v1a," + base64.b64encode(signed).decode()
    short = "whsk_" + base64.b64encode(seed).decode()
    assert ed25519.signature(short, message) == ed25519.signature(private, message)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_signature_verifies_with_its_text_and_key_only(content: bytes, other: bytes) -> None:
    """With no other text or key."""
    signature = ed25519.signature(PRIVATE, content)
    assert ed25519.verify_signature(PUBLIC, content, signature)
    assert ed25519.verify_signature(PUBLIC, other, signature) == (content == other)
    assert not ed25519.verify_signature(OTHER, content, signature)


@given(st.text(max_size=120))
def test_any_text_can_be_checked_as_a_signature(text: str) -> None:
    """A text that is no signature does not verify, and raises nothing."""
    assert not ed25519.verify_signature(PUBLIC, BODY, text)
    assert not ed25519.verify_signature(PUBLIC, BODY, "v1a," + text)


@pytest.mark.parametrize(
    "wrong",
    [
        "whsk_",
        "whsk_not base64",
        PRIVATE.replace("whsk_", "whsec_"),
        PRIVATE.removeprefix("whsk_"),
        PRIVATE + "A",
        "whsk_" + base64.b64encode(b"s" * 31).decode(),
        "whsk_" + base64.b64encode(b"s" * 32 + b"p" * 32).decode(),
        PUBLIC,
    ],
)
def test_invalid_private_keys_are_refused(wrong: str) -> None:
    """The error says how to make a key, and does not repeat the text."""
    with pytest.raises(ValidationFailed, match="relay keygen") as raised:
        ed25519.check_private_key(wrong)
    assert raised.value.code == "invalid_secret"
    assert len(wrong) < 10 or wrong not in raised.value.message


def test_requests_are_signed_with_all_keys_that_are_valid() -> None:
    """During a change from HMAC to Ed25519 a request has both signatures, and either verifies."""
    shared = standard_webhooks.new_secret(b"h" * 32)
    headers = standard_webhooks.headers("evt_1", BODY, [Secret(PRIVATE), Secret(shared, until=NOW + 1)], NOW)
    assert [one.partition(",")[0] for one in headers["webhook-signature"].split()] == ["v1a", "v1"]
    for known in (PUBLIC, shared, [OTHER, PUBLIC]):
        assert verify(headers, BODY, known, now=NOW) == {"type": "job.completed"}
    with pytest.raises(BadSignature):
        verify(headers, BODY, OTHER, now=NOW)
    with pytest.raises(BadSignature):
        verify(headers, BODY + b" ", PUBLIC, now=NOW)
    with pytest.raises(ValidationFailed, match="public_key"):
        verify(headers, BODY, "whpk_odd", now=NOW)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not on this machine")
def test_openssl_verifies_signatures(tmp_path: object) -> None:
    """An independent implementation accepts the signature for that public key."""
    headers = standard_webhooks.headers("evt_1", BODY, [Secret(PRIVATE)], NOW)
    raw = base64.b64decode(PUBLIC.removeprefix("whpk_"))
    folder = str(tmp_path)
    # The fixed head of an Ed25519 key in DER (RFC 8410).
    with open(f"{folder}/key.der", "wb") as key, open(f"{folder}/signed", "wb") as signed:
        key.write(bytes.fromhex("302a300506032b6570032100") + raw)
        signed.write(f"evt_1.{NOW // SECOND}.".encode() + BODY)
    with open(f"{folder}/signature", "wb") as signature:
        signature.write(base64.b64decode(headers["webhook-signature"].removeprefix("v1a,")))
    asked = "openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin -in signed -sigfile signature".split()
    judged = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr
