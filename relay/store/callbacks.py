"""The tokens that Exec's callbacks come with: one a workspace, and for a while the one before it."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, select, update

from relay.model import Instant
from relay.store import dialect
from relay.store.database import Tx
from relay.store.schema import callback_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackToken:
    """A workspace's token: whoever has it may hint that a job ended, and nothing else."""

    workspace: str
    token: str = field(repr=False)
    old_token: str | None = field(default=None, repr=False)
    old_until: Instant | None = None
    """How long the old token is good for."""
    heard_at: Instant | None = None
    """About when a callback came last, to the hour."""


def _row(found: CallbackToken) -> dict[str, Any]:
    """As stored. All that is written of a token is written here."""
    return {name: getattr(found, name) for name in found.__slots__}


def _token(row: Row[Any]) -> CallbackToken:
    """As it was. All that is read of a token is read here."""
    return CallbackToken(**row._mapping)


def every(tx: Tx) -> list[CallbackToken]:
    return [_token(row) for row in tx.execute(select(callback_tokens).order_by(callback_tokens.c.workspace))]


def get(tx: Tx, workspace: str) -> CallbackToken | None:
    row = tx.execute(select(callback_tokens).where(callback_tokens.c.workspace == workspace)).one_or_none()
    return _token(row) if row else None


def add(tx: Tx, token: CallbackToken) -> bool:
    """Adds a workspace's token; False where it has one already."""
    return dialect.insert_new(tx, callback_tokens, [_row(token)]) == 1


def save(tx: Tx, token: CallbackToken) -> None:
    tx.execute(update(callback_tokens).where(callback_tokens.c.workspace == token.workspace), _row(token))


def heard(tx: Tx, workspace: str, now: Instant) -> None:
    """A callback came."""
    tx.execute(update(callback_tokens).where(callback_tokens.c.workspace == workspace), {"heard_at": now})
