"""Copies of a SQLite store: made while a relay works in it, and put back while none does.

PostgreSQL has its own tools for both, `pg_dump` and `pg_restore`, and better ones.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy.engine import URL

from relay.errors import StoreError
from relay.store.engine import dialect

T = TypeVar("T")

_NOT_OURS = "is no store of a relay, or is damaged"


def back_up(url: str, target: Path) -> int:
    """Copies the store at `url` to the new file `target`, as it is at one instant. Returns its bytes.

    A relay may be at work in it meanwhile, and is not held up. The copy is checked before it gets its name: a file at
    `target` is a whole one, also after a crash. Raises StoreError.
    """
    source = _file(dialect.parse(url))
    if not source.exists():
        raise StoreError(f"there is no store at {source}; is storage.url right?")
    if target.exists():
        raise StoreError(f"{target} is there already; give a new name, so that no backup is lost")
    with _temporary_copy(target) as copy:
        try:
            with closing(sqlite3.connect(source.absolute().as_uri() + "?mode=ro", uri=True)) as connection:
                connection.execute("VACUUM INTO ?", (str(copy),))
        except sqlite3.Error as error:
            raise StoreError(f"the store {source} could not be copied: {error}") from None
        check(copy)
        _publish(copy, target)
    return target.stat().st_size


def restore(url: str, backup: Path, previous_copy: Path, prepare: Callable[[Path, Path | None], T]) -> T:
    """Puts a backup in the place of the store at `url`; what was there is kept as `previous_copy`.

    `prepare` is given a copy of the backup before it takes that place, and the store that it is to replace, None if
    there is none; what it returns is returned.

    Raises StoreError where a relay is at work in the store, another program has it open, or the backup is none.
    """
    parsed = dialect.parse(url)
    place = _file(parsed)
    check(backup)
    try:
        with dialect.lock_file(parsed), _temporary_copy(place) as copy:
            shutil.copyfile(backup, copy)
            is_there = place.exists() and place.stat().st_size > 0
            if is_there:
                _checkpoint(place)
            prepared = prepare(copy, place if is_there else None)
            if is_there:
                os.link(place, previous_copy)
            for end in ("-wal", "-shm"):  # of a store whose file was lost, or is damaged
                if is_there and Path(f"{place}{end}").exists():
                    os.replace(f"{place}{end}", f"{previous_copy}{end}")
                Path(f"{place}{end}").unlink(missing_ok=True)
            _publish(copy, place)
            return prepared
    except OSError as error:
        raise StoreError(f"the store {place} could not be replaced: {error.strerror}") from None


def check(path: Path) -> str:
    """The version of the tables in a copy. Raises StoreError where it is no whole store of a relay."""
    try:
        with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True)) as connection:
            [(found,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
            [(version,)] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except (sqlite3.Error, ValueError):
        raise StoreError(f"{path} {_NOT_OURS}") from None
    if found != "ok":
        raise StoreError(f"{path} {_NOT_OURS}: {found}")
    return str(version)


def _file(url: URL) -> Path:
    if not dialect.is_sqlite(url):
        raise StoreError("the store is a PostgreSQL: use pg_dump and pg_restore, or what your provider has")
    return Path(os.path.realpath(str(url.database)))


@contextmanager
def _temporary_copy(target: Path) -> Iterator[Path]:
    """An empty file beside `target` that only we may read; gone at the end, unless it was kept."""
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


def _checkpoint(place: Path) -> None:
    """Brings what the write-ahead log holds into the file, so that the file is all there is.

    Raises StoreError while anybody else has the file open: the log would stay, and be taken for the next file's.
    """
    with closing(sqlite3.connect(place, timeout=1)) as connection:
        try:
            [(mode,)] = connection.execute("PRAGMA journal_mode=DELETE").fetchall()
        except sqlite3.OperationalError:
            mode = "locked"
        except sqlite3.DatabaseError:  # damaged: all of it is kept as it is
            return
    if mode != "delete":
        raise StoreError(f"another program has the store {place} open (Litestream?); stop it, and restore then")


def _publish(copy: Path, target: Path) -> None:
    """Gives a file its name once all of it is on the disk."""
    for path, flags in ((copy, os.O_RDONLY), (target.parent, os.O_RDONLY | os.O_DIRECTORY)):
        if path == target.parent:
            os.replace(copy, target)
        descriptor = os.open(path, flags)
        os.fsync(descriptor)
        os.close(descriptor)
