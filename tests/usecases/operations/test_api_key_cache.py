"""The keys at hand: as cheap as memory, no older than a second."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from relay.errors import StoreError
from relay.operations.api_key_cache import CACHE_TTL, LAST_USED_RESOLUTION, ApiKeyCache
from relay.security import hash_api_key
from relay.store.engine.database import Store, Tx, write_offline
from relay.store.tables import api_keys
from relay.store.tables.api_keys import StoredApiKey
from tests.conftest import Clock
from tests.make import NOON

T = TypeVar("T")
KEY = StoredApiKey(id="key_1", name="zapier", hash=hash_api_key("relay_1"), scopes=("register",), created_at=NOON)


class CountedStore(Store):
    """A store that counts what is asked of it."""

    reads = writes = 0

    async def read(self, work: Callable[[Tx], T]) -> T:
        self.reads += 1
        return await super().read(work)

    async def write(self, work: Callable[[Tx], T], *, at_end: bool = False) -> T:
        self.writes += 1
        return await super().write(work, at_end=at_end)


@pytest.fixture
async def counted(store_url: str) -> AsyncIterator[CountedStore]:
    store = await CountedStore.open(store_url)
    assert isinstance(store, CountedStore)
    yield store
    await store.aclose()


async def test_a_thousand_requests_cost_one_query(counted: CountedStore, clock: Clock) -> None:
    """Within a second, those that come at once included; and none while nobody asks."""
    await counted.write(lambda tx: api_keys.add(tx, KEY))
    ring = ApiKeyCache(counted, clock)
    assert counted.reads == 0
    found = await asyncio.gather(*(ring.active_keys() for _ in range(500)))
    assert all(list(one) == [KEY] for one in found)
    for _ in range(500):
        assert await ring.any_ever_created()
    assert counted.reads == 1


async def test_a_created_or_revoked_key_takes_effect_within_a_second(
    store: Store, store_url: str, clock: Clock
) -> None:
    """By every relay on the store, without a restart: a key that was made works, one that was revoked does not."""
    rings = [ApiKeyCache(store, clock), ApiKeyCache(store, clock)]
    assert [list(await ring.active_keys()) for ring in rings] == [[], []]
    await asyncio.to_thread(write_offline, store_url, lambda tx: api_keys.add(tx, KEY))
    clock.advance(CACHE_TTL)
    assert [list(await ring.active_keys()) for ring in rings] == [[KEY], [KEY]]
    await asyncio.to_thread(write_offline, store_url, lambda tx: api_keys.revoke(tx, KEY.name, NOON))
    clock.advance(CACHE_TTL)
    assert [list(await ring.active_keys()) for ring in rings] == [[], []]
    assert await rings[0].any_ever_created(), "it goes on wanting keys"


async def test_a_clock_set_back_refreshes_the_cache(store: Store, clock: Clock) -> None:
    """Keys that were read at a time now in the future are read again."""
    ring = ApiKeyCache(store, clock)
    await ring.active_keys()
    await store.write(lambda tx: api_keys.add(tx, KEY))
    clock.advance(-LAST_USED_RESOLUTION)
    assert list(await ring.active_keys()) == [KEY]


async def test_the_cached_keys_are_used_while_the_store_fails(store: Store, clock: Clock) -> None:
    """Keys that were read before stay valid, so that metrics are served; a relay that has read none says so."""
    await store.write(lambda tx: api_keys.add(tx, KEY))
    ring, late = ApiKeyCache(store, clock), ApiKeyCache(store, clock)
    await ring.active_keys()
    await store.aclose()
    clock.advance(CACHE_TTL)
    assert list(await ring.active_keys()) == [KEY]
    with pytest.raises(StoreError):
        await late.any_ever_created()


async def test_last_use_is_stored_once_an_hour(counted: CountedStore, clock: Clock) -> None:
    """However often a key is used, and not in the request."""
    await counted.write(lambda tx: api_keys.add(tx, KEY))
    ring = ApiKeyCache(counted, clock)
    before = counted.writes
    for _ in range(3 * 60):
        for _ in range(50):
            [key] = await ring.active_keys()
            ring.mark_used(key)
        await ring.flush_last_used()
        clock.advance(LAST_USED_RESOLUTION // 60)
    assert counted.writes - before == 3
    [key] = await counted.read(api_keys.active)
    assert key == replace(KEY, last_used_at=NOON + 2 * LAST_USED_RESOLUTION)


async def test_an_unused_cache_writes_nothing(counted: CountedStore, clock: Clock) -> None:
    """An idle relay does not write to its store."""
    ring = ApiKeyCache(counted, clock)
    for _ in range(100):
        await ring.flush_last_used()
        clock.advance(LAST_USED_RESOLUTION)
    assert (counted.reads, counted.writes) == (0, 0)
