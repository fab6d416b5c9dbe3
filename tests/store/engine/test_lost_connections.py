"""A failing database: cut connections, restarted servers, abandoned transactions."""

import asyncio
import threading
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import text

from relay.errors import StoreError
from relay.store.engine.database import Store, Tx
from relay.store.tables import idempotency
from relay.store.tables.idempotency import StoredResponse


def keep(key: str) -> StoredResponse:
    return StoredResponse(key=key, request_hash="", status=201, answer="", created_at=0)


@pytest.fixture
def url(postgres_url: str) -> str:
    """A PostgreSQL with little patience."""
    return f"{postgres_url}&options=-c%20lock_timeout%3D500%20-c%20idle_in_transaction_session_timeout%3D2000"


@pytest.fixture
def server(postgres_url: str) -> Iterator[psycopg.Connection]:
    """A connection of the operator's own."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def cut_all(server: psycopg.Connection) -> None:
    """Ends every connection but this one, as a restart of the server does."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    server.execute(f"SELECT pg_terminate_backend(pid) {others}")
    while server.execute(f"SELECT count(*) {others}").fetchone() != (0,):
        pass


async def test_store_recovers_after_all_connections_are_cut(postgres_url: str, server: psycopg.Connection) -> None:
    """The next reads and writes use new connections, and callers get no error."""
    store = await Store.open(postgres_url)
    await asyncio.gather(*(store.read(lambda tx: idempotency.get(tx, "1")) for _ in range(8)))
    for number in range(3):
        cut_all(server)
        assert await store.write(lambda tx, n=number: idempotency.store(tx, keep(str(n))))  # type: ignore[misc]
        cut_all(server)
        found = await asyncio.gather(*(store.read(lambda tx: idempotency.get(tx, "0")) for _ in range(8)))
        assert None not in found
    await store.aclose()


async def test_cut_transaction_is_retried_once(postgres_url: str, server: psycopg.Connection) -> None:
    """Its writes before the cut are rolled back, and the rest of its batch is committed."""
    store = await Store.open(postgres_url)
    all_wait = threading.Event()
    tries: list[int] = []

    def work(tx: Tx) -> bool:
        first = idempotency.store(tx, keep("first"))
        tries.append(1)
        if len(tries) == 1:
            cut_all(server)
        return first and idempotency.store(tx, keep("second"))

    def fails(tx: Tx) -> None:
        raise LookupError("its own fault")

    # The writer waits until all have come: else it may begin with some of them, and the rest would be another batch.
    wishes = [store.write(lambda tx: all_wait.wait(30)), store.write(fails)]
    wishes += [store.write(lambda tx: idempotency.store(tx, keep("a"))), store.write(work)]
    together = asyncio.gather(*wishes, store.write(fails), return_exceptions=True)
    await asyncio.sleep(0)
    all_wait.set()
    results = await together
    assert [type(result) for result in results] == [bool, LookupError, bool, bool, LookupError]
    assert results[2:4] == [True, True]
    assert len(tries) == 2
    await store.aclose()


async def test_cut_commit_raises_and_is_not_retried(postgres_url: str, server: psycopg.Connection) -> None:
    """The commit may have taken effect: a retry could spend or send twice."""
    store = await Store.open(postgres_url)
    await store.write(lambda tx: tx.execute(text("CREATE TABLE seen (n int)")))
    await store.write(lambda tx: tx.execute(text(CUT_AT_COMMIT)))
    tries: list[int] = []

    def work(tx: Tx) -> None:
        tries.append(1)
        tx.execute(text("INSERT INTO seen VALUES (1)"))

    with pytest.raises(StoreError, match="can't be reached"):
        await store.write(work)
    assert len(tries) == 1
    assert await store.write(lambda tx: idempotency.store(tx, keep("after")))
    await store.aclose()


CUT_AT_COMMIT = """
CREATE FUNCTION cut() RETURNS trigger AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$
LANGUAGE plpgsql;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON seen INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION cut()
"""


async def test_locks_of_a_dead_relay_are_released(url: str, postgres_url: str) -> None:
    """A relay that stops in a transaction delays others only until the server's timeout."""
    dead, alive = await Store.open(url), await Store.open(f"{postgres_url}&options=-c%20lock_timeout%3D20000")
    go_on, held = threading.Event(), threading.Event()
    await dead.write(lambda tx: idempotency.store(tx, keep("row")))

    def hang(tx: Tx) -> None:
        tx.execute(text("UPDATE idempotency SET status = 500"))
        held.set()
        go_on.wait(30)

    hanging = asyncio.create_task(dead.write(hang))
    await asyncio.to_thread(held.wait)
    assert await alive.write(lambda tx: tx.execute(text("UPDATE idempotency SET status = 200")).rowcount) == 1
    go_on.set()
    with pytest.raises(StoreError):
        await hanging
    await asyncio.gather(dead.aclose(), alive.aclose())


async def test_lock_timeout_fails_only_the_waiting_transaction(url: str, server: psycopg.Connection) -> None:
    """The transaction that waits for the lock fails; the rest of its batch is committed."""
    store = await Store.open(url)
    await store.write(lambda tx: idempotency.store(tx, keep("row")))
    with server.transaction():
        server.execute("UPDATE idempotency SET status = 500")
        blocked = store.write(lambda tx: tx.execute(text("UPDATE idempotency SET status = 200")).rowcount)
        others = [store.write(lambda tx, n=n: idempotency.store(tx, keep(str(n)))) for n in range(3)]  # type: ignore[misc]
        results = await asyncio.gather(blocked, *others, return_exceptions=True)
    assert isinstance(results[0], StoreError)
    assert "another transaction holds" in str(results[0])
    assert results[1:] == [True, True, True]
    await store.aclose()


async def test_read_sees_one_snapshot(store: Store, another: Store) -> None:
    """The second statement of a read does not see a commit after the first one."""
    loop = asyncio.get_running_loop()

    def twice(tx: Tx) -> tuple[object, object]:
        first = idempotency.get(tx, "between")
        asyncio.run_coroutine_threadsafe(
            another.write(lambda tx: idempotency.store(tx, keep("between"))), loop
        ).result()
        return first, idempotency.get(tx, "between")

    assert await store.read(twice) == (None, None)
    assert await store.read(lambda tx: idempotency.get(tx, "between")) is not None


async def test_read_can_not_write(store: Store) -> None:
    """PostgreSQL refuses it; on SQLite the write would be lost."""
    if store.is_exclusive:
        return
    with pytest.raises(StoreError, match="read-only"):
        await store.read(lambda tx: idempotency.store(tx, keep("x")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("/relay_", "/nowhere_"), "no such database"),
        (("//postgres:", "//nobody:"), "no such user"),
    ],
)
async def test_unreachable_database_gives_a_clear_error(
    postgres_url: str, change: tuple[str, str], message: str
) -> None:
    """The text says what to correct."""
    with pytest.raises(StoreError, match=message):
        await Store.open(postgres_url.replace(*change))


async def test_server_without_free_connections_gives_a_clear_error(
    postgres_url: str, server: psycopg.Connection
) -> None:
    """The text does not say that the server is down."""
    server.execute(f"ALTER DATABASE {server.info.dbname} CONNECTION LIMIT 0")
    server.execute("CREATE ROLE guest LOGIN")
    with pytest.raises(StoreError, match="no connection left"):
        await Store.open(postgres_url.replace("//postgres:", "//guest:"))
    server.execute("DROP ROLE guest")
