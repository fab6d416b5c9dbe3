"""Backup of a SQLite store in use, as of one instant, and restore."""

import asyncio
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay.cli import main
from relay.errors import StoreError
from relay.model import Watch, WatchState
from relay.security import FieldCipher
from relay.store.engine.database import Store
from relay.store.engine.paging import Page
from relay.store.maintenance import backup
from relay.store.tables import endpoints, watches
from tests.make import NOON, make_endpoint


def watch(number: int) -> Watch:
    return Watch(workspace="default", job_id=f"j{number}", state=WatchState.ACTIVE, created_at=NOON + number)


def as_it_is(_copy: Path, _replaced: Path | None) -> None:
    """Takes nothing over."""


async def jobs(url: str) -> list[str]:
    """The jobs of a store."""
    store = await Store.open(url)
    try:
        found, _ = await store.read(lambda tx: watches.page(tx, Page(200)))
        return sorted(one.job_id for one in found)
    finally:
        await store.aclose()


async def test_backup_of_a_store_in_use_is_consistent(sqlite_store: Store, sqlite_url: str, tmp_path: Path) -> None:
    """It contains every earlier commit, a prefix of the concurrent ones, and no partial one."""
    for number in range(50):
        await sqlite_store.write(lambda tx, n=number: watches.add(tx, watch(n)))  # type: ignore[misc]
    copy = tmp_path / "copy.db"
    copying = asyncio.create_task(asyncio.to_thread(backup.back_up, sqlite_url, copy))
    number = 50
    while not copying.done() or number < 60:
        await sqlite_store.write(lambda tx, n=number: watches.add(tx, watch(n)))  # type: ignore[misc]
        number += 1
    assert await copying == copy.stat().st_size
    there = await jobs(f"sqlite:///{copy}")
    assert there == sorted(f"j{n}" for n in range(len(there)))
    assert len(there) >= 50
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert list(tmp_path.glob(".*unfinished")) == []


async def test_each_of_twenty_backups_under_load_is_complete(
    sqlite_store: Store, sqlite_url: str, tmp_path: Path
) -> None:
    """While rows are written, each copy opens as a store, is intact, and has every row committed before it began."""
    committed, wrote = 0, asyncio.Event()

    async def write_rows() -> None:
        nonlocal committed
        while True:
            rows = [watch(number) for number in range(committed, committed + 10)]
            await asyncio.gather(*(sqlite_store.write(lambda tx, row=row: watches.add(tx, row)) for row in rows))  # type: ignore[misc]
            committed += 10
            wrote.set()

    committed_before: dict[Path, int] = {}
    async with asyncio.timeout(30), asyncio.TaskGroup() as load:
        writing = load.create_task(write_rows())
        for number in range(20):
            wrote.clear()
            await wrote.wait()
            copy = tmp_path / f"copy{number}.db"
            committed_before[copy] = committed
            await asyncio.to_thread(backup.back_up, sqlite_url, copy)
        writing.cancel()
    for copy, least in committed_before.items():
        await jobs(f"sqlite:///{copy}")
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            there = {job for (job,) in connection.execute("SELECT job_id FROM watches")}
        assert there >= {f"j{number}" for number in range(least)}


def test_backup_overwrites_no_file(tmp_path: Path) -> None:
    """An existing file is refused and stays."""
    (tmp_path / "store.db").touch()
    taken = tmp_path / "copy.db"
    taken.write_text("yesterday's")
    with pytest.raises(StoreError, match="exists already"):
        backup.back_up(f"sqlite:///{tmp_path}/store.db", taken)
    assert taken.read_text() == "yesterday's"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///{}/none.db", "there is no store at"),
        ("postgresql://relay:marked@localhost/relay", "use pg_dump"),
        ("sqlite:///{}/odd.db", "is not a relay's store|could not be copied"),
    ],
)
def test_failed_backup_gives_a_clear_error(url: str, said: str, tmp_path: Path) -> None:
    """No store, another database, another file: the text has no secret, and no file is left."""
    (tmp_path / "odd.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreError, match=said) as raised:
        backup.back_up(url.format(tmp_path), tmp_path / "copy.db")
    assert "marked" not in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd.db"]


async def test_restored_store_is_the_backup(sqlite_url: str, tmp_path: Path) -> None:
    """Later rows are gone from the store, and kept in the file beside it."""
    store = await Store.open(sqlite_url)
    await store.write(lambda tx: watches.add(tx, watch(1)))
    copy = tmp_path / "copy.db"
    backup.back_up(sqlite_url, copy)
    await store.write(lambda tx: watches.add(tx, watch(2)))
    await store.aclose()
    aside = tmp_path / "aside.db"
    backup.restore(sqlite_url, copy, aside, as_it_is)
    assert await jobs(sqlite_url) == ["j1"]
    assert await jobs(f"sqlite:///{aside}") == ["j1", "j2"]
    assert copy.exists()


async def test_store_in_use_is_not_replaced(sqlite_store: Store, sqlite_url: str, tmp_path: Path) -> None:
    """While a relay uses it, a restore is refused with a clear text, before the command asks anything."""
    copy = tmp_path / "copy.db"
    backup.back_up(sqlite_url, copy)
    with pytest.raises(StoreError, match="in use by another relay"):
        backup.restore(sqlite_url, copy, tmp_path / "aside.db", as_it_is)
    run = CliRunner(env={"RELAY_EXEC__API_KEY": "exec_live_" + "0" * 40, "RELAY_STORAGE__URL": sqlite_url})
    refused = run.invoke(main, ["restore", str(copy)], input="y\n")
    assert refused.exit_code == 1
    assert "in use by another relay" in refused.output
    assert "Replace" not in refused.output


async def test_store_open_in_another_program_is_not_replaced(sqlite_url: str, tmp_path: Path) -> None:
    """Litestream keeps the write-ahead log open, which SQLite would apply to the restored file."""
    store = await Store.open(sqlite_url)
    copy, place = tmp_path / "copy.db", sqlite_url.removeprefix("sqlite:///")
    backup.back_up(sqlite_url, copy)
    await store.write(lambda tx: watches.add(tx, watch(2)))
    with closing(sqlite3.connect(place, isolation_level=None)) as follower:
        follower.execute("BEGIN")
        follower.execute("SELECT count(*) FROM watches").fetchone()
        await store.aclose()
        with pytest.raises(StoreError, match="another program"):
            backup.restore(sqlite_url, copy, tmp_path / "aside.db", as_it_is)
        assert not (tmp_path / "aside.db").exists()
    assert await jobs(sqlite_url) == ["j2"]
    backup.restore(sqlite_url, copy, tmp_path / "aside.db", as_it_is)
    assert await jobs(sqlite_url) == []


async def test_leftover_write_ahead_log_is_not_applied_to_a_backup(sqlite_url: str, tmp_path: Path) -> None:
    """If the store's file is lost and its write-ahead log is left, the log does not change the restored file."""
    store = await Store.open(sqlite_url)
    copy, place = tmp_path / "copy.db", Path(sqlite_url.removeprefix("sqlite:///"))
    await store.write(lambda tx: watches.add(tx, watch(1)))
    backup.back_up(sqlite_url, copy)
    await store.write(lambda tx: watches.add(tx, watch(2)))
    log = Path(f"{place}-wal").read_bytes()
    await store.aclose()
    place.unlink()
    Path(f"{place}-wal").write_bytes(log)
    backup.restore(sqlite_url, copy, tmp_path / "aside.db", as_it_is)
    assert await jobs(sqlite_url) == ["j1"]


async def test_damaged_backup_is_refused_before_anything_changes(sqlite_url: str, tmp_path: Path) -> None:
    """A copy with a torn page, or another file."""
    store = await Store.open(sqlite_url)
    for number in range(200):
        await store.write(lambda tx, n=number: watches.add(tx, watch(n)))  # type: ignore[misc]
    await store.aclose()
    copy = tmp_path / "copy.db"
    backup.back_up(sqlite_url, copy)
    with copy.open("r+b") as file:
        file.seek(copy.stat().st_size // 2)
        file.write(os.urandom(20_000))
    before = Path(sqlite_url.removeprefix("sqlite:///")).read_bytes()
    with pytest.raises(StoreError, match="damaged"):
        backup.restore(sqlite_url, copy, tmp_path / "aside.db", as_it_is)
    assert Path(sqlite_url.removeprefix("sqlite:///")).read_bytes() == before


async def test_a_backup_names_the_key_that_it_needs(tmp_path: Path) -> None:
    """By its fingerprint, which reveals nothing about it; and counts what it has."""
    cipher = FieldCipher("k" * 43)
    store = await Store.open(f"sqlite:///{tmp_path}/relay.db", cipher)
    await store.write(lambda tx: endpoints.add(tx, make_endpoint()))
    await store.aclose()
    backup.back_up(f"sqlite:///{tmp_path}/relay.db", tmp_path / "copy.db")
    found = backup.contents(tmp_path / "copy.db")
    assert found.key_ids == (cipher.key_id,)
    assert found.rows == {"jobs": 0, "registrations": 0, "endpoints": 1, "deliveries": 0}


def test_backup_and_restore_commands(sqlite_url: str, tmp_path: Path) -> None:
    """Both print what they did; `relay restore` asks first unless --yes is given."""
    asyncio.run(jobs(sqlite_url))
    run = CliRunner(env={"RELAY_EXEC__API_KEY": "exec_live_" + "0" * 40, "RELAY_STORAGE__URL": sqlite_url})
    made = run.invoke(main, ["backup", str(tmp_path / "copy.db")])
    assert made.exit_code == 0, made.output
    assert "complete and checked" in made.output
    assert "It has 0 jobs, 0 registrations, 0 endpoints, 0 deliveries." in made.output
    assert "Nothing in it is encrypted." in made.output
    refused = run.invoke(main, ["restore", str(tmp_path / "copy.db")], input="n\n")
    assert refused.exit_code == 1
    assert "Replace" in refused.output
    done = run.invoke(main, ["restore", str(tmp_path / "copy.db"), "--yes"])
    assert done.exit_code == 0, done.output
    assert "Start the relay" in done.output
    with closing(sqlite3.connect(tmp_path / "relay.db", isolation_level=None)) as connection:
        assert connection.execute("SELECT count(*) FROM watches").fetchone() == (0,)
