"""The lock of a SQLite file belongs to the file, and not to one of its names."""

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
async def test_a_second_relay_is_refused_by_any_name_of_the_file(name: Callable[[Path], Path], tmp_path: Path) -> None:
    """From another process, as a relay is; later, when the first is gone, it gets in."""
    first = await Store.open(f"sqlite:///{tmp_path}/relay.db")
    other = name(tmp_path)
    code = "import sys, pathlib, relay.store.engine.file_lock as one; one.lock_file(pathlib.Path(sys.argv[1]))"
    tried = [sys.executable, "-c", code, str(other)]
    refused = subprocess.run(tried, capture_output=True, text=True, timeout=30)
    assert "is in use by another relay" in refused.stderr
    await first.aclose()
    assert subprocess.run(tried, capture_output=True, timeout=30).returncode == 0


async def test_the_lock_outlives_what_sqlite_closes(tmp_path: Path) -> None:
    """SQLite ends all locks of the process on a file that it closes."""
    path = tmp_path / "relay.db"
    lock = file_lock.lock_file(path)
    sqlite3.connect(path).close()
    with pytest.raises(StoreLocked):
        file_lock.lock_file(path)
    lock.close()
    file_lock.lock_file(path).close()


async def test_a_refused_relay_leaves_sqlite_its_locks(tmp_path: Path) -> None:
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


async def test_sqlite_is_not_in_the_way(tmp_path: Path) -> None:
    """The lock is on no byte that SQLite locks: others may read and write beside a relay, as backups do."""
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


async def test_where_the_system_has_no_such_locks_a_file_beside_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its real name, so that symbolic links don't get past it."""
    monkeypatch.setattr(file_lock, "_SET", None)
    lock = file_lock.lock_file(tmp_path / "relay.db")
    with pytest.raises(StoreLocked):
        file_lock.lock_file(a_symbolic_link(tmp_path))
    lock.close()


async def test_a_folder_that_can_t_be_made_is_told(tmp_path: Path) -> None:
    """In words."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="give storage.url a folder"):
        file_lock.lock_file(tmp_path / "file" / "relay.db")


async def test_a_restore_through_a_link_replaces_what_it_leads_to(tmp_path: Path) -> None:
    """The link stays one, and the store is the backup."""
    await (await Store.open(f"sqlite:///{tmp_path}/relay.db")).aclose()
    backup.back_up(f"sqlite:///{tmp_path}/relay.db", tmp_path / "copy.db")
    link = a_symbolic_link(tmp_path)
    backup.restore(f"sqlite:///{link}", tmp_path / "copy.db", tmp_path / "aside.db", lambda copy, replaced: None)
    assert link.is_symlink()
    assert (tmp_path / "aside.db").exists()
    await (await Store.open(f"sqlite:///{link}")).aclose()
