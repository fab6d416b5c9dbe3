"""What is sealed in the store: read and written through here, found at start, and sealed anew when the key changes."""

import os

from relay.errors import StoreError
from relay.sealing import NONCE_BYTES, Seal, Unreadable
from relay.store.database import Tx, seal_of

_UNREADABLE = (
    "a row of the store was sealed with another key, or was changed by hand; "
    "is security.secret_key the same for every relay on this store?"
)


def write(tx: Tx, column: str, id: str, text: str) -> str:
    """`text` as it is stored in `column` (such as `endpoints.url`) of the row `id`."""
    return seal_of(tx).seal(text, f"{column}:{id}", os.urandom(NONCE_BYTES))


def read(tx: Tx, column: str, id: str, stored: str) -> str:
    """What was written. Raises StoreError where it can't be opened."""
    return unsealed(seal_of(tx), column, id, stored)


def unsealed(seal: Seal, column: str, id: str, stored: str) -> str:
    """As `read`, where there is no transaction."""
    try:
        return seal.unseal(stored, f"{column}:{id}")
    except Unreadable:
        raise StoreError(_UNREADABLE) from None


def marks(tx: Tx, text: str) -> tuple[str, ...]:
    """What a text that must not be guessed is known by: the first is written, all are looked for."""
    return seal_of(tx).marks(text)
