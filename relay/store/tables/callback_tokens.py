"""The tokens that Exec's callbacks come with: one a workspace, and for a while the one before it."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, select, update

from relay.model import Instant
from relay.store.engine import dialect, encrypted_columns
from relay.store.engine.database import Tx
from relay.store.engine.schema import callback_tokens

_SEALED = ("token", "old_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackToken:
    """A workspace's token: whoever has it may hint that a job ended, and nothing else."""

    workspace: str
    token: str = field(repr=False)
    old_token: str | None = field(default=None, repr=False)
    old_token_valid_until: Instant | None = None
    """How long the old token is good for."""
    last_callback_at: Instant | None = None
    """About when a callback came last, to the hour."""


def _row(tx: Tx, found: CallbackToken) -> dict[str, Any]:
    """As stored. All that is written of a token is written here."""
    row = {name: getattr(found, name) for name in found.__slots__}
    for name in _SEALED:
        if row[name] is not None:
            row[name] = encrypted_columns.encrypt(tx, f"callback_tokens.{name}", found.workspace, row[name])
    return row


def _token(tx: Tx, row: Row[Any]) -> CallbackToken:
    """As it was. All that is read of a token is read here."""
    values = dict(row._mapping)
    for name in _SEALED:
        if values[name] is not None:
            values[name] = encrypted_columns.decrypt(tx, f"callback_tokens.{name}", values["workspace"], values[name])
    return CallbackToken(**values)


def all(tx: Tx) -> list[CallbackToken]:
    return [_token(tx, row) for row in tx.execute(select(callback_tokens).order_by(callback_tokens.c.workspace))]


def get(tx: Tx, workspace: str) -> CallbackToken | None:
    row = tx.execute(select(callback_tokens).where(callback_tokens.c.workspace == workspace)).one_or_none()
    return _token(tx, row) if row else None


def locked(tx: Tx, workspace: str) -> CallbackToken | None:
    """As `get`, for changing it: nobody else does until the transaction ends."""
    query = select(callback_tokens).where(callback_tokens.c.workspace == workspace).with_for_update()
    row = tx.execute(query).one_or_none()
    return _token(tx, row) if row else None


def add(tx: Tx, token: CallbackToken) -> bool:
    """Adds a workspace's token; False where it has one already."""
    return bool(dialect.insert_new(tx, callback_tokens, [_row(tx, token)]))


def save(tx: Tx, token: CallbackToken) -> None:
    tx.execute(update(callback_tokens).where(callback_tokens.c.workspace == token.workspace), _row(tx, token))


def mark_received(tx: Tx, workspace: str, now: Instant) -> None:
    """A callback came."""
    tx.execute(update(callback_tokens).where(callback_tokens.c.workspace == workspace), {"last_callback_at": now})
