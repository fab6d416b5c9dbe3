"""The keys at hand: as cheap as memory, no older than a second."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from relay.api_keys import hash_of
from relay.errors import StoreError
from relay.key_ring import COARSE, FRESH, KeyRing
from relay.store import api_keys
from relay.store.api_keys import StoredKey
from relay.store.database import Store, Tx, change
from tests.conftest import Clock
from tests.make import NOON

T = TypeVar("T")
KEY = StoredKey(id="key_1", name="zapier", hash=hash_of("relay_1"), scopes=("register",), created_at=NOON)


class CountedStore(Store):
    """A store that counts what is asked of it."""

    reads = writes = 0

    async def read(self, work: Callable[[Tx], T]) -> T:
        self.reads += 1
        return await super().read(work)

    async def write(self, work: Callable[[Tx], T]) -> T:
        self.writes += 1
        return await super().write(work)


@pytest.fixture
async def counted(store_url: str) -> AsyncIterator[CountedStore]:
    store = await CountedStore.open(store_url)
    assert isinstance(store, CountedStore)
    yield store
    await store.aclose()


async def test_a_thousand_requests_cost_one_query(counted: CountedStore, clock: Clock) -> None:
    """Within a second, those that come at once included; and none while nobody asks."""
    await counted.write(lambda tx: api_keys.add(tx, KEY))
    ring = KeyRing(counted, clock)
    assert counted.reads == 0
    found = await asyncio.gather(*(ring.live() for _ in range(500)))
    assert all(list(one) == [KEY] for one in found)
    for _ in range(500):
        assert await ring.were_made()
    assert counted.reads == 1


async def test_a_change_is_heeded_within_a_second(store: Store, store_url: str, clock: Clock) -> None:
    """By every relay on the store, without a restart: a key that was made works, one that was revoked does not."""
    rings = [KeyRing(store, clock), KeyRing(store, clock)]
    assert [list(await ring.live()) for ring in rings] == [[], []]
    await asyncio.to_thread(change, store_url, lambda tx: api_keys.add(tx, KEY))
    clock.advance(FRESH)
    assert [list(await ring.live()) for ring in rings] == [[KEY], [KEY]]
    await asyncio.to_thread(change, store_url, lambda tx: api_keys.revoke(tx, KEY.name, NOON))
    clock.advance(FRESH)
    assert [list(await ring.live()) for ring in rings] == [[], []]
    assert await rings[0].were_made(), "it goes on wanting keys"


async def test_a_clock_that_is_set_back(store: Store, clock: Clock) -> None:
    """What was read in what is now the future is read again."""
    ring = KeyRing(store, clock)
    await ring.live()
    await store.write(lambda tx: api_keys.add(tx, KEY))
    clock.advance(-COARSE)
    assert list(await ring.live()) == [KEY]


async def test_while_the_store_fails(store: Store, clock: Clock) -> None:
    """What was read before holds, so that metrics can be had; who has read nothing yet knows nothing, and says so."""
    await store.write(lambda tx: api_keys.add(tx, KEY))
    ring, late = KeyRing(store, clock), KeyRing(store, clock)
    await ring.live()
    await store.aclose()
    clock.advance(FRESH)
    assert list(await ring.live()) == [KEY]
    with pytest.raises(StoreError):
        await late.were_made()


async def test_use_is_written_down_once_an_hour(counted: CountedStore, clock: Clock) -> None:
    """However often a key is used, and not in the request."""
    await counted.write(lambda tx: api_keys.add(tx, KEY))
    ring = KeyRing(counted, clock)
    before = counted.writes
    for _ in range(3 * 60):
        for _ in range(50):
            [key] = await ring.live()
            ring.use(key)
        await ring.write_down()
        clock.advance(COARSE // 60)
    assert counted.writes - before == 3
    [key] = await counted.read(api_keys.live)
    assert key == replace(KEY, last_used_at=NOON + 2 * COARSE)


async def test_nothing_is_written_where_nothing_is_used(counted: CountedStore, clock: Clock) -> None:
    """An idle relay leaves its store alone."""
    ring = KeyRing(counted, clock)
    for _ in range(100):
        await ring.write_down()
        clock.advance(COARSE)
    assert (counted.reads, counted.writes) == (0, 0)
