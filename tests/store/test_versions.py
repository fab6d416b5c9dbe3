"""Tables of other versions: one relay upgrades them while others wait, and relays of the version before go on."""

import asyncio
import json
import queue
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from relay.errors import StoreError, StoreNotReady
from relay.security import FieldCipher
from relay.store.engine import dialect, migrate
from relay.store.engine.database import Store, read_only, write_offline
from relay.store.maintenance.preflight import preflight_check
from relay.store.tables import idempotency
from tests.store.newer import NEWER, NEXT, NEXT_VERSIONS, Shape, breaks, make_newer
from tests.store.recording import RECORDED, unplain

STORED = idempotency.StoredResponse(key="k", request_hash="", status=201, answer="", created_at=0)


@pytest.fixture
def store_url_of_this_version(blank_url: str) -> str:
    """A store whose tables are of this version, without a relay at work."""
    engine = dialect.engine(dialect.parse(blank_url), writer=True, connections=1, relay_cipher=FieldCipher())
    migrate.upgrade(engine)
    engine.dispose()
    return blank_url


@pytest.fixture
def engine(blank_url: str) -> Iterator[Engine]:
    """An empty database."""
    made = dialect.engine(dialect.parse(blank_url), writer=True, connections=1, relay_cipher=FieldCipher())
    yield made
    made.dispose()


@pytest.fixture
def hasty_url(blank_postgres_url: str) -> str:
    """A PostgreSQL with a short lock timeout."""
    return f"{blank_postgres_url}&options=-c%20lock_timeout%3D300"


async def test_concurrent_starts_create_the_tables_once(blank_postgres_url: str) -> None:
    """One relay creates them; the others wait for it."""
    stores = await asyncio.gather(*(Store.open(blank_postgres_url) for _ in range(5)))
    assert not any(await asyncio.gather(*(one.read(migrate.needs_upgrade) for one in stores)))
    await asyncio.gather(*(one.aclose() for one in stores))


async def test_start_waits_for_another_relays_upgrade_and_says_whose(hasty_url: str) -> None:
    """It waits longer than for any other lock, and names the process of PostgreSQL that has the lock."""
    reports: queue.Queue[str] = queue.Queue()
    with psycopg.connect(hasty_url) as other:
        other.execute(f"SELECT pg_advisory_xact_lock({migrate._LOCK})")
        opening = asyncio.create_task(Store.open(hasty_url, report=reports.put))
        for _ in range(3):
            said = await asyncio.to_thread(reports.get, timeout=30)
            assert (
                f"the lock of migrations, which process {other.info.backend_pid} of PostgreSQL holds since 20" in said
            )
        assert not opening.done()
        other.rollback()
        await (await opening).aclose()
    assert "the tables are upgraded, step 1 of 1" in list(reports.queue)


def test_an_upgrade_gives_up_on_a_lock_that_stays(hasty_url: str) -> None:
    """The error names the process that has it, and is one after which a start tries again."""
    upgrading = dialect.engine(dialect.parse(hasty_url), writer=True, connections=1, relay_cipher=FieldCipher())
    with psycopg.connect(hasty_url) as other:
        other.execute(f"SELECT pg_advisory_xact_lock({migrate._LOCK})")
        with pytest.raises(StoreNotReady, match=f"process {other.info.backend_pid} of PostgreSQL"):
            migrate.upgrade(upgrading, patience=0)
    migrate.upgrade(upgrading)
    upgrading.dispose()


def test_upgrade_of_tables_in_use_fails_and_changes_nothing(hasty_url: str) -> None:
    """While a dump reads the tables, an upgrade soon fails, says why, and changes nothing; afterwards it succeeds."""
    engine = dialect.engine(dialect.parse(hasty_url), writer=True, connections=1, relay_cipher=FieldCipher())
    migrate.upgrade(engine)
    with psycopg.connect(hasty_url) as dump:
        dump.execute("SELECT count(*) FROM endpoints")
        with pytest.raises(DBAPIError) as failed:
            migrate.upgrade(engine, versions=NEXT_VERSIONS)
        assert "another transaction holds" in str(error := dialect.to_store_error(failed.value))
        assert isinstance(error, StoreNotReady), "a start tries again: the dump ends some time"
        with engine.connect() as tx:
            assert migrate.version_of(tx) == migrate.newest()
    migrate.upgrade(engine, versions=NEXT_VERSIONS)
    with engine.connect() as tx:
        assert migrate.version_of(tx) == NEXT
    engine.dispose()


async def test_upgrade_keeps_the_rows_and_relays_of_the_version_before_go_on(store: Store, store_url: str) -> None:
    """The next version's relay upgrades the tables under a relay at work, which goes on, and starts again in them."""
    await store.write(lambda tx: idempotency.store(tx, STORED))
    upgrading = dialect.engine(dialect.parse(store_url), writer=True, connections=1, relay_cipher=FieldCipher())
    migrate.upgrade(upgrading, versions=NEXT_VERSIONS)
    upgrading.dispose()
    assert await store.read(migrate.version_of) == NEXT
    assert await store.read(lambda tx: idempotency.get(tx, STORED.key)) == STORED
    assert await store.write(lambda tx: idempotency.store(tx, replace(STORED, key="after")))
    await store.aclose()
    back = await Store.open(store_url)
    assert await back.read(migrate.version_of) == NEXT
    assert await back.read(lambda tx: idempotency.get(tx, "after")) is not None
    await back.aclose()


def test_commands_leave_older_tables_as_they_are(store_url_of_this_version: str) -> None:
    """Relays of the earlier version may be at work in them: only `relay serve` upgrades them. The errors say so."""
    url = store_url_of_this_version
    for command in (read_only, write_offline):
        with pytest.raises(StoreError, match="at version 0001, older than this relay's"):
            command(url, lambda tx: None, NEXT_VERSIONS)
    assert "at version 0001; `relay serve` upgrades them" in preflight_check(url, FieldCipher(), NEXT_VERSIONS)
    assert read_only(url, migrate.version_of) == "0001"


async def test_relay_starts_in_newer_compatible_tables(store: Store, store_url: str) -> None:
    """A relay of the version before starts again during an upgrade: it works, and leaves the tables as they are."""
    await store.write(lambda tx: make_newer(tx, migrate.OLDEST_COMPATIBLE))
    await store.aclose()
    reports: queue.Queue[str] = queue.Queue()
    back = await Store.open(store_url, report=reports.put)
    assert reports.get() == "the tables are at version 9999, newer than this relay's 0001, which can work in them"
    assert await back.read(migrate.version_of) == NEWER
    assert await back.write(lambda tx: idempotency.store(tx, STORED))
    assert await back.read(lambda tx: idempotency.get(tx, STORED.key)) == STORED
    await back.aclose()


async def test_relay_does_not_start_in_newer_incompatible_tables(store: Store, store_url: str) -> None:
    """If only newer versions may work in the tables, the error says so."""
    await store.write(lambda tx: make_newer(tx, NEWER))
    await store.aclose()
    with pytest.raises(StoreError, match="newer relay: its tables are at version 9999") as error:
        await Store.open(store_url)
    assert "relays since version 9999 can work, and this relay's are at version 0001; start that" in str(error.value)


async def test_locked_out_store_refuses_to_open_with_the_reason(store: Store, store_url: str) -> None:
    """The error is the reason that was stored with the lock."""
    await store.write(lambda tx: migrate.lock_out(tx, "it has moved"))
    await store.aclose()
    with pytest.raises(StoreError, match="it has moved"):
        await Store.open(store_url)


@pytest.mark.parametrize("versions", [migrate.VERSIONS, NEXT_VERSIONS])
def test_names_of_files_give_the_versions_in_order(engine: Engine, versions: Sequence[Path]) -> None:
    """A start reads only the names, Alembic what is in the files: both come to the same versions, one after the
    other."""
    scripts = ScriptDirectory(str(migrate.MIGRATIONS), version_locations=[str(folder) for folder in versions])
    known = migrate._known(tuple(versions))
    made = [(script.down_revision, script.revision) for script in scripts.walk_revisions()]
    assert made[::-1] == list(pairwise([None, *known]))
    migrate.upgrade(engine, versions=versions)
    with engine.connect() as tx:
        assert migrate.version_of(tx) == migrate.newest(versions)


async def test_a_start_with_nothing_to_upgrade_does_without_alembic(store_url_of_this_version: str) -> None:
    """It would take a tenth of the start, and 7 MiB for as long as the relay runs."""
    code = """
import asyncio, sys
from relay.store import Store

async def start():
    await (await Store.open(sys.argv[1])).aclose()

asyncio.run(start())
print("alembic" in sys.modules)
"""
    command = [sys.executable, "-c", code, store_url_of_this_version]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize("versions", [migrate.VERSIONS, NEXT_VERSIONS])
def test_migrations_since_the_oldest_compatible_version_only_add(engine: Engine, versions: Sequence[Path]) -> None:
    """A migration that does more sets `migrate.OLDEST_COMPATIBLE` to its own version."""
    migrate.upgrade(engine, to=migrate.OLDEST_COMPATIBLE)
    with engine.connect() as tx:
        before = Shape(tx)
    migrate.upgrade(engine, versions=versions)
    with engine.connect() as tx:
        assert breaks(before, Shape(tx)) == []


@pytest.mark.parametrize("versions", [migrate.VERSIONS, NEXT_VERSIONS])
def test_statements_of_the_oldest_compatible_version_work(blank_postgres_url: str, versions: Sequence[Path]) -> None:
    """Every statement that a relay of that version makes works in the newest tables, writes included."""
    engine = dialect.engine(dialect.parse(blank_postgres_url), writer=True, connections=1, relay_cipher=FieldCipher())
    migrate.upgrade(engine, versions=versions)
    engine.dispose()
    recorded = json.loads(RECORDED.read_text("utf-8"))
    assert recorded["version"] == migrate.OLDEST_COMPATIBLE, "record it again: see tests/store/recording.py"
    assert len(recorded["statements"]) > 200
    with psycopg.connect(blank_postgres_url) as relay:
        for statement in recorded["statements"]:
            values = {name: unplain(value) for name, value in statement["values"].items()}
            relay.execute(statement["statement"], values)
            relay.rollback()


CHANGES = {
    "ALTER TABLE polls DROP COLUMN detail": "polls.detail is gone",
    "ALTER TABLE polls RENAME COLUMN detail TO details": "polls.detail is gone",
    "DROP TABLE sessions": "sessions.csrf is gone",
    "CREATE UNIQUE INDEX one ON polls (workspace, at)": "polls: ('workspace', 'at') once only",
    "ALTER TABLE polls ALTER COLUMN detail TYPE bigint USING 0": "polls.detail is no longer TEXT",
    "ALTER TABLE watches ALTER COLUMN trace SET NOT NULL": "watches.trace must be filled in now",
    "ALTER TABLE polls ADD COLUMN more TEXT NOT NULL": "polls.more must be filled in",
}


@pytest.mark.parametrize("change", CHANGES)
async def test_incompatible_change_is_detected(postgres_url: str, change: str) -> None:
    """However the change is written."""
    store = await Store.open(postgres_url)
    before = await store.read(Shape)
    await store.write(lambda tx: make_newer(tx, NEWER))
    assert breaks(before, await store.read(Shape)) == []
    await store.write(lambda tx: tx.execute(text(change)))
    assert CHANGES[change] in breaks(before, await store.read(Shape))
    await store.aclose()
