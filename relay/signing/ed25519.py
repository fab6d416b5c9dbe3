"""Signing: Standard Webhooks 1.0, asymmetric (`v1a`), for subscribers who should not hold a secret.

It signs the same `id.timestamp.body` with Ed25519. A private key is `whsk_` and the base64 of 64 bytes, seed and public
key, as in the specification's 'Signature scheme' and at other senders; the 32 bytes of the seed alone are accepted too.
A public key is `whpk_` and the base64 of its 32 bytes: it verifies and can't sign, so it may be published.
"""

import base64
from collections.abc import Container

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from relay.errors import ValidationFailed

PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
_SEED = 32
_HOW_TO_MAKE_ONE = (
    f"a private key is {PRIVATE_PREFIX} followed by the base64 of an Ed25519 key, 32 bytes of seed and the 32 of its "
    "public key; leave it out and the relay makes one, or make one with: relay keygen --signing --ed25519"
)
_HOW_TO_GET_IT = f"a public key is {PUBLIC_PREFIX} followed by the base64 of 32 bytes; the relay shows it as public_key"


def new_private_key(seed: bytes) -> str:
    """A private key `whsk_...` made of 32 random bytes. Raises ValueError for another number of bytes."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return PRIVATE_PREFIX + base64.b64encode(seed + public).decode()


def check_private_key(text: str) -> None:
    """Raises ValidationFailed (`invalid_secret`) unless `text` is a private key; the error never repeats it."""
    _private(text)


def check_public_key(text: str) -> None:
    """Raises ValidationFailed (`invalid_secret`) unless `text` is a public key."""
    _public(text)


def public_key_of(private: str) -> str:
    """The public key `whpk_...` of a private key. Raises ValidationFailed."""
    return PUBLIC_PREFIX + base64.b64encode(_private(private).public_key().public_bytes_raw()).decode()


def signature(private: str, content: bytes) -> str:
    """The signature `v1a,BASE64` of `content`. Raises ValidationFailed."""
    return "v1a," + base64.b64encode(_private(private).sign(content)).decode()


def verify_signature(public: str, content: bytes, signature: str) -> bool:
    """Whether the private key of `public` made `signature` (`v1a,BASE64`) of `content`. Raises ValidationFailed."""
    key = _public(public)
    version, _, encoded = signature.partition(",")
    if version != "v1a":
        return False
    try:
        key.verify(base64.b64decode(encoded, validate=True), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def decode_key(text: str, prefix: str, lengths: Container[int], how: str) -> bytes:
    """The bytes behind the prefix of a key or secret. Raises ValidationFailed (`invalid_secret`) with the text `how`.

    It is strict about padding and stray characters, which libraries treat differently: what it accepts works with all.
    """
    try:
        raw = base64.b64decode(text.removeprefix(prefix), validate=True)
    except ValueError:
        raw = b""
    if len(raw) not in lengths or text != prefix + base64.b64encode(raw).decode():
        raise ValidationFailed("invalid_secret", how, "secret")
    return raw


def _public(text: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(decode_key(text, PUBLIC_PREFIX, (_SEED,), _HOW_TO_GET_IT))


def _private(text: str) -> Ed25519PrivateKey:
    raw = decode_key(text, PRIVATE_PREFIX, (_SEED, 2 * _SEED), _HOW_TO_MAKE_ONE)
    key = Ed25519PrivateKey.from_private_bytes(raw[:_SEED])
    if len(raw) > _SEED and key.public_key().public_bytes_raw() != raw[_SEED:]:
        raise ValidationFailed(
            "invalid_secret", f"the two halves of this key do not belong together; {_HOW_TO_MAKE_ONE}", "secret"
        )
    return key
