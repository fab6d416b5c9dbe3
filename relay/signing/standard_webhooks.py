"""Signing: Standard Webhooks 1.0, symmetric (`v1`) unless the secret is a private key (`signing/ed25519.py`).

What is signed is `id.timestamp.body`, the timestamp in whole seconds; the key is what the secret's base64 holds.
Source: the specification's 'Webhook headers (sending metadata to consumers)' and 'Signature scheme'.
"""

import base64
import hmac
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from relay.signing import ed25519
from relay.times import SECOND, Instant

if TYPE_CHECKING:
    from relay.model import Secret

PREFIX = "whsec_"
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64

_HOW_TO_MAKE_ONE = (
    f"a secret is {PREFIX} followed by the base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} random bytes; leave it "
    'out and the relay makes one, or make one with: echo "whsec_$(openssl rand -base64 32)"'
)


class SignatureScheme(StrEnum):
    """How an endpoint's requests are signed."""

    HMAC = "hmac"
    """With a secret that both sides hold: `v1`."""
    ED25519 = "ed25519"
    """With a key that only the relay holds, and whose public half is published: `v1a`."""


def scheme_of(secret: str) -> SignatureScheme:
    """What a secret signs with, told by its prefix."""
    return SignatureScheme.ED25519 if secret.startswith(ed25519.PRIVATE_PREFIX) else SignatureScheme.HMAC


def secret_to_show(secret: str) -> str | None:
    """What the subscriber is told of a secret that the relay made: all of it; nothing where a public key will do."""
    return secret if scheme_of(secret) is SignatureScheme.HMAC else None


def new_secret(random_bytes: bytes, signing: SignatureScheme = SignatureScheme.HMAC) -> str:
    """A secret made of 24 to 64 `random_bytes`, for Ed25519 of 32. Raises ValueError for fewer or more."""
    if signing is SignatureScheme.ED25519:
        return ed25519.new_private_key(random_bytes)
    if not MIN_SECRET_BYTES <= len(random_bytes) <= MAX_SECRET_BYTES:
        raise ValueError(f"a secret takes {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, not {len(random_bytes)}")
    return PREFIX + base64.b64encode(random_bytes).decode()


def check_secret(text: str) -> None:
    """Raises Invalid (`invalid_secret`) unless `text` is a secret or private key; the error never repeats it."""
    if scheme_of(text) is SignatureScheme.ED25519:
        ed25519.check_private_key(text)
    else:
        key_of(text)


def public_key_of(secret: str) -> str | None:
    """What verifies what `secret` signs, fit to be published; None where that takes the secret itself."""
    return ed25519.public_key_of(secret) if scheme_of(secret) is SignatureScheme.ED25519 else None


def key_of(secret: str) -> bytes:
    """The HMAC key that a secret stands for. Raises Invalid (`invalid_secret`)."""
    return ed25519.decode_key(secret, PREFIX, range(MIN_SECRET_BYTES, MAX_SECRET_BYTES + 1), _HOW_TO_MAKE_ONE)


def signed_content(event_id: str, timestamp: str, body: bytes) -> bytes:
    """What is signed; `timestamp` is the header's text."""
    return f"{event_id}.{timestamp}.".encode() + body


def signature(secret: str, content: bytes) -> str:
    """`v1,BASE64`, or `v1a,BASE64` by a private key: the signature of what `signed_content` gives. Raises Invalid."""
    if scheme_of(secret) is SignatureScheme.ED25519:
        return ed25519.signature(secret, content)
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), content, "sha256")).decode()


def headers(event_id: str, body: bytes, secrets: "Sequence[Secret]", now: Instant) -> dict[str, str]:
    """The three headers that go with `body`, signed by every secret still valid at `now`, the newest first.

    A secret is valid before its `until`. Raises ValueError where none is: nothing may leave unsigned.
    """
    valid = [secret for secret in secrets if secret.until is None or now < secret.until]
    if not valid:  # guard: unsigned
        raise ValueError("no secret is valid now, so nothing can be signed")
    valid.sort(key=lambda secret: (secret.until is not None, -(secret.until or 0)))
    timestamp = str(now // SECOND)
    signed = signed_content(event_id, timestamp, body)
    signatures = [signature(secret.value, signed) for secret in valid]
    return {"webhook-id": event_id, "webhook-timestamp": timestamp, "webhook-signature": " ".join(signatures)}
