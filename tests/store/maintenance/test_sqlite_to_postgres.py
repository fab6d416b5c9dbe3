"""A move from SQLite to PostgreSQL copies every row, however often it is interrupted."""

import random
import string
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Boolean, Engine, Integer, LargeBinary, Table, Text, delete, insert, select, update

from relay.delivery.enqueue import enqueue
from relay.errors import ConstraintViolation, StoreError, StoreLocked
from relay.model import MINUTE, ScenarioJob, Watch, WatchState
from relay.model.poll_result import JobFound, Poll
from relay.security import FieldCipher
from relay.store.engine import dialect, migrate
from relay.store.engine.database import Store, Tx
from relay.store.engine.schema import deliveries
from relay.store.engine.schema import watches as watch_rows
from relay.store.maintenance.reencrypt import open_store
from relay.store.maintenance.sqlite_to_postgres import TABLES, Progress, SqliteToPostgres
from relay.store.tables import due_deliveries, endpoints, polls, watches
from tests.make import NOON, claim_due, make_endpoint, make_event
from tests.store.newer import NEXT_VERSIONS

SMALL = 7
KEY = "k" * 32


def quiet(_done: int, _of: int) -> None:
    """Nobody polls on."""


@pytest.fixture
def old(sqlite_url: str) -> Iterator[Engine]:
    """A new SQLite store, in which somebody else writes."""
    made = dialect.engine(dialect.parse(sqlite_url), writer=True, connections=1, relay_cipher=FieldCipher())
    yield made
    made.dispose()


@pytest.fixture
def relay_at_work(sqlite_url: str) -> Iterator[Callable[[], None]]:
    """A relay holds the SQLite file until it is stopped."""
    held = [dialect.lock_file(dialect.parse(sqlite_url))]

    def stop() -> None:
        held.pop().close()

    yield stop
    if held:
        stop()


def held_by(url: str) -> list[dict[str, Any]]:
    """Every row of the tables that move, in an order of its own, as PostgreSQL can keep it."""
    engine = dialect.engine(dialect.parse(url), writer=False, connections=1, relay_cipher=FieldCipher())
    with engine.connect() as tx:
        rows = [{"table": table.name, **row} for table in TABLES for row in tx.execute(select(table)).mappings()]
    engine.dispose()
    clean = [{k: v.replace("\x00", "\ufffd") if isinstance(v, str) else v for k, v in row.items()} for row in rows]
    return sorted(clean, key=repr)


class Busy:
    """Somebody who makes, changes and deletes rows of every table at random."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine, self._rng = engine, random.Random(seed)

    def work(self, times: int) -> None:
        with self._engine.begin() as tx:
            for table in self._rng.choices(TABLES, k=times):
                key = list(table.primary_key.columns)
                there = tx.execute(select(*key)).all()
                one = self._rng.choice(there) if there else None
                which = [column == value for column, value in zip(key, one or (), strict=False)]
                match self._rng.choice(["make", "make", "make", "change", "delete", "replace"]):
                    case "make":
                        tx.execute(insert(table), self._row(table))
                    case "change" if one:
                        fresh = self._row(table)
                        kept = {name: fresh[name] for name in fresh if table.c[name] not in key}
                        tx.execute(update(table).where(*which), kept)
                    case "delete" if one:
                        tx.execute(delete(table).where(*which))
                    case "replace" if one:  # the same under another key: what is there once only moves on
                        was = dict(tx.execute(select(table).where(*which)).mappings().one())
                        tx.execute(delete(table).where(*which))
                        tx.execute(insert(table), was | {column.name: self._value(column.type, True) for column in key})

    def _row(self, table: Table) -> dict[str, Any]:
        row = {column.name: self._value(column.type, column.primary_key) for column in table.columns}
        return row | ({"leased": False} if table is watch_rows else {})

    def _value(self, type: Any, is_key: bool) -> Any:
        rng = self._rng
        match type:
            case Boolean():
                return rng.random() < 0.5
            case Integer():
                return rng.randrange(2**31)
            case LargeBinary():
                return rng.randbytes(rng.randrange(50))
            case Text():
                letters = [*string.printable, "ü", "😀", *([] if is_key else ["\x00"])]
                return "".join(rng.choices(letters, k=rng.randrange(8, 20)))
        raise AssertionError(type)


def breaking_off(rng: random.Random) -> Progress:
    """Breaks off somewhere in a round."""
    left = rng.randrange(60)

    def tell(_done: int, _of: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt

    return tell


@pytest.mark.parametrize("seed", range(3))
def test_moved_store_equals_the_source_at_the_end(
    old: Engine, sqlite_url: str, postgres_url: str, seed: int, relay_at_work: Callable[[], None]
) -> None:
    """For all writes between and within rounds, and wherever each round is interrupted."""
    busy, rng = Busy(old, seed), random.Random(seed)
    for _ in range(6):
        busy.work(60)
        move = SqliteToPostgres.open(sqlite_url, postgres_url, FieldCipher(), SMALL)
        with suppress(KeyboardInterrupt):
            move.copy(breaking_off(rng))
        assert not move.lock_source()
        move.close()
    relay_at_work()
    for tell in (breaking_off(rng), breaking_off(rng), quiet):
        move = SqliteToPostgres.open(sqlite_url, postgres_url, FieldCipher(), SMALL)
        with suppress(KeyboardInterrupt):
            move.finish(tell)
        move.close()
        if not is_closed(postgres_url):
            break
    expected = held_by(sqlite_url)
    assert len(expected) > 100
    assert held_by(postgres_url) == expected


def is_closed(url: str) -> bool:
    engine = dialect.engine(dialect.parse(url), writer=False, connections=1)
    with engine.connect() as tx:
        found = migrate.is_locked_out(tx)
    engine.dispose()
    return found


async def filled(url: str, cipher: FieldCipher) -> None:
    """A SQLite store with a job that is being polled, and two deliveries: one in flight, one still due."""
    store = await open_store(url, cipher)

    def work(tx: Tx) -> None:
        endpoints.add(tx, make_endpoint())
        for number in range(2):
            enqueue(tx, make_event(f"j{number}"), [(endpoints.all_standing(tx)[0], None)], NOON, 0)
        claim_due(tx, NOON, NOON + MINUTE, most=1)
        watch = Watch(workspace="default", job_id="j9", state=WatchState.ACTIVE, created_at=NOON, next_poll_at=NOON)
        watches.add(tx, watch)
        polls.add(tx, watch, Poll(NOON, 3, JobFound(ScenarioJob(id="j9", status="queued"))))
        watches.lease(tx, [watch], NOON + MINUTE)

    await store.write(work)
    await store.aclose()


def move(source: str, target: str, cipher: FieldCipher | None = None) -> None:
    moving = SqliteToPostgres.open(source, target, cipher or FieldCipher())
    moving.copy(quiet)
    moving.finish(quiet)
    moving.close()


async def test_new_store_continues_the_work_of_the_old_one(sqlite_url: str, postgres_url: str) -> None:
    """The same key decrypts its secrets, work in flight is due, numbers continue, and nothing is duplicated."""
    await filled(sqlite_url, FieldCipher(KEY))
    move(sqlite_url, postgres_url, FieldCipher(KEY))
    store = await open_store(postgres_url, FieldCipher(KEY))
    now = store.clock()
    assert (await store.read(endpoints.all_standing))[0].secrets == make_endpoint().secrets
    assert len(await store.read(lambda tx: due_deliveries.due(tx, now, 9))) == 2
    [watch] = await store.write(lambda tx: watches.lock_due(tx, "default", now, 9))
    poll = Poll(now, 3, JobFound(ScenarioJob(id="j9", status="queued")))
    await store.write(lambda tx: polls.add(tx, watch, poll))
    assert [one["at"] for one in await store.read(lambda tx: polls.of_watch(tx, watch, 9))] == [NOON, now]
    with pytest.raises(ConstraintViolation):  # what is there once only is so again
        await store.write(lambda tx: tx.execute(update(deliveries), {"event_id": "evt_1"}))
    await store.aclose()


async def test_no_relay_starts_in_the_moved_store(sqlite_url: str, postgres_url: str) -> None:
    """The error names the new store without its password; it can't be moved again."""
    await filled(sqlite_url, FieldCipher())
    with_password = postgres_url.replace("postgres:@", "postgres:hunter2@")
    move(sqlite_url, with_password)
    with pytest.raises(StoreError, match=r"has moved to postgresql://localhost/relay_\w+: set storage.url") as refused:
        await Store.open(sqlite_url)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(StoreError, match="has moved to"):
        SqliteToPostgres.open(sqlite_url, with_password, FieldCipher())


async def test_no_relay_starts_in_a_half_copied_store(sqlite_url: str, postgres_url: str) -> None:
    """The error says what to do; only the same import may continue."""
    await filled(sqlite_url, FieldCipher())
    moving = SqliteToPostgres.open(sqlite_url, postgres_url, FieldCipher())
    moving.copy(quiet)
    moving.close()
    with pytest.raises(StoreError, match="is not finished; run the same `relay import` again"):
        await Store.open(postgres_url)
    other = sqlite_url.replace("relay.db", "other.db")
    await filled(other, FieldCipher())
    with pytest.raises(StoreError, match="is not finished"):
        SqliteToPostgres.open(other, postgres_url, FieldCipher())
    move(sqlite_url, postgres_url)
    await (await Store.open(postgres_url)).aclose()


async def test_move_interrupted_before_the_last_commit_is_completed(sqlite_url: str, postgres_url: str) -> None:
    """Relays are locked out of both stores; running the same move again unlocks the new one."""
    await filled(sqlite_url, FieldCipher())
    moving = SqliteToPostgres.open(sqlite_url, postgres_url, FieldCipher())
    assert moving.lock_source()
    moving._lock_out_old()
    moving.close()
    move(sqlite_url, postgres_url)
    await (await Store.open(postgres_url)).aclose()


async def test_store_in_use_is_not_imported_into(sqlite_url: str, postgres_url: str) -> None:
    """Neither beside a relay nor over its rows; the relay continues undisturbed."""
    await filled(sqlite_url, FieldCipher())
    at_work = await Store.open(postgres_url)
    with pytest.raises(StoreError, match="uses storage.url"):
        SqliteToPostgres.open(sqlite_url, postgres_url, FieldCipher())
    await at_work.write(lambda tx: enqueue(tx, make_event("j0"), [(make_endpoint(), None)], NOON, 0))
    await at_work.aclose()
    await (await Store.open(postgres_url)).aclose()
    with pytest.raises(StoreError, match="has jobs already"):
        SqliteToPostgres.open(sqlite_url, postgres_url, FieldCipher())
    await (await Store.open(postgres_url)).aclose()


async def test_move_waits_for_the_old_relay_to_stop(
    sqlite_url: str, postgres_url: str, old: Engine, relay_at_work: Callable[[], None]
) -> None:
    """The move does not end while the relay holds the file."""
    moving = SqliteToPostgres.open(sqlite_url, postgres_url, FieldCipher())
    assert not moving.lock_source()
    with pytest.raises(StoreError, match="stop it first"):
        moving.finish(quiet)
    relay_at_work()
    assert moving.lock_source()
    with pytest.raises(StoreLocked):
        await Store.open(sqlite_url)
    moving.finish(quiet)
    moving.close()


async def test_move_with_the_wrong_key_is_refused(sqlite_url: str, postgres_url: str) -> None:
    """Before anything is copied; the new store stays unchanged."""
    await filled(sqlite_url, FieldCipher(KEY))
    for cipher, message in (
        (FieldCipher(), "security.secret_key is not set"),
        (FieldCipher("o" * 32), "the configured key is"),
    ):
        with pytest.raises(StoreError, match=message):
            SqliteToPostgres.open(sqlite_url, postgres_url, cipher)
    await (await Store.open(postgres_url)).aclose()


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("sqlite:///{}/relay.db", "sqlite:///{}/other.db", "set storage.url to the PostgreSQL"),
        ("postgresql://localhost/x", "postgresql://localhost/y", "moves from SQLite"),
        ("sqlite:///{}/nothing.db", "postgresql://localhost/y", "there is no store at"),
    ],
)
def test_unsupported_move_gives_a_clear_error(tmp_path: Path, source: str, target: str, message: str) -> None:
    """No file is created."""
    with pytest.raises(StoreError, match=message):
        SqliteToPostgres.open(source.format(tmp_path), target.format(tmp_path), FieldCipher())
    assert list(tmp_path.iterdir()) == []


async def test_import_does_not_upgrade_the_old_store(sqlite_url: str, postgres_url: str, old: Engine) -> None:
    """An import changes nothing in the old store before the end, its tables neither."""
    with pytest.raises(StoreError, match="at version 0001.*upgrade the relay that uses it first"):
        SqliteToPostgres.open(sqlite_url, postgres_url, FieldCipher(), versions=NEXT_VERSIONS)
    with old.connect() as tx:
        assert migrate.version_of(tx) == "0001"
