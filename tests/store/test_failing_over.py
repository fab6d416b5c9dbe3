"""PostgreSQL that fails over: for a while the name leads to a standby, which reads well and takes no writes."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from relay.errors import StoreError
from relay.store import idempotency
from relay.store.database import Store
from relay.store.idempotency import Kept
from tests.standby import Pair, pair


def kept(key: str) -> Kept:
    return Kept(key=key, request_hash="", status=201, answer="", created_at=0)


async def write(store: Store, key: str) -> None:
    await store.write(lambda tx: idempotency.keep(tx, kept(key)))


async def later_writes(store: Store, key: str) -> None:
    """Returns once a write works, within a minute."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await write(store, key)
            except StoreError:
                await asyncio.sleep(0.1)


async def has_failed_over(both: Pair, store: Store) -> None:
    await both.fail_over(both.standby)
    for key in "bc":
        with pytest.raises(StoreError, match="read-only: storage.url leads to a standby"):
            await write(store, key)
    assert store.write_fault is not None
    with pytest.raises(StoreError, match="read-only"):
        await store.write_nothing()
    await both.fail_over(both.primary)
    await later_writes(store, "d")
    assert store.write_fault is None


async def test_writes_work_again_after_a_standby_was_met(tmp_path: Path) -> None:
    """New connections to a standby are refused, and those that have become one are thrown away."""
    async with pair(tmp_path) as both:
        store = await Store.open(both.url)
        await write(store, "a")
        await has_failed_over(both, store)
        await store.aclose()
        # The relay's own pools may have been filled by a standby, through a pooler that keeps its side open.
        store = await Store.open(f"{both.url}?target_session_attrs=any")
        await has_failed_over(both, store)
        read = await store.read(lambda tx: tx.execute(text("SELECT pg_is_in_recovery()")).scalar_one())
        assert read is False
        await store.aclose()
