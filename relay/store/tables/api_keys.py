"""API keys that `relay keys` creates: names, scopes and hashes. The configuration may hold others."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, exists, select, update

from relay.model import Instant
from relay.security import Scope
from relay.store.engine import dialect
from relay.store.engine.database import Tx
from relay.store.engine.schema import api_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredApiKey:
    """One key. Revoked keys stay, so that a relay that once had a key always requires one."""

    id: str
    name: str
    """Unique among the keys that are not revoked."""
    hash: str = field(repr=False)
    scopes: tuple[Scope, ...]
    created_at: Instant
    last_used_at: Instant | None = None
    """To the hour."""
    revoked_at: Instant | None = None


def add(tx: Tx, key: StoredApiKey) -> bool:
    """Adds a key; False if a key of this name is not revoked."""
    row = {name: getattr(key, name) for name in StoredApiKey.__slots__} | {"scopes": json.dumps(key.scopes)}
    return bool(dialect.insert_new(tx, api_keys, [row]))


def active(tx: Tx) -> list[StoredApiKey]:
    """The keys that are not revoked, by name."""
    # guard: session-ends-with-key
    query = select(api_keys).where(api_keys.c.revoked_at.is_(None)).order_by(api_keys.c.name)
    return [_key(row) for row in tx.execute(query)]


def all(tx: Tx) -> list[StoredApiKey]:
    """All keys, revoked ones included, by name, the newest of a name first."""
    return [_key(row) for row in tx.execute(select(api_keys).order_by(api_keys.c.name, api_keys.c.created_at.desc()))]


def any_ever_created(tx: Tx) -> bool:
    """Whether a key was ever created."""
    return bool(tx.execute(select(exists(select(api_keys.c.id)))).scalar_one())


def revoke(tx: Tx, name: str, now: Instant) -> str | None:
    """Revokes the key of this name. Returns its id; None if there is none."""
    live = (api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
    revoked: str | None = tx.execute(
        update(api_keys).where(*live).returning(api_keys.c.id), {"revoked_at": now}
    ).scalar_one_or_none()
    return revoked


def mark_used(tx: Tx, ids: Iterable[str], now: Instant) -> None:
    """Sets when these keys were last used."""
    tx.execute(update(api_keys).where(api_keys.c.id.in_(list(ids))), {"last_used_at": now})


def _key(row: Row[Any]) -> StoredApiKey:
    return StoredApiKey(**{**row._mapping, "scopes": tuple(json.loads(row.scopes))})
