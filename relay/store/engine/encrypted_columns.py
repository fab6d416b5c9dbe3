"""What is sealed in the store: read and written through here, found at start, and sealed anew when the key changes."""

import os

from relay.errors import StoreError
from relay.security.encryption import NONCE_BYTES, DecryptionError, FieldCipher
from relay.store.engine.database import Tx, cipher_of

_UNREADABLE = (
    "a row of the store was sealed with another key, or was changed by hand; "
    "is security.secret_key the same for every relay on this store?"
)


def encrypt(tx: Tx, column: str, id: str, text: str) -> str:
    """`text` as it is stored in `column` (such as `endpoints.url`) of the row `id`."""
    return cipher_of(tx).encrypt(text, f"{column}:{id}", os.urandom(NONCE_BYTES))


def decrypt(tx: Tx, column: str, id: str, stored: str) -> str:
    """What was written. Raises StoreError where it can't be opened."""
    return decrypt_with(cipher_of(tx), column, id, stored)


def decrypt_with(seal: FieldCipher, column: str, id: str, stored: str) -> str:
    """As `decrypt`, where there is no transaction."""
    try:
        return seal.decrypt(stored, f"{column}:{id}")
    except DecryptionError:
        raise StoreError(_UNREADABLE) from None


def fingerprints(tx: Tx, text: str) -> tuple[str, ...]:
    """What a text that must not be guessed is known by: the first is written, all are looked for."""
    return cipher_of(tx).fingerprints(text)
