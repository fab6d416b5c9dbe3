"""Backup and restore of a SQLite store. A relay may use the store during a backup, not during a restore.

PostgreSQL has its own tools for both, such as `pg_dump` and `pg_restore`.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy.engine import URL

from relay.errors import StoreError
from relay.store.engine import dialect, file_access

T = TypeVar("T")

_COUNTED = (
    ("jobs", "watches"),
    ("registrations", "registrations"),
    ("endpoints", "endpoints"),
    ("deliveries", "deliveries"),
)
_KEY_IDS = """SELECT DISTINCT substr(text, 4, 8) FROM (SELECT url AS text FROM endpoints UNION ALL
    SELECT token FROM callback_tokens) WHERE text LIKE 'v1:%' ORDER BY 1"""
"""An encrypted text begins with `v1:` and eight characters that name its key."""

_NOT_A_STORE = "is not a relay's store, or is damaged"


def back_up(url: str, target: Path) -> int:
    """Copies the store at `url`, as of one instant, to the new file `target`. Returns its size in bytes.

    A relay that uses the store is not delayed. The copy is checked before it gets its name: a file at `target` is
    complete, even after a crash. Raises StoreError.
    """
    source = _file(dialect.parse(url))
    if not file_access.exists(source):
        raise StoreError(f"there is no store at {source}; is storage.url right?")
    if target.exists():
        raise StoreError(f"{target} exists already; give another name, so that no backup is lost")
    with _temporary_copy(target) as copy:
        try:
            with closing(sqlite3.connect(source.absolute().as_uri() + "?mode=ro", uri=True)) as connection:
                connection.execute("VACUUM INTO ?", (str(copy),))
        except sqlite3.Error as error:
            raise StoreError(f"the store {source} could not be copied: {error}") from None
        check(copy)
        _publish(copy, target)
    return target.stat().st_size


def check_unused(url: str) -> None:
    """Raises StoreError if a relay uses the store."""
    parsed = dialect.parse(url)
    if _file(parsed).exists():
        with dialect.lock_file(parsed):
            pass


def restore(url: str, backup: Path, previous_copy: Path, prepare: Callable[[Path, Path | None], T]) -> T:
    """Replaces the store at `url` by a backup; the replaced file stays as `previous_copy`.

    `prepare` gets the copy of the backup before it is put in place, and the store to be replaced (None if there is
    none). Returns the result of `prepare`.

    Raises StoreError if a relay uses the store, another program has it open, or the backup is not a store.
    """
    parsed = dialect.parse(url)
    store = _file(parsed)
    check(backup)
    try:
        with dialect.lock_file(parsed), _temporary_copy(store) as copy:
            shutil.copyfile(backup, copy)
            exists = store.exists() and store.stat().st_size > 0
            if exists:
                _checkpoint(store)
            prepared = prepare(copy, store if exists else None)
            if exists:
                os.link(store, previous_copy)
            for end in ("-wal", "-shm"):  # of a store whose file was lost, or is damaged
                if exists and Path(f"{store}{end}").exists():
                    os.replace(f"{store}{end}", f"{previous_copy}{end}")
                Path(f"{store}{end}").unlink(missing_ok=True)
            _publish(copy, store)
            return prepared
    except OSError as error:
        raise StoreError(f"the store {store} could not be replaced: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a copy."""

    rows: Mapping[str, int]
    """Rows by table: the tables that people count in."""
    key_ids: tuple[str, ...]
    """Fingerprints of the keys that encrypt its secrets, as `relay rotate-key` shows them."""


def contents(path: Path) -> Contents:
    """The contents of a copy. Raises StoreError if it is not a complete store."""
    try:
        with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True)) as connection:
            rows = {name: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for name, table in _COUNTED}  # noqa: S608
            keys = connection.execute(_KEY_IDS).fetchall()
    except sqlite3.Error:
        raise StoreError(f"{path} {_NOT_A_STORE}") from None
    return Contents(rows, tuple(key for (key,) in keys))


def check(path: Path) -> str:
    """The version of the tables in a copy. Raises StoreError if it is not a complete store."""
    try:
        with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True)) as connection:
            [(integrity,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
            [(version,)] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except (sqlite3.Error, ValueError):
        raise StoreError(f"{path} {_NOT_A_STORE}") from None
    if integrity != "ok":
        raise StoreError(f"{path} {_NOT_A_STORE}: {integrity}")
    return str(version)


def _file(url: URL) -> Path:
    if not dialect.is_sqlite(url):
        raise StoreError("the store is a PostgreSQL: use pg_dump and pg_restore, or the tools of your provider")
    return Path(os.path.realpath(str(url.database)))


@contextmanager
def _temporary_copy(target: Path) -> Iterator[Path]:
    """An empty file beside `target` that only this user may read; deleted at the end unless it was published."""
    copy = target.with_name(f".{target.name}.unfinished")
    try:
        copy.unlink(missing_ok=True)
        os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"{target} can't be written: {error.strerror}") from None
    try:
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _checkpoint(store: Path) -> None:
    """Writes the write-ahead log into the file, so that the file is complete.

    Raises StoreError while another program has the file open: its log would stay, and SQLite would apply it to the
    next file.
    """
    with closing(sqlite3.connect(store, timeout=1)) as connection:
        try:
            [(mode,)] = connection.execute("PRAGMA journal_mode=DELETE").fetchall()
        except sqlite3.OperationalError:
            mode = "locked"
        except sqlite3.DatabaseError:  # damaged: all files are kept as they are
            return
    if mode != "delete":
        raise StoreError(f"another program has the store {store} open (Litestream?); stop it, and restore then")


def _publish(copy: Path, target: Path) -> None:
    """Renames a file after its content is synced to the disk."""
    for path, flags in ((copy, os.O_RDONLY), (target.parent, os.O_RDONLY | os.O_DIRECTORY)):
        if path == target.parent:
            os.replace(copy, target)
        descriptor = os.open(path, flags)
        os.fsync(descriptor)
        os.close(descriptor)
