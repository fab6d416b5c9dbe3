"""A changed encryption key: refuses a store whose key is missing, and re-encrypts rows of other keys, or of none.

Each encrypted text names its key, so that interrupted work continues with the rows that are left.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Row, Table, func, inspect, not_, select, update

from relay.errors import StoreError
from relay.model import THE_CONFIGURATION, Actor, AuditAction, EndpointKind, Instant
from relay.security import FieldCipher
from relay.signing import SignatureScheme
from relay.store.engine import encrypted_columns
from relay.store.engine.database import RandomBytes, Store, ThreadPool, Tx, cipher_of
from relay.store.engine.migrate import VERSIONS, Report
from relay.store.engine.schema import callback_tokens, idempotency
from relay.store.engine.schema import endpoints as endpoint_rows
from relay.store.tables import audit, endpoints

BATCH = 200
"""Rows that one transaction re-encrypts."""

_PREFIX = "v1:"
_KEY_NAME_LENGTH = len(_PREFIX) + 8
"""Characters at the start of an encrypted text that name its key."""


class _EncryptedTable(NamedTuple):
    """A table, its key, and its encrypted columns, which are always written together."""

    table: Table
    key: Column[str]
    columns: tuple[str, ...]


_TABLES = (
    _EncryptedTable(endpoint_rows, endpoint_rows.c.id, ("url", "secrets", "headers")),
    _EncryptedTable(callback_tokens, callback_tokens.c.workspace, ("token", "old_token")),
    _EncryptedTable(idempotency, idempotency.c.key, ("request_hash", "answer")),
)


async def open_store(
    url: str,
    cipher: FieldCipher,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
    clock: Callable[[], Instant] | None = None,
    random_bytes: RandomBytes = secrets.token_bytes,
    threads: ThreadPool = ThreadPoolExecutor,
    report: Report = lambda _: None,
    actor: Actor = THE_CONFIGURATION,
    versions: Sequence[Path] = VERSIONS,
) -> Store:
    """Opens a store and re-encrypts the rows of other keys. `progress` gets the rows done and the rows in all.

    If there are such rows, the audit log says that `actor` did it, from the first batch on.
    `clock`, `random_bytes`, `threads` and `report` are as in `Store.open`. Raises StoreError, whose text says what to
    do, if a key of the store is missing; then nothing is changed, its tables included.
    """
    store = await Store.open(url, cipher, clock, random_bytes, threads, report, check, versions)
    try:
        await _reencrypt_all(store, progress, actor)
    except BaseException:
        await store.aclose()
        raise
    return store


async def _reencrypt_all(store: Store, progress: Callable[[int, int], None], actor: Actor) -> None:
    total, rows_done = await store.read(count), 0

    def reencrypt(tx: Tx) -> int:
        if (rows := reencrypt_batch(tx)) and not rows_done:  # an interruption later leaves the entry too
            audit.add(tx, actor, AuditAction.STORE_REENCRYPTED, store.clock(), cipher_of(tx).key_id, rows=total)
        return rows

    while rows := await store.write(reencrypt):
        rows_done += rows
        progress(rows_done, max(rows_done, total))
    if rows_done:
        await asyncio.to_thread(store.vacuum)


def check(tx: Tx) -> None:
    """Raises StoreError if a row of the store was encrypted with a key that is not configured.

    The tables may be of an earlier version, or not there.
    """
    cipher, seen = cipher_of(tx), inspect(tx)
    used = {key_id for table in _TABLES if seen.has_table(table.table.name) for key_id in _key_ids(tx, table)}
    if not (missing := sorted(used - cipher.key_ids)):  # guard: unknown-key-id
        return
    keys = "a key with the id " + missing[0] if len(missing) == 1 else "keys with the ids " + ", ".join(missing)
    if not cipher.key_ids:
        text = f"the store is encrypted with {keys}, and security.secret_key is not set; set it to that key"
    else:
        configured = ", ".join(sorted(cipher.key_ids))
        text = (
            f"the store is encrypted with {keys}, and the configured key is {configured}; set security.secret_key to "
            "that key, or, to change to another, put that key into security.old_secret_keys"
        )
    raise StoreError(text)


def count(tx: Tx) -> int:
    """How many rows have to be re-encrypted."""
    return sum(
        tx.execute(select(func.count()).select_from(table.table).where(_needs_reencryption(tx, table))).scalar_one()
        for table in _TABLES
    )


def reencrypt_batch(tx: Tx, limit: int = BATCH) -> int:
    """Re-encrypts at most `limit` rows. Returns how many; 0 when all are done."""
    for table in _TABLES:
        query = (
            select(table.table).where(_needs_reencryption(tx, table)).order_by(table.key).limit(limit).with_for_update()
        )
        if rows := tx.execute(query).all():
            for row in rows:
                statement = update(table.table).where(table.key == row._mapping[table.key.name])
                tx.execute(statement, _reencrypted(tx, table, row))
                if table.table is endpoint_rows:
                    tx.execute(statement, {"fingerprint": _fingerprint(tx, row)})
            return len(rows)
    return 0


def _key_ids(tx: Tx, table: _EncryptedTable) -> Iterable[str]:
    first = table.table.c[table.columns[0]]
    key_name = func.substr(first, 1, _KEY_NAME_LENGTH)
    return [
        name[len(_PREFIX) :] for name in tx.execute(select(key_name).where(first.like("v1:%")).distinct()).scalars()
    ]


def _needs_reencryption(tx: Tx, table: _EncryptedTable) -> ColumnElement[bool]:
    """Whether a row is encrypted with another key than the current one, or in plain text though there is a key."""
    first, key_id = table.table.c[table.columns[0]], cipher_of(tx).key_id
    if key_id is None:
        return first.like("v1:%")
    return not_(first.like(f"v1:{key_id}:%"))


def _reencrypted(tx: Tx, table: _EncryptedTable, row: Row[Any]) -> dict[str, Any]:
    id, changed = row._mapping[table.key.name], dict[str, Any]()
    for name in table.columns:
        if (stored := row._mapping[name]) is not None:
            column = f"{table.table.name}.{name}"
            text = encrypted_columns.decrypt(tx, column, id, stored, allow_plain=True)
            changed[name] = encrypted_columns.encrypt(tx, column, id, text)
    return changed


def _fingerprint(tx: Tx, row: Row[Any]) -> str:
    """The endpoint's fingerprint by the current key; its id if no request matches the endpoint any more."""
    endpoint, cipher = endpoints.get(tx, row.id), cipher_of(tx)
    if endpoint is None:
        return str(row.id)
    candidates = [None, *SignatureScheme, *(secret.value for secret in endpoint.secrets)]
    for secret in candidates:
        events = endpoint.events if endpoint.kind is EndpointKind.STANDING else None
        text = endpoints.identity_text(endpoint.url, endpoint.format_identity, endpoint.headers, secret, events)
        if cipher.matches_fingerprint(row.fingerprint, text):
            return cipher.fingerprints(text)[0]
    return endpoint.id
