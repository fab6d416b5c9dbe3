"""The store's transactions: atomic, committed in batches, with clear errors."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from relay.errors import StoreError
from relay.store.engine.database import Store, Tx
from relay.store.engine.schema import metadata
from relay.store.tables import idempotency
from relay.store.tables.idempotency import StoredResponse


def keep(key: str) -> StoredResponse:
    return StoredResponse(key=key, request_hash="", status=201, answer="", created_at=0)


async def test_migrations_create_exactly_the_schema(store: Store) -> None:
    """After all migrations the database has exactly the tables of schema.py."""
    assert await store.read(lambda tx: compare_metadata(MigrationContext.configure(tx), metadata)) == []


async def test_failed_transaction_is_rolled_back(store: Store) -> None:
    """Its writes before the exception are gone."""

    def work(tx: Tx) -> None:
        idempotency.store(tx, keep("one"))
        raise LookupError("half way")

    with pytest.raises(LookupError):
        await store.write(work)
    assert await store.read(lambda tx: idempotency.get(tx, "one")) is None


async def test_failed_transaction_does_not_fail_its_batch(store: Store) -> None:
    """Each transaction of a batch succeeds or fails by itself."""

    def work(tx: Tx, number: int) -> int:
        idempotency.store(tx, keep(str(number)))
        if number % 10 == 3:
            raise LookupError(str(number))
        return number

    results = await asyncio.gather(
        *(store.write(lambda tx, n=n: work(tx, n)) for n in range(100)),  # type: ignore[misc]
        return_exceptions=True,
    )
    for number, result in enumerate(results):
        kept = await store.read(lambda tx, n=number: idempotency.get(tx, str(n)))  # type: ignore[misc]
        assert isinstance(result, LookupError) == (number % 10 == 3) == (kept is None)


async def test_constraint_violation_does_not_fail_its_batch(store: Store) -> None:
    """A row that the database refuses fails only its own transaction."""

    def work(tx: Tx, number: int) -> int:
        if number == 50:
            tx.execute(text("insert into idempotency (key) values ('no answer')"))
        idempotency.store(tx, keep(str(number)))
        return number

    results = await asyncio.gather(
        *(store.write(lambda tx, n=n: work(tx, n)) for n in range(100)),  # type: ignore[misc]
        return_exceptions=True,
    )
    assert [number for number, result in enumerate(results) if result != number] == [50]
    assert isinstance(results[50], StoreError)


async def test_waiting_items_of_the_same_work_run_in_one_batch(store: Store) -> None:
    """One call gets all waiting items, and each caller gets its own result."""
    calls: list[Sequence[int]] = []

    def work(tx: Tx, numbers: Sequence[int]) -> list[str]:
        calls.append(numbers)
        return [str(number) for number in numbers if idempotency.store(tx, keep(str(number)))]

    results = await asyncio.gather(*(store.write_together(work, number) for number in range(100)))
    assert results == [str(number) for number in range(100)]
    assert len(calls) < 20
    assert sorted(number for call in calls for number in call) == list(range(100))


async def test_failed_item_does_not_fail_its_batch(store: Store) -> None:
    """The other items are written, each by itself."""

    def work(tx: Tx, numbers: Sequence[int]) -> list[int]:
        for number in numbers:
            idempotency.store(tx, keep(str(number)))
            if number == 50:
                raise LookupError("half way")
        return [*numbers]

    asked = (store.write_together(work, number) for number in range(100))
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [number for number, result in enumerate(results) if result != number] == [50]
    assert isinstance(results[50], LookupError)
    kept = await store.read(lambda tx: [idempotency.get(tx, str(number)) is not None for number in range(100)])
    assert kept == [number != 50 for number in range(100)]


class Held:
    """Transactions of the writer's that wait until they are let go; `done` says which took place, in order."""

    def __init__(self, store: Store) -> None:
        self._store, self.done, self._asked = store, list[str](), list[asyncio.Task[None]]()
        self._begun: dict[str, threading.Event] = {}
        self._go: dict[str, threading.Event] = {}

    async def ask(self, *names: str, held: bool = False) -> None:
        """Asks for transactions; returns once all have come to the writer, and one that is `held` has begun."""
        for name in names:
            self._begun[name], self._go[name] = threading.Event(), threading.Event()
            if not held:
                self._go[name].set()
            self._asked.append(asyncio.create_task(self._store.write(partial(self._work, name))))
        await asyncio.sleep(0)

    async def begins(self, name: str) -> None:
        assert await asyncio.to_thread(self._begun[name].wait, 10)

    def let_go(self, name: str) -> None:
        self._go[name].set()

    async def all(self) -> list[str]:
        """All took place, and are kept: in which order."""
        await asyncio.wait_for(asyncio.gather(*self._asked), 30)
        for name in self.done:
            assert await self._store.read(lambda tx, name=name: idempotency.get(tx, name)) is not None  # type: ignore[misc]
        return self.done

    def _work(self, name: str, tx: Tx) -> None:
        self._begun[name].set()
        self._go[name].wait(10)
        assert idempotency.store(tx, keep(name))
        self.done.append(name)


async def test_many_batched_writes_do_not_delay_single_ones(store: Store) -> None:
    """While thousands of registrations wait, a single write is in the next commit but one."""
    held = Held(store)
    await held.ask("first", held=True)
    await held.begins("first")
    sizes: list[int] = []

    def work(tx: Tx, numbers: Sequence[int]) -> Sequence[int]:
        sizes.append(len(numbers))
        held.done.append(f"batch of {len(numbers)}")
        return numbers

    flood = [asyncio.create_task(store.write_together(work, number)) for number in range(3_000)]
    await asyncio.sleep(0)
    await held.ask("other")
    held.let_go("first")
    await asyncio.gather(*flood)
    order = held.done
    assert order.index("other") <= 2, order
    assert sum(sizes) == 3_000
    assert len(sizes) <= 20, "they are done together all the same"


async def test_many_single_writes_do_not_delay_batched_ones(store: Store) -> None:
    """Each commit contains both."""
    held = Held(store)
    await held.ask("first", held=True)
    await held.begins("first")
    await held.ask(*(f"other{number}" for number in range(1_000)))

    def work(tx: Tx, numbers: Sequence[int]) -> Sequence[int]:
        held.done.append("batch")
        return numbers

    batched = asyncio.create_task(store.write_together(work, 1))
    await asyncio.sleep(0)
    held.let_go("first")
    await batched
    assert held.done.index("batch") <= 256


async def test_long_batch_is_committed_early(store: Store) -> None:
    """A batch is committed after a quarter of a second; the rest follows in order, both kinds in turn."""
    held = Held(store)
    await held.ask("first", held=True)
    await held.begins("first")

    def slow(name: str, tx: Tx) -> None:
        assert idempotency.store(tx, keep(name))
        threading.Event().wait(0.3)
        held.done.append(name)

    def batched(tx: Tx, numbers: Sequence[int]) -> Sequence[int]:
        held.done.append("batch")
        return numbers

    asked = [asyncio.create_task(store.write(partial(slow, f"slow{number}"))) for number in range(3)]
    last = asyncio.create_task(store.write_together(batched, 1))
    await asyncio.sleep(0)
    held.let_go("first")
    await asyncio.wait_for(asked[0], 30)
    assert "slow2" not in held.done
    await asyncio.wait_for(asyncio.gather(*asked, last), 30)
    assert held.done == ["first", "batch", "slow0", "slow1", "slow2"]
    for number in range(3):
        assert await store.read(lambda tx, n=number: idempotency.get(tx, f"slow{n}")) is not None  # type: ignore[misc]


async def test_work_at_the_end_runs_last_and_waits_for_one_batch_only(store: Store) -> None:
    """It runs after all others of its batch; if that is cut short, it is the first of the next one."""
    held = Held(store)
    await held.ask("first", held=True)
    await held.begins("first")

    def slow(name: str, tx: Tx) -> None:
        threading.Event().wait(0.3)
        held.done.append(name)

    def write(name: str, *, at_end: bool = False) -> asyncio.Task[None]:
        return asyncio.create_task(store.write(partial(slow, name), at_end=at_end))

    asked = [write("last", at_end=True), write("slow0"), write("slow1")]
    await asyncio.sleep(0)
    held.let_go("first")
    await asyncio.wait_for(asked[1], 30)
    asked.append(write("later"))
    await asyncio.wait_for(asyncio.gather(*asked), 30)
    assert held.done == ["first", "slow0", "slow1", "last", "later"]


async def test_write_of_a_cancelled_caller_is_committed(store: Store) -> None:
    """The caller may be cancelled; its write is committed, and the next one is served."""
    held = Held(store)
    await held.ask("first", held=True)
    await held.begins("first")
    left = asyncio.create_task(store.write(lambda tx: idempotency.store(tx, keep("left"))))
    await asyncio.sleep(0)
    left.cancel()
    held.let_go("first")
    assert await store.write(lambda tx: idempotency.store(tx, keep("next")))
    assert await store.read(lambda tx: idempotency.get(tx, "left")) is not None
    assert left.cancelled()


def test_writer_survives_a_closed_event_loop(sqlite_url: str) -> None:
    """The loop of a waiting request is closed before its result; the writer continues."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: Tx) -> None:
        begun.set()
        go_on.wait(10)

    async def leave() -> Store:
        store = await Store.open(sqlite_url)
        asyncio.create_task(store.write(slow))  # noqa: RUF006 (it is to be cancelled by the end of the loop)
        assert await asyncio.to_thread(begun.wait, 10)
        return store

    async def come_back(store: Store) -> None:
        assert await store.write(lambda tx: idempotency.store(tx, keep("after")))
        await store.aclose()

    store = asyncio.run(leave())
    go_on.set()
    asyncio.run(come_back(store))


async def test_write_is_durable_when_it_returns(sqlite_store: Store, tmp_path: Path) -> None:
    """Another process reads the row as soon as `write` has returned."""
    await sqlite_store.write(lambda tx: idempotency.store(tx, keep("seen")))
    query = "select count(*) from idempotency"
    count = f"import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('{query}').fetchone()[0])"
    command = [sys.executable, "-c", count, str(tmp_path / "relay.db")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "1"


async def test_commits_are_synced_and_files_are_private(sqlite_store: Store, tmp_path: Path) -> None:
    """WAL with full syncs, and no file that others may read."""
    mode = await sqlite_store.write(lambda tx: tx.execute(text("PRAGMA journal_mode")).scalar_one())
    sync = await sqlite_store.write(lambda tx: tx.execute(text("PRAGMA synchronous")).scalar_one())
    assert (mode, sync) == ("wal", 2)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


async def test_second_relay_on_one_file_is_refused(sqlite_store: Store, sqlite_url: str) -> None:
    """SQLite is for one relay; the error says so."""
    with pytest.raises(StoreError, match="in use by another relay"):
        await Store.open(sqlite_url)


async def test_file_is_unlocked_after_closing(sqlite_url: str) -> None:
    """A store can be closed twice and opened again."""
    first = await Store.open(sqlite_url)
    await first.aclose()
    await first.aclose()
    with pytest.raises(StoreError, match="closed"):
        await first.write(lambda tx: None)
    await (await Store.open(sqlite_url)).aclose()


async def test_locked_database_gives_a_clear_error_and_loses_nothing(sqlite_store: Store, tmp_path: Path) -> None:
    """While another process locks the file, writes fail with a clear text; afterwards they work."""
    other = sqlite3.connect(tmp_path / "relay.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked by another process"):
        await sqlite_store.write(lambda tx: idempotency.store(tx, keep("a")))
    other.execute("ROLLBACK")
    other.close()
    assert await sqlite_store.write(lambda tx: idempotency.store(tx, keep("a")))


async def test_full_disk_gives_a_clear_error_and_loses_nothing(sqlite_store: Store) -> None:
    """If no page can be added, writes fail with a clear text, stored rows stay, and later writes work."""
    await sqlite_store.write(lambda tx: idempotency.store(tx, keep("before")))
    pages = await sqlite_store.write(lambda tx: tx.execute(text("PRAGMA page_count")).scalar_one())
    await sqlite_store.write(lambda tx: tx.execute(text(f"PRAGMA max_page_count={pages}")).scalar_one())
    big = StoredResponse(key="big", request_hash="", status=201, answer="x" * 1_000_000, created_at=0)
    with pytest.raises(StoreError, match="disk is full"):
        await sqlite_store.write(lambda tx: idempotency.store(tx, big))
    await sqlite_store.write(lambda tx: tx.execute(text("PRAGMA max_page_count=1000000")).scalar_one())
    assert await sqlite_store.read(lambda tx: idempotency.get(tx, "before")) is not None
    assert await sqlite_store.write(lambda tx: idempotency.store(tx, big))


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("sqlite:///:memory:", "names no file"),
        ("sqlite://", "names no file"),
        ("mysql://localhost/x", "not mysql"),
        ("nonsense", "not a database URL"),
        ("sqlite:////proc/nowhere/relay.db", "can't be opened"),
    ],
)
async def test_unusable_url_is_refused(url: str, match: str) -> None:
    """The error says what is wrong with storage.url."""
    with pytest.raises(StoreError, match=match):
        await Store.open(url)


async def test_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    """A file with other content is not overwritten."""
    (tmp_path / "relay.db").write_bytes(b"these are my holiday notes, not a database" * 100)
    with pytest.raises(StoreError, match="not a SQLite database"):
        await Store.open(f"sqlite:///{tmp_path}/relay.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; the e2e suite runs this as another user")
async def test_read_only_file_is_refused_at_start(tmp_path: Path) -> None:
    """A store that can't be written fails at start, not at the first registration."""
    await (await Store.open(f"sqlite:///{tmp_path}/relay.db")).aclose()
    (tmp_path / "relay.db").chmod(0o400)
    with pytest.raises(StoreError, match="can't be opened"):
        await Store.open(f"sqlite:///{tmp_path}/relay.db")
