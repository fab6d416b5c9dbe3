"""Sealing what must not be read out of a stolen store: AES-256-GCM, under keys derived from `security.secret_key`.

A sealed text is `v1:KEY ID:BASE64URL(nonce, ciphertext, tag)`, bound to the place where it is stored: moved to another
row or column it can't be opened.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES = 12
"""Random bytes that each sealing takes."""

_SEALED = re.compile(r"v1:([0-9a-f]{8}):([A-Za-z0-9_-]+)")
_SALT = b"exec-relay sealing v1"


class DecryptionError(Exception):
    """A text was sealed with a key that is not at hand, or is not what was sealed at this place."""


class _Key:
    """What is derived from one secret key: for sealing, for marks, and the name that sealed texts know it by."""

    __slots__ = ("aead", "hmac_key", "id")

    def __init__(self, secret: str) -> None:
        self.aead = AESGCM(_derived(secret, b"seal", 32))
        self.hmac_key = _derived(secret, b"mark", 32)
        self.id = _derived(secret, b"id", 4).hex()


class FieldCipher:
    """Seals with one key, opens what that one or an older one sealed. Without a key it leaves texts as they are."""

    def __init__(self, secret_key: str | None = None, old: Sequence[str] = ()) -> None:
        keys = [_Key(secret) for secret in ([] if secret_key is None else [secret_key]) + list(old)]
        self._current = keys[0] if secret_key is not None else None
        self._keys = {key.id: key for key in keys}

    @property
    def key_id(self) -> str | None:
        """The name of the key that seals; None where there is none. Tells nothing of the key."""
        return self._current.id if self._current else None

    @property
    def key_ids(self) -> frozenset[str]:
        """The names of all keys that open."""
        return frozenset(self._keys)

    def encrypt(self, text: str, associated_data: str, nonce: bytes) -> str:
        """`text` sealed for `associated_data`, such as `endpoints.url:ep_1`. No `nonce` (12 random bytes) is used
        twice."""
        if self._current is None:
            return text
        sealed = self._current.aead.encrypt(nonce, text.encode(), associated_data.encode())  # guard: sealed-at-rest
        return f"v1:{self._current.id}:{base64.urlsafe_b64encode(nonce + sealed).rstrip(b'=').decode()}"

    def decrypt(self, text: str, associated_data: str) -> str:
        """What was sealed for `associated_data`; what was never sealed is given as it is. Raises Unreadable."""
        if (found := _SEALED.fullmatch(text)) is None:
            return text
        if (key := self._keys.get(found[1])) is None:
            raise DecryptionError
        raw = base64.urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4))
        try:
            return key.aead.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], associated_data.encode()).decode()
        except (InvalidTag, ValueError):
            raise DecryptionError from None  # guard: sealed-place

    def fingerprints(self, text: str) -> tuple[str, ...]:
        """What a text may be known by in the store: as it is marked now, then as under the older keys.

        With a key nobody can find the text by trying; without one it is its SHA-256.
        """
        marked = (hmac.new(key.hmac_key, text.encode(), hashlib.sha256).hexdigest() for key in self._keys.values())
        return (*marked,) if self._current else (_plain_mark(text), *marked)

    def matches_fingerprint(self, mark: str, text: str) -> bool:
        """Whether a text was ever marked so: under one of the keys, or without one."""
        return mark in (*self.fingerprints(text), _plain_mark(text))


def _plain_mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _derived(secret: str, purpose: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=_SALT, info=purpose).derive(secret.encode())
