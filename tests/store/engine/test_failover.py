"""Failover of PostgreSQL: for a while the host name leads to a read-only standby. Errors of connecting."""

import asyncio
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, event, text

from relay.errors import StoreError
from relay.store.engine import dialect
from relay.store.engine.database import Store
from relay.store.tables import idempotency
from relay.store.tables.idempotency import StoredResponse
from tests.standby import Pair, pair


def kept(key: str) -> StoredResponse:
    return StoredResponse(key=key, request_hash="", status=201, answer="", created_at=0)


async def write(store: Store, key: str) -> None:
    await store.write(lambda tx: idempotency.store(tx, kept(key)))


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


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user may enter."""
    made = Path(tempfile.mkdtemp(prefix="relay-postgres-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


async def test_writes_recover_after_a_failover(folder: Path) -> None:
    """Connections to a standby are refused, and connections to a server that becomes one are dropped."""
    async with pair(folder) as both:
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


@pytest.mark.parametrize(
    ("url", "message", "hidden"),
    [
        ("postgresql://relay:hidden@nohost.invalid/relay", "host name nohost.invalid has no address", "hidden"),
        ("postgresql://relay:hidden@full.invalid/relay", "host name full.invalid has no address", "hidden"),
        ("postgresql://relay:hid@den@127.0.0.1:9/relay", "an @ in a user or password is written %40", "den"),
        ("postgresql://relay:hidden@127.0.0.1:9/relay?schema=x", "schema is not a parameter of PostgreSQL", "hidden"),
        ("postgresql://relay:hidden@127.0.0.1:9/relay?sslmode=x", "does not accept the value of sslmode", "hidden"),
        ("postgresql://relay:hidden@127.0.0.1:9/relay", "can't be reached: Connection refused", "hidden"),
    ],
)
async def test_error_of_a_url_names_its_cause(url: str, message: str, hidden: str) -> None:
    """The text does not contain the password."""
    with pytest.raises(StoreError, match=message) as error:
        await Store.open(url)
    assert hidden not in str(error.value)


async def test_server_without_tls_gives_a_clear_error(postgres_url: str) -> None:
    """If sslmode requires TLS."""
    with psycopg.connect(postgres_url) as connection:
        host = connection.info.host
    if host.startswith("/"):
        pytest.skip("a socket of the machine has no TLS to ask for")
    with pytest.raises(StoreError, match="does not support TLS"):
        await Store.open(f"{postgres_url}&sslmode=require")


async def test_missing_driver_gives_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'exec-relay\[postgres\]'"):
        await Store.open("postgresql://relay@127.0.0.1:9/relay")


async def test_transaction_pooler_is_refused(postgres_url: str) -> None:
    """Two connections that share a session are refused; two with separate sessions are accepted."""
    one, two = (dialect.engine(dialect.parse(postgres_url), writer=True, connections=2) for _ in range(2))
    dialect.refuse_transaction_pooler(one, two)
    shared = create_engine("sqlite://")

    @event.listens_for(shared, "connect")
    def _has_one_session(connection: sqlite3.Connection, _: object) -> None:
        connection.create_function("pg_backend_pid", 0, lambda: 4711)

    with pytest.raises(StoreError, match="pool_mode = session"):
        dialect.refuse_transaction_pooler(shared, shared)
    for engine in (one, two, shared):
        engine.dispose()
