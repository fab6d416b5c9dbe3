"""Notifications between processes on one database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import psycopg
import pytest

from relay.errors import StoreError
from relay.store.engine.database import Store


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    opened = await Store.open(postgres_url)
    yield opened
    await opened.aclose()


@asynccontextmanager
async def listening(store: Store) -> AsyncIterator[AsyncIterator[str]]:
    """Who rings from now on."""
    async with asyncio.timeout(30), aclosing(store.notifications()) as rings:
        assert await anext(rings) == ""
        yield rings


async def test_notification_reaches_every_listener(store: Store, postgres_url: str) -> None:
    """Other processes, and the sender itself, which can recognise its own; not those of another database."""
    other = await Store.open(postgres_url)
    async with listening(store) as here, listening(other) as there:
        await other.notify("own_2")
        assert (await anext(here), await anext(there)) == ("own_2", "own_2")
    await other.aclose()


async def test_lost_connection_raises(store: Store, postgres_url: str) -> None:
    """So that the listener reconnects."""
    async with listening(store) as rings:
        with psycopg.connect(postgres_url, autocommit=True) as server:
            server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        with pytest.raises(StoreError, match="can't be reached"):
            await anext(rings)
