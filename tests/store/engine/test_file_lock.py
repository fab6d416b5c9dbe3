"""The lock of a SQLite file applies to the file, by whatever name it is opened."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.errors import StoreError, StoreLocked
from relay.store.engine import file_lock
from relay.store.engine.database import Store
from relay.store.maintenance import backup
from tests.forking import processes


def a_symbolic_link(folder: Path) -> Path:
    (folder / "current.db").symlink_to(folder / "relay.db")
    return folder / "current.db"


def a_link_to_the_folder(folder: Path) -> Path:
    (folder / "data").symlink_to(folder)
    return folder / "data" / "relay.db"


def a_hard_link(folder: Path) -> Path:
    (folder / "other").mkdir()
    os.link(folder / "relay.db", folder / "other" / "relay.db")
    return folder / "other" / "relay.db"


NAMES = [a_symbolic_link, a_link_to_the_folder, a_hard_link]


@pytest.mark.parametrize("name", NAMES)
async def test_second_relay_is_refused_by_any_name_of_the_file(name: Callable[[Path], Path], tmp_path: Path) -> None:
    """From another process; after the first relay has stopped, it can start."""
    first = await Store.open(f"sqlite:///{tmp_path}/relay.db")
    other = name(tmp_path)
    code = "import sys, pathlib, relay.store.engine.file_lock as one; one.lock_file(pathlib.Path(sys.argv[1]))"
    tried = [*processes.command("tests.forking.code"), code, str(other)]
    refused = subprocess.run(tried, capture_output=True, text=True, timeout=30)
    assert "is in use by another relay" in refused.stderr
    await first.aclose()
    assert subprocess.run(tried, capture_output=True, timeout=30).returncode == 0


async def test_lock_survives_when_sqlite_closes_the_file(tmp_path: Path) -> None:
    """When SQLite closes a file, the process loses its POSIX locks on it."""
    path = tmp_path / "relay.db"
    lock = file_lock.lock_file(path)
    sqlite3.connect(path).close()
    with pytest.raises(StoreLocked):
        file_lock.lock_file(path)
    lock.close()
    file_lock.lock_file(path).close()


async def test_refused_relay_keeps_the_locks_of_sqlite(tmp_path: Path) -> None:
    """Also one in the same process: who closes a descriptor of the file loses all locks that SQLite has there, and the
    next visitor who leaves would take the write-ahead log of the relay along."""
    url = f"sqlite:///{tmp_path}/relay.db"
    store = await Store.open(url)
    await store.write_nothing()
    for name in (a_symbolic_link, a_link_to_the_folder):
        with pytest.raises(StoreLocked):
            file_lock.lock_file(name(tmp_path))
    with pytest.raises(StoreLocked):
        await Store.open(url)
    visit = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); "
        "db.execute('SELECT 1 FROM store_compatibility'); db.close()"
    )
    subprocess.run([sys.executable, "-c", visit, str(tmp_path / "relay.db")], check=True, timeout=60)
    assert (tmp_path / "relay.db-wal").exists()
    await store.aclose()


async def test_lock_does_not_conflict_with_sqlite(tmp_path: Path) -> None:
    """SQLite does not lock that byte: other programs may read and write, as backups do."""
    path = tmp_path / "relay.db"
    lock = file_lock.lock_file(path)
    for mode in ("delete", "wal"):
        with sqlite3.connect(path, isolation_level=None) as connection:
            connection.execute(f"PRAGMA journal_mode={mode}")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute(f"CREATE TABLE {mode}_ (a)")
            connection.execute("COMMIT")
        connection.close()
    lock.close()


async def test_without_open_file_locks_the_file_beside_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its real path, so that symbolic links are refused too."""
    monkeypatch.setattr(file_lock, "_SET", None)
    lock = file_lock.lock_file(tmp_path / "relay.db")
    with pytest.raises(StoreLocked):
        file_lock.lock_file(a_symbolic_link(tmp_path))
    lock.close()


async def test_folder_that_can_not_be_created_gives_a_clear_error(tmp_path: Path) -> None:
    """The text says what to set."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="give storage.url a folder"):
        file_lock.lock_file(tmp_path / "file" / "relay.db")


async def test_restore_through_a_link_replaces_its_target(tmp_path: Path) -> None:
    """The link stays a link, and the store is the backup."""
    await (await Store.open(f"sqlite:///{tmp_path}/relay.db")).aclose()
    backup.back_up(f"sqlite:///{tmp_path}/relay.db", tmp_path / "copy.db")
    link = a_symbolic_link(tmp_path)
    backup.restore(f"sqlite:///{link}", tmp_path / "copy.db", tmp_path / "aside.db", lambda copy, replaced: None)
    assert link.is_symlink()
    assert (tmp_path / "aside.db").exists()
    await (await Store.open(f"sqlite:///{link}")).aclose()
