"""Encrypted columns: values that are encrypted when written and decrypted when read, bound to column and row."""

import os

from relay.errors import StoreError
from relay.security import FieldCipher
from relay.security.encryption import NONCE_BYTES, DecryptionError
from relay.store.engine.database import Tx, cipher_of

_NOT_DECRYPTED = (
    "a row of the store is not encrypted, was encrypted with another key, or was changed by hand; "
    "is security.secret_key the same for every relay on this store?"
)


def encrypt(tx: Tx, column: str, id: str, text: str) -> str:
    """`text` as it is stored in `column` (such as `endpoints.url`) of the row `id`."""
    return cipher_of(tx).encrypt(text, f"{column}:{id}", os.urandom(NONCE_BYTES))


def decrypt(tx: Tx, column: str, id: str, stored: str, *, allow_plain: bool = False) -> str:
    """The text that was encrypted. Raises StoreError if it can't be decrypted, or, with a key, if it is plain text.

    `allow_plain` is for a store that is about to be encrypted.
    """
    return decrypt_with(cipher_of(tx), column, id, stored, allow_plain=allow_plain)


def decrypt_with(cipher: FieldCipher, column: str, id: str, stored: str, *, allow_plain: bool = False) -> str:
    """As `decrypt`, without a transaction."""
    try:
        return cipher.decrypt(stored, f"{column}:{id}", allow_plain=allow_plain)
    except DecryptionError:
        raise StoreError(_NOT_DECRYPTED) from None


def fingerprints(tx: Tx, text: str) -> tuple[str, ...]:
    """Keyed hashes (HMAC) of a text, one for each key: write the first, search for all of them."""
    return cipher_of(tx).fingerprints(text)
