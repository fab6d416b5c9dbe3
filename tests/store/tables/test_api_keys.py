"""API keys in the store, as a relay reads them and as a visitor beside it writes them."""

import asyncio
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from relay.errors import StoreError
from relay.security.api_keys import hash_api_key
from relay.store.engine.database import Store, Tx, exists, read_only, write_offline
from relay.store.tables import api_keys
from relay.store.tables.api_keys import StoredApiKey
from tests.make import NOON

KEY = StoredApiKey(
    id="key_1", name="zapier", hash=hash_api_key("relay_1"), scopes=("register", "read"), created_at=NOON
)
OTHER = replace(KEY, id="key_2", name="ops", hash=hash_api_key("relay_2"))


async def test_a_key_comes_back_as_it_was(store: Store) -> None:
    """With all that it was made with; without the key itself, which is nowhere."""
    assert not await store.read(api_keys.any_ever_created)
    assert await store.write(lambda tx: api_keys.add(tx, KEY))
    assert await store.write(lambda tx: api_keys.add(tx, OTHER))
    assert await store.read(api_keys.active) == [OTHER, KEY]
    assert await store.read(api_keys.any_ever_created)


async def test_a_name_is_one_key_s(store: Store) -> None:
    """Until that is revoked; then another may have it, and the first is still known."""
    second = replace(KEY, id="key_3", hash=hash_api_key("relay_3"), created_at=NOON + 1)
    assert await store.write(lambda tx: api_keys.add(tx, KEY))
    assert not await store.write(lambda tx: api_keys.add(tx, second))
    assert await store.write(lambda tx: api_keys.revoke(tx, "zapier", NOON))
    assert not await store.write(lambda tx: api_keys.revoke(tx, "zapier", NOON))
    assert await store.write(lambda tx: api_keys.add(tx, second))
    assert await store.read(api_keys.active) == [second]
    assert await store.read(api_keys.all) == [second, replace(KEY, revoked_at=NOON)]


async def test_a_store_remembers_that_it_had_keys(store: Store) -> None:
    """With the last one revoked it does not look like one that never had any, which would be open."""
    await store.write(lambda tx: api_keys.add(tx, KEY))
    await store.write(lambda tx: api_keys.revoke(tx, KEY.name, NOON))
    assert await store.read(api_keys.active) == []
    assert await store.read(api_keys.any_ever_created)


async def test_use_is_noted(store: Store) -> None:
    """Of those that were used."""
    await store.write(lambda tx: (api_keys.add(tx, KEY), api_keys.add(tx, OTHER)))
    await store.write(lambda tx: api_keys.mark_used(tx, [KEY.id], NOON + 5))
    assert await store.read(api_keys.active) == [OTHER, replace(KEY, last_used_at=NOON + 5)]


def test_no_repr_tells_a_hash() -> None:
    """A hash is no secret, and nobody's business."""
    assert KEY.hash not in repr(KEY)


# --- beside a relay --------------------------------------------------------------------------------------------


async def test_a_visitor_writes_beside_a_relay(store: Store, store_url: str) -> None:
    """While the relay holds the store, and writes to it, another process changes it; the relay reads what it wrote."""

    async def write(number: int) -> None:
        made = replace(KEY, id=f"key_w{number}", name=f"w{number}", hash=hash_api_key(str(number)))
        assert await store.write(lambda tx: api_keys.add(tx, made))

    writing = asyncio.gather(*map(write, range(50)))
    assert await asyncio.to_thread(write_offline, store_url, lambda tx: api_keys.add(tx, KEY))
    assert KEY in await store.read(api_keys.active)
    await writing
    assert len(await store.read(api_keys.active)) == 51


def test_a_visitor_changes_nothing_where_it_fails(store_url: str) -> None:
    """What it began is undone."""
    asyncio.run(_make(store_url))

    def work(tx: Tx) -> None:
        api_keys.add(tx, KEY)
        raise StoreError("enough")

    with pytest.raises(StoreError, match="enough"):
        write_offline(store_url, work)
    assert read_only(store_url, api_keys.all) == []


def test_a_visitor_makes_no_store(blank_sqlite_url: str, tmp_path: Path) -> None:
    """Where there is none, it says so; neither a file nor tables come of it."""
    assert not exists(blank_sqlite_url)
    with pytest.raises(StoreError, match="there is no store"):
        write_offline(blank_sqlite_url, lambda tx: api_keys.add(tx, KEY))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_is_no_store(blank_url: str) -> None:
    """Until a relay, or the first key, made its tables."""
    assert not exists(blank_url)
    asyncio.run(_make(blank_url))
    assert exists(blank_url)


def test_a_visitor_leaves_files_private(sqlite_url: str, tmp_path: Path) -> None:
    """What SQLite makes beside the file while it is written is its owner's alone, too."""
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
