"""API keys in the store, read by a relay and written by `relay keys` at the same time."""

import asyncio
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from relay.errors import StoreError
from relay.security import hash_api_key
from relay.store.engine.database import Store, Tx, exists, read_only, write_offline
from relay.store.tables import api_keys
from relay.store.tables.api_keys import StoredApiKey
from tests.make import NOON

KEY = StoredApiKey(
    id="key_1", name="zapier", hash=hash_api_key("relay_1"), scopes=("register", "read"), created_at=NOON
)
OTHER = replace(KEY, id="key_2", name="ops", hash=hash_api_key("relay_2"))


async def test_stored_key_is_read_back_unchanged(store: Store) -> None:
    """All its values are stored; the key itself is stored nowhere."""
    assert not await store.read(api_keys.any_ever_created)
    assert await store.write(lambda tx: api_keys.add(tx, KEY))
    assert await store.write(lambda tx: api_keys.add(tx, OTHER))
    assert await store.read(api_keys.active) == [OTHER, KEY]
    assert await store.read(api_keys.any_ever_created)


async def test_name_is_unique_among_active_keys(store: Store) -> None:
    """After a key is revoked, another may have its name; the first one is still listed."""
    second = replace(KEY, id="key_3", hash=hash_api_key("relay_3"), created_at=NOON + 1)
    assert await store.write(lambda tx: api_keys.add(tx, KEY))
    assert not await store.write(lambda tx: api_keys.add(tx, second))
    assert await store.write(lambda tx: api_keys.revoke(tx, "zapier", NOON))
    assert not await store.write(lambda tx: api_keys.revoke(tx, "zapier", NOON))
    assert await store.write(lambda tx: api_keys.add(tx, second))
    assert await store.read(api_keys.active) == [second]
    assert await store.read(api_keys.all) == [second, replace(KEY, revoked_at=NOON)]


async def test_store_remembers_that_it_had_keys(store: Store) -> None:
    """A store whose last key is revoked differs from one that never had a key, which would be open."""
    await store.write(lambda tx: api_keys.add(tx, KEY))
    await store.write(lambda tx: api_keys.revoke(tx, KEY.name, NOON))
    assert await store.read(api_keys.active) == []
    assert await store.read(api_keys.any_ever_created)


async def test_mark_used_changes_only_used_keys(store: Store) -> None:
    """The time of last use is set for the used keys only."""
    await store.write(lambda tx: (api_keys.add(tx, KEY), api_keys.add(tx, OTHER)))
    await store.write(lambda tx: api_keys.mark_used(tx, [KEY.id], NOON + 5))
    assert await store.read(api_keys.active) == [OTHER, replace(KEY, last_used_at=NOON + 5)]


def test_repr_contains_no_hash() -> None:
    """A hash is not a secret, but it does not belong into logs."""
    assert KEY.hash not in repr(KEY)


# --- beside a relay --------------------------------------------------------------------------------------------


async def test_offline_write_while_a_relay_uses_the_store(store: Store, store_url: str) -> None:
    """Another process writes while the relay holds the store and writes too; the relay reads the change."""

    async def write(number: int) -> None:
        made = replace(KEY, id=f"key_w{number}", name=f"w{number}", hash=hash_api_key(str(number)))
        assert await store.write(lambda tx: api_keys.add(tx, made))

    writing = asyncio.gather(*map(write, range(50)))
    assert await asyncio.to_thread(write_offline, store_url, lambda tx: api_keys.add(tx, KEY))
    assert KEY in await store.read(api_keys.active)
    await writing
    assert len(await store.read(api_keys.active)) == 51


def test_failed_offline_write_is_rolled_back(store_url: str) -> None:
    """All its changes are undone."""
    asyncio.run(_make(store_url))

    def work(tx: Tx) -> None:
        api_keys.add(tx, KEY)
        raise StoreError("enough")

    with pytest.raises(StoreError, match="enough"):
        write_offline(store_url, work)
    assert read_only(store_url, api_keys.all) == []


def test_offline_access_creates_no_store(blank_sqlite_url: str, tmp_path: Path) -> None:
    """If there is no store, the error says so, and no file or table is created."""
    assert not exists(blank_sqlite_url)
    with pytest.raises(StoreError, match="there is no store"):
        write_offline(blank_sqlite_url, lambda tx: api_keys.add(tx, KEY))
    assert list(tmp_path.iterdir()) == []


def test_empty_database_is_not_a_store(blank_url: str) -> None:
    """A relay, or the first key, creates its tables."""
    assert not exists(blank_url)
    asyncio.run(_make(blank_url))
    assert exists(blank_url)


def test_offline_write_keeps_files_private(sqlite_url: str, tmp_path: Path) -> None:
    """Only the owner may read the files that SQLite creates beside the store."""
    asyncio.run(_make(sqlite_url))
    seen: dict[str, int] = {}

    def work(tx: Tx) -> None:
        api_keys.add(tx, KEY)
        seen.update({path.name: stat.S_IMODE(os.stat(path).st_mode) for path in tmp_path.iterdir()})

    write_offline(sqlite_url, work)
    assert {"relay.db", "relay.db-wal", "relay.db-shm"} <= set(seen)
    assert set(seen.values()) == {0o600}


async def _make(url: str) -> None:
    await (await Store.open(url)).aclose()
