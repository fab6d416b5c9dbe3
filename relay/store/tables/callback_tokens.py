"""The tokens in the URLs of Exec's callbacks: one for each workspace, and its predecessor for a while."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from relay.model import Instant
from relay.store.engine import dialect, encrypted_columns
from relay.store.engine.database import Tx
from relay.store.engine.schema import callback_tokens

_ENCRYPTED = ("token", "old_token")

_ALL = select(callback_tokens).order_by(callback_tokens.c.workspace)
_BY_WORKSPACE = select(callback_tokens).where(callback_tokens.c.workspace == bindparam("of"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackToken:
    """A workspace's token. It allows its holder to hint that a job ended, and nothing else."""

    workspace: str
    token: str = field(repr=False)
    old_token: str | None = field(default=None, repr=False)
    old_token_valid_until: Instant | None = None
    """When the old token stops working."""
    last_callback_at: Instant | None = None
    """When a callback was last received, to the hour."""


def _row(tx: Tx, token: CallbackToken) -> dict[str, Any]:
    row = {name: getattr(token, name) for name in token.__slots__}
    for name in _ENCRYPTED:
        if row[name] is not None:
            row[name] = encrypted_columns.encrypt(tx, f"callback_tokens.{name}", token.workspace, row[name])
    return row


def _token(tx: Tx, row: Row[Any]) -> CallbackToken:
    values = dict(row._mapping)
    for name in _ENCRYPTED:
        if values[name] is not None:
            values[name] = encrypted_columns.decrypt(tx, f"callback_tokens.{name}", values["workspace"], values[name])
    return CallbackToken(**values)


def all(tx: Tx) -> list[CallbackToken]:
    """The tokens of all workspaces, by workspace."""
    return [_token(tx, row) for row in tx.execute(_ALL)]


def get(tx: Tx, workspace: str) -> CallbackToken | None:
    """The token of a workspace, not locked."""
    row = tx.execute(_BY_WORKSPACE, {"of": workspace}).one_or_none()
    return _token(tx, row) if row else None


def get_for_update(tx: Tx, workspace: str) -> CallbackToken | None:
    """The token of a workspace, locked until the transaction ends."""
    query = select(callback_tokens).where(callback_tokens.c.workspace == workspace).with_for_update()
    row = tx.execute(query).one_or_none()
    return _token(tx, row) if row else None


def add(tx: Tx, token: CallbackToken) -> bool:
    """Adds a workspace's token; False if it has one already."""
    return bool(dialect.insert_new(tx, callback_tokens, [_row(tx, token)]))


def save(tx: Tx, token: CallbackToken) -> None:
    """Writes all values of the token; the caller holds it (`get_for_update`)."""
    tx.execute(update(callback_tokens).where(callback_tokens.c.workspace == token.workspace), _row(tx, token))


def mark_received(tx: Tx, workspace: str, now: Instant) -> None:
    """Records that a callback was received."""
    tx.execute(update(callback_tokens).where(callback_tokens.c.workspace == workspace), {"last_callback_at": now})
