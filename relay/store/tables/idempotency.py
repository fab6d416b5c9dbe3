"""Responses stored by `Idempotency-Key`, so that a repeated request gets the response of the first."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from relay.model import DAY, Instant
from relay.store.engine import dialect, encrypted_columns
from relay.store.engine.database import Tx
from relay.store.engine.schema import idempotency

TTL = DAY
"""How long a response is replayed; after that its key is free again."""

_ENCRYPTED = ("request_hash", "answer")
"""The hash is encrypted too, because it would allow guessing a callback URL."""

_BY_KEY = select(idempotency).where(idempotency.c.key == bindparam("of"))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """The response to the first request with a key."""

    key: str
    request_hash: str
    status: int
    answer: str
    created_at: Instant


def fingerprint(value: Any) -> str:
    """A hash of a JSON value that does not depend on the order of its keys. Equal requests have equal fingerprints."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def get(tx: Tx, key: str) -> StoredResponse | None:
    """The response that is stored by this key, however old."""
    row = tx.execute(_BY_KEY, {"of": key}).one_or_none()
    if row is None:
        return None
    decrypted = {
        name: encrypted_columns.decrypt(tx, f"idempotency.{name}", key, row._mapping[name]) for name in _ENCRYPTED
    }
    return StoredResponse(**{**row._mapping, **decrypted})


def store(tx: Tx, response: StoredResponse) -> bool:
    """Stores a response, replacing one older than `TTL`; False if another request with this key was faster."""
    row = {name: getattr(response, name) for name in StoredResponse.__slots__}
    row |= {name: encrypted_columns.encrypt(tx, f"idempotency.{name}", response.key, row[name]) for name in _ENCRYPTED}
    if dialect.insert_new(tx, idempotency, [row]):
        return True
    too_old = (idempotency.c.key == response.key, idempotency.c.created_at <= response.created_at - TTL)
    return tx.execute(update(idempotency).where(*too_old), row).rowcount == 1


def prune(tx: Tx, before: Instant, limit: int) -> int:
    """Deletes at most `limit` responses stored before `before`. Returns how many."""
    old = select(idempotency.c.key).where(idempotency.c.created_at < before).limit(limit)
    # The condition is given twice: a key stored again meanwhile is still in the subquery, only its row is read again.
    is_old = idempotency.c.created_at < before
    return tx.execute(delete(idempotency).where(idempotency.c.key.in_(old), is_old)).rowcount
