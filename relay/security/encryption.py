"""Encryption of the secrets in a store: AES-256-GCM, with keys derived from `security.secret_key`.

A ciphertext is `v1:KEY ID:BASE64URL(nonce, ciphertext, tag)`. It is bound to its row and column: copied to another row
or column, it can't be decrypted.
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
"""Random bytes of each encryption."""

_CIPHERTEXT = re.compile(r"v1:([0-9a-f]{8}):([A-Za-z0-9_-]+)")
_SALT = b"exec-relay encryption v1"


class DecryptionError(Exception):
    """A ciphertext was encrypted with a key that is not configured, was changed or moved, or is plain text."""


class _Key:
    """The keys derived from one secret key, for encryption and for fingerprints, and its id in ciphertexts."""

    __slots__ = ("aead", "hmac_key", "id")

    def __init__(self, secret: str) -> None:
        self.aead = AESGCM(_derived(secret, b"encryption", 32))
        self.hmac_key = _derived(secret, b"fingerprint", 32)
        self.id = _derived(secret, b"id", 4).hex()


class FieldCipher:
    """Encrypts with the current key and decrypts with it or an older one. Without a key, texts stay as they are."""

    def __init__(self, secret_key: str | None = None, old: Sequence[str] = ()) -> None:
        keys = [_Key(secret) for secret in ([] if secret_key is None else [secret_key]) + list(old)]
        self._current = keys[0] if secret_key is not None else None
        self._keys = {key.id: key for key in keys}

    @property
    def key_id(self) -> str | None:
        """The id of the current key; None without a key. It reveals nothing about the key."""
        return self._current.id if self._current else None

    @property
    def key_ids(self) -> frozenset[str]:
        """The ids of all keys that decrypt."""
        return frozenset(self._keys)

    def encrypt(self, text: str, associated_data: str, nonce: bytes) -> str:
        """The ciphertext of `text`, bound to `associated_data`, such as `endpoints.url:ep_1`.

        Each call needs a new `nonce` of 12 random bytes.
        """
        if self._current is None:
            return text
        plaintext, bound_to = text.encode(), associated_data.encode()
        ciphertext = self._current.aead.encrypt(nonce, plaintext, bound_to)  # guard: encrypted-at-rest
        return f"v1:{self._current.id}:{base64.urlsafe_b64encode(nonce + ciphertext).rstrip(b'=').decode()}"

    def decrypt(self, text: str, associated_data: str, *, allow_plain: bool = False) -> str:
        """The text that was encrypted for `associated_data`. Raises DecryptionError.

        Without a key, or if `allow_plain`, plain text is returned as is. With a key it is refused: somebody has put it
        into the place of an encrypted text.
        """
        if (match := _CIPHERTEXT.fullmatch(text)) is None:
            if self._current is not None and not allow_plain:  # guard: plain-text
                raise DecryptionError
            return text
        if (key := self._keys.get(match[1])) is None:
            raise DecryptionError
        raw = base64.urlsafe_b64decode(match[2] + "=" * (-len(match[2]) % 4))
        try:
            return key.aead.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], associated_data.encode()).decode()
        except (InvalidTag, ValueError):
            raise DecryptionError from None  # guard: ciphertext-place

    def fingerprints(self, text: str) -> tuple[str, ...]:
        """The fingerprints under which the store finds a text: with the current key first, then with older keys.

        With a key, nobody can find the text by trying; without one, the fingerprint is its SHA-256.
        """
        keyed = (hmac.new(key.hmac_key, text.encode(), hashlib.sha256).hexdigest() for key in self._keys.values())
        return (*keyed,) if self._current else (_plain_fingerprint(text), *keyed)

    def matches_fingerprint(self, fingerprint: str, text: str) -> bool:
        """Whether this is a fingerprint of the text, with any of the keys or without one."""
        return fingerprint in (*self.fingerprints(text), _plain_fingerprint(text))


def _plain_fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _derived(secret: str, purpose: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=_SALT, info=purpose).derive(secret.encode())
