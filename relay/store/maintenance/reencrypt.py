"""Keys that change: refuses a store that the keys at hand can't open, and seals anew what another key sealed, or none.

Rows that are done are found by their key's name, so that the work goes on where it was broken off.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Row, Table, func, not_, select, update

from relay.errors import StoreError
from relay.model import EndpointKind, Instant
from relay.security.encryption import FieldCipher
from relay.signing.standard_webhooks import SignatureScheme
from relay.store.engine import encrypted_columns
from relay.store.engine.database import Store, Tx, cipher_of
from relay.store.engine.schema import callback_tokens, idempotency
from relay.store.engine.schema import endpoints as endpoint_rows
from relay.store.tables import endpoints

BATCH = 200
"""Rows sealed in one transaction."""

_PREFIX = "v1:"
_NAMED = len(_PREFIX) + 8
"""Characters of a sealed text that say with which key."""


class _Sealed(NamedTuple):
    """A table, its key, and its columns that are sealed; those of a row are always written together."""

    table: Table
    key: Column[str]
    columns: tuple[str, ...]


_TABLES = (
    _Sealed(endpoint_rows, endpoint_rows.c.id, ("url", "secrets", "headers")),
    _Sealed(callback_tokens, callback_tokens.c.workspace, ("token", "old_token")),
    _Sealed(idempotency, idempotency.c.key, ("request_hash", "answer")),
)


async def open_store(
    url: str,
    seal: FieldCipher,
    tell: Callable[[int, int], None] = lambda _done, _of: None,
    clock: Callable[[], Instant] | None = None,
) -> Store:
    """Opens a store and seals what is not sealed with the key that seals; `tell` hears how many rows of how many.

    `clock` is as `Store.open` has it.

    Raises StoreError, saying what to do, for a store that these keys can't open: then nothing of it was changed.
    """
    store = await Store.open(url, seal, clock)
    try:
        await store.read(check)
        await _seal_all(store, tell)
    except BaseException:
        await store.aclose()
        raise
    return store


async def _seal_all(store: Store, tell: Callable[[int, int], None]) -> None:
    total, done = await store.read(count), 0
    while some := await store.write(reencrypt_batch):
        done += some
        tell(done, max(done, total))
    if done:
        await asyncio.to_thread(store.vacuum)


def check(tx: Tx) -> None:
    """Raises StoreError where something in the store was sealed with a key that is not at hand."""
    seal = cipher_of(tx)
    found = {key_id for one in _TABLES for key_id in _key_ids(tx, one)}
    if not (strange := sorted(found - seal.key_ids)):  # guard: unknown-key-id
        return
    named = "a key with the id " + strange[0] if len(strange) == 1 else "keys with the ids " + ", ".join(strange)
    if not seal.key_ids:
        text = f"the store is sealed with {named}, and security.secret_key is not set; set it to that key"
    else:
        known = ", ".join(sorted(seal.key_ids))
        text = (
            f"the store is sealed with {named}, and what is configured is {known}; set security.secret_key to that "
            "key, or, to change to another, put that key into security.old_secret_keys"
        )
    raise StoreError(text)


def count(tx: Tx) -> int:
    """How many rows are not sealed as they should be."""
    return sum(
        tx.execute(select(func.count()).select_from(one.table).where(_needs_reencryption(tx, one))).scalar_one()
        for one in _TABLES
    )


def reencrypt_batch(tx: Tx, most: int = BATCH) -> int:
    """Seals at most `most` rows anew. Returns how many; 0 when all are done."""
    for one in _TABLES:
        query = select(one.table).where(_needs_reencryption(tx, one)).order_by(one.key).limit(most).with_for_update()
        if rows := tx.execute(query).all():
            for row in rows:
                tx.execute(update(one.table).where(one.key == row._mapping[one.key.name]), _reencrypted(tx, one, row))
            return len(rows)
    return 0


def _key_ids(tx: Tx, one: _Sealed) -> Iterable[str]:
    first = one.table.c[one.columns[0]]
    named = func.substr(first, 1, _NAMED)
    return [found[len(_PREFIX) :] for found in tx.execute(select(named).where(first.like("v1:%")).distinct()).scalars()]


def _needs_reencryption(tx: Tx, one: _Sealed) -> ColumnElement[bool]:
    """Whether a row is sealed with another key than the one that seals, or is not sealed though there is one."""
    first, key_id = one.table.c[one.columns[0]], cipher_of(tx).key_id
    if key_id is None:
        return first.like("v1:%")
    return not_(first.like(f"v1:{key_id}:%"))


def _reencrypted(tx: Tx, one: _Sealed, row: Row[Any]) -> dict[str, Any]:
    id, changed = row._mapping[one.key.name], dict[str, Any]()
    for name in one.columns:
        if (stored := row._mapping[name]) is not None:
            column = f"{one.table.name}.{name}"
            changed[name] = encrypted_columns.encrypt(tx, column, id, encrypted_columns.decrypt(tx, column, id, stored))
    if one.table is endpoint_rows:
        changed["fingerprint"] = _fingerprint(tx, row)
    return changed


def _fingerprint(tx: Tx, row: Row[Any]) -> str:
    """What the endpoint is known by under the key that seals now; its id where no request means it any more."""
    found, seal = endpoints.get(tx, row.id), cipher_of(tx)
    if found is None:
        return str(row.id)
    brought = [None, *SignatureScheme, *(secret.value for secret in found.secrets)]
    for secret in brought:
        events = found.events if found.kind is EndpointKind.STANDING else None
        text = endpoints.identity_text(found.url, found.format_identity, found.headers, secret, events)
        if seal.matches_fingerprint(row.fingerprint, text):
            return seal.fingerprints(text)[0]
    return found.id
