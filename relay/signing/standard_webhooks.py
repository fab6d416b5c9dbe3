"""Signing: Standard Webhooks 1.0, symmetric (`v1`) unless the secret is a private key (`signing/ed25519.py`).

It signs `id.timestamp.body`, the timestamp in whole seconds, with the bytes that the secret's base64 encodes. Source:
the specification's 'Webhook headers (sending metadata to consumers)' and 'Signature scheme'."""

import base64
import hmac
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
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
    """`v1`, with a secret that both sides hold."""
    ED25519 = "ed25519"
    """`v1a`, with a private key that only the relay holds; the public key is published."""


def scheme_of(secret: str) -> SignatureScheme:
    """The scheme of a secret, by its prefix."""
    return SignatureScheme.ED25519 if secret.startswith(ed25519.PRIVATE_PREFIX) else SignatureScheme.HMAC


def secret_to_show(secret: str) -> str | None:
    """The secret, if the subscriber needs it to verify; None if the subscriber verifies with a public key."""
    return secret if scheme_of(secret) is SignatureScheme.HMAC else None


def new_secret(random_bytes: bytes, signing: SignatureScheme = SignatureScheme.HMAC) -> str:
    """A secret made of 24 to 64 random bytes, or of 32 for Ed25519. Raises ValueError for fewer or more."""
    if signing is SignatureScheme.ED25519:
        return ed25519.new_private_key(random_bytes)
    if not MIN_SECRET_BYTES <= len(random_bytes) <= MAX_SECRET_BYTES:
        raise ValueError(f"a secret takes {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, not {len(random_bytes)}")
    return PREFIX + base64.b64encode(random_bytes).decode()


def check_secret(text: str) -> None:
    """Raises ValidationFailed (`invalid_secret`) unless `text` is a secret or private key, and never repeats it."""
    if scheme_of(text) is SignatureScheme.ED25519:
        ed25519.check_private_key(text)
    else:
        key_of(text)


def public_key_of(secret: str) -> str | None:
    """The public key of an Ed25519 secret; None for HMAC, which verifies with the secret itself."""
    return ed25519.public_key_of(secret) if scheme_of(secret) is SignatureScheme.ED25519 else None


@lru_cache(1_000)
def key_of(secret: str) -> bytes:
    """The HMAC key in a secret. Raises ValidationFailed (`invalid_secret`)."""
    return ed25519.decode_key(secret, PREFIX, range(MIN_SECRET_BYTES, MAX_SECRET_BYTES + 1), _HOW_TO_MAKE_ONE)


def signed_content(event_id: str, timestamp: str, body: bytes) -> bytes:
    """The bytes to sign; `timestamp` is the text of the header."""
    return f"{event_id}.{timestamp}.".encode() + body


def signature(secret: str, content: bytes) -> str:
    """The signature of a `signed_content`: `v1,BASE64`, or `v1a,BASE64` by a private key. Raises ValidationFailed."""
    if scheme_of(secret) is SignatureScheme.ED25519:
        return ed25519.signature(secret, content)
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), content, "sha256")).decode()


def headers(event_id: str, body: bytes, secrets: "Sequence[Secret]", now: Instant) -> dict[str, str]:
    """The three headers for `body`, signed by every secret that is valid at `now`, the newest first.

    A secret is valid before its `until`. Raises ValueError if none is valid: no request may be unsigned.
    """
    valid = [secret for secret in secrets if secret.until is None or now < secret.until]
    if not valid:  # guard: unsigned
        raise ValueError("no secret is valid now, so nothing can be signed")
    if len(valid) > 1:
        valid.sort(key=lambda secret: (secret.until is not None, -(secret.until or 0)))
    timestamp = str(now // SECOND)
    signed = signed_content(event_id, timestamp, body)
    signatures = [signature(secret.value, signed) for secret in valid]
    return {"webhook-id": event_id, "webhook-timestamp": timestamp, "webhook-signature": " ".join(signatures)}
