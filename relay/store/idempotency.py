"""Answers kept for `Idempotency-Key`, so that a repeated request gets the first one's answer."""

from dataclasses import dataclass

from sqlalchemy import delete, select

from relay.model import Instant
from relay.store import dialect
from relay.store.database import Tx
from relay.store.schema import idempotency


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The answer to the first request with a key."""

    key: str
    request_hash: str
    status: int
    answer: str
    created_at: Instant


def get(tx: Tx, key: str) -> Kept | None:
    row = tx.execute(select(idempotency).where(idempotency.c.key == key)).one_or_none()
    return Kept(**row._mapping) if row else None


def keep(tx: Tx, kept: Kept) -> bool:
    """Keeps an answer; False where another request with this key was quicker."""
    return dialect.insert_new(tx, idempotency, [{name: getattr(kept, name) for name in Kept.__slots__}]) == 1


def prune(tx: Tx, before: Instant) -> int:
    return tx.execute(delete(idempotency).where(idempotency.c.created_at < before)).rowcount
