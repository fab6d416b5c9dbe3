"""Answers kept for `Idempotency-Key`, so that a repeated request gets the first one's answer."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update

from relay.model import DAY, Instant
from relay.store.engine import dialect, encrypted_columns
from relay.store.engine.database import Tx
from relay.store.engine.schema import idempotency

TTL = DAY
"""How long an answer is that of the same request; after that its key is free again."""

_SEALED = ("request_hash", "answer")
"""The hash too: a callback URL could be guessed by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """The answer to the first request with a key."""

    key: str
    request_hash: str
    status: int
    answer: str
    created_at: Instant


def fingerprint(value: Any) -> str:
    """What JSON, whatever the order of its keys, is known by: as a key, and to tell another request from the same."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def get(tx: Tx, key: str) -> StoredResponse | None:
    row = tx.execute(select(idempotency).where(idempotency.c.key == key)).one_or_none()
    if row is None:
        return None
    opened = {name: encrypted_columns.decrypt(tx, f"idempotency.{name}", key, row._mapping[name]) for name in _SEALED}
    return StoredResponse(**{**row._mapping, **opened})


def store(tx: Tx, kept: StoredResponse) -> bool:
    """Keeps an answer, in place of one that is too old; False where another request with this key was quicker."""
    row = {name: getattr(kept, name) for name in StoredResponse.__slots__}
    row |= {name: encrypted_columns.encrypt(tx, f"idempotency.{name}", kept.key, row[name]) for name in _SEALED}
    if dialect.insert_new(tx, idempotency, [row]):
        return True
    too_old = (idempotency.c.key == kept.key, idempotency.c.created_at <= kept.created_at - TTL)
    return tx.execute(update(idempotency).where(*too_old), row).rowcount == 1


def prune(tx: Tx, before: Instant, most: int) -> int:
    """Deletes at most `most` answers kept before `before`. Returns how many went."""
    old = select(idempotency.c.key).where(idempotency.c.created_at < before).limit(most)
    # Twice, because what is kept anew meanwhile is still among those found: only the row's own values are read again.
    is_old = idempotency.c.created_at < before
    return tx.execute(delete(idempotency).where(idempotency.c.key.in_(old), is_old)).rowcount
