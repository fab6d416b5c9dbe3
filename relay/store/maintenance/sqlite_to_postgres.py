"""The move from SQLite to PostgreSQL: copies the store while a relay works in it, and once more after it has stopped.

A table is copied in parts; a part is a range of SQLite's row numbers. A digest of each part is stored with its copy, so
that a later round reads everything and copies only the parts that changed. An interrupted round continues. Until the
end, relays are locked out of the new store; after it, out of the old one.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Row, Table, delete, func, literal_column, select, tuple_
from sqlalchemy.exc import DBAPIError

from relay.errors import StoreError, StoreLocked
from relay.security import FieldCipher
from relay.store.engine import dialect, migrate
from relay.store.engine.database import Tx, connect
from relay.store.engine.schema import (
    deliveries,
    events,
    import_parts,
    leader_leases,
    metadata,
    polls,
    registrations,
    store_compatibility,
)
from relay.store.engine.schema import watches as watch_rows
from relay.store.maintenance import reencrypt
from relay.store.tables import event_feed, outbox, watches

CHUNK = 1_000
"""Maximum number of rows of a part, which one transaction copies."""

TABLES = [table for table in metadata.sorted_tables if table not in (leader_leases, import_parts, store_compatibility)]
"""The tables to copy: all except those about the store itself."""

Progress = Callable[[int, int], None]
"""Gets the number of rows that a round has read, and the number in all."""

_WORK = (watch_rows, registrations, events, deliveries)
_UNIQUE_INDEXES = [index for table in TABLES for index in table.indexes if index.unique]
"""Unique indexes are dropped until the end, because parts copied at different times may violate them meanwhile."""
_rowid = literal_column("rowid", BigInteger)


@contextmanager
def _with_store_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise dialect.to_store_error(error) from error


class SqliteToPostgres:
    """One move: `open` it, `copy` any number of times, `finish` it after the old relay has stopped, and `close` it.

    All of them raise StoreError. After an interruption the same move can be opened again.
    """

    def __init__(self, source_url: str, target_url: str, part: int, versions: Sequence[Path]) -> None:
        self._part, self._versions = part, versions
        self._file, target = dialect.parse(source_url), dialect.parse(target_url)
        if not dialect.is_sqlite(self._file) or dialect.is_sqlite(target):
            text = "a store moves from SQLite to PostgreSQL: name the file with --from sqlite:///..., and set"
            raise StoreError(f"{text} storage.url to the PostgreSQL")
        self.path = Path(str(self._file.database)).absolute()
        self._lock: ExitStack | None = None
        self._old = dialect.engine(self._file, writer=False, connections=1)
        self._new = dialect.engine(
            dialect.with_application_name(target, "exec-relay import"), writer=True, connections=1
        )
        self._unfinished = (
            f"the import of {self.path} into this store is not finished; run the same `relay import` again"
        )
        self._moved = (
            f"this store has moved to {dialect.display_url(target)}: set storage.url to that; this is a backup now"
        )

    @classmethod
    @_with_store_errors()
    def open(
        cls,
        source_url: str,
        target_url: str,
        cipher: FieldCipher,
        part: int = CHUNK,
        versions: Sequence[Path] = migrate.VERSIONS,
    ) -> "SqliteToPostgres":
        """Checks both stores and locks relays out of the new one. `part` is the same each time a move is opened."""
        conversion = cls(source_url, target_url, part, versions)
        try:
            conversion._check_source(source_url, cipher)
            conversion._begin()
        except BaseException:
            conversion.close()
            raise
        return conversion

    @_with_store_errors()
    def copy(self, progress: Progress) -> int:
        """One round: copies the parts that are new or have changed. Returns how many rows were written."""
        with self._old.connect() as tx:
            total = sum(_count(tx, table) for table in TABLES)
        read = rows_written = 0
        for table in TABLES:
            digests = self._digests(table)
            for part, rows in self._parts(table):
                digest = hashlib.blake2b(repr(rows).encode(), digest_size=16).hexdigest()
                if digests.get(part) != digest:
                    self._write(table, part, rows, digest)
                    rows_written += len(rows)
                read += len(rows)
                progress(read, max(read, total))
        return rows_written

    def lock_source(self) -> bool:
        """Whether the old relay has stopped. If so, none can start there until `close`."""
        if self._lock is None:
            try:
                self._lock = dialect.lock_file(self._file)
            except StoreLocked:
                return False
        return True

    @_with_store_errors()
    def finish(self, progress: Progress) -> int:
        """The last round; then relays may start in the new store only. Returns how many rows were written."""
        if not self.lock_source():
            raise StoreError(f"a relay uses {self.path}; stop it first")
        rows_written = self.copy(progress)
        for table in TABLES:
            self._delete_missing(table)
        with self._new.begin() as tx:
            for index in _UNIQUE_INDEXES:
                index.create(tx, checkfirst=True)
            dialect.reset_sequence(tx, polls.c.id)
            now = dialect.now(tx)
            outbox.release(tx, now)
            watches.release_all(tx, now)
            event_feed.adopt(tx)
        self._lock_out_old()
        with self._new.begin() as tx:
            tx.execute(delete(import_parts))
            migrate.lock_out(tx, None)
        return rows_written

    def close(self) -> None:
        """Closes all connections and unlocks the old store."""
        self._old.dispose()
        self._new.dispose()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _check_source(self, url: str, cipher: FieldCipher) -> None:
        if not self.path.exists():
            raise StoreError(f"there is no store at {self.path}; is --from right?")
        with connect(url, cipher) as tx:
            version, newest = migrate.version_of(tx), migrate.newest(self._versions)
            if migrate.needs_upgrade(tx, self._moved, self._versions) or version != newest:
                raise StoreError(
                    f"the tables of {self.path} are at version {version}, and this relay's at {newest}; "
                    "upgrade the relay that uses it first"
                )
            reencrypt.check(tx)
            self._is_moved = migrate.is_locked_out(tx)

    def _begin(self) -> None:
        migrate.upgrade(self._new, self._unfinished, self._versions)
        with self._new.begin() as tx:
            resumed = migrate.is_locked_out(tx)
            if not resumed and self._is_moved:
                raise StoreError(self._moved)
            if not resumed and any(tx.execute(select(table).limit(1)).first() for table in _WORK):
                raise StoreError("storage.url names a store that has jobs already; import into an empty database")
            migrate.lock_out(tx, self._unfinished)
        # In this order: a relay that starts from now on is refused, and one that started before is counted here.
        with self._new.begin() as tx:
            if in_use := dialect.count_other_connections(tx) > 0:
                migrate.lock_out(tx, self._unfinished if resumed else None)
            else:
                for index in _UNIQUE_INDEXES:
                    index.drop(tx, checkfirst=True)
        if in_use:
            raise StoreError("a relay, or another import, uses storage.url; stop it first")

    def _digests(self, table: Table) -> dict[int, str]:
        query = select(import_parts.c.part, import_parts.c.digest).where(import_parts.c.of == table.name)
        with self._new.connect() as tx:
            return {row.part: row.digest for row in tx.execute(query)}

    def _parts(self, table: Table) -> Iterator[tuple[int, Sequence[Row[Any]]]]:
        """The parts of a table, each read in its own transaction: a longer one lets SQLite's write-ahead log grow."""
        last = -1
        while True:
            with self._old.connect() as tx:
                first = tx.execute(select(func.min(_rowid)).select_from(table).where(_rowid > last)).scalar_one()
                if first is None:
                    return
                part = first // self._part
                last = (part + 1) * self._part - 1
                rows = tx.execute(select(table).where(_rowid >= first, _rowid <= last).order_by(_rowid)).all()
            yield part, rows

    def _write(self, table: Table, part: int, rows: Sequence[Row[Any]], digest: str) -> None:
        with self._new.begin() as tx:
            dialect.upsert(tx, table, [_storable(row) for row in rows])
            dialect.upsert(tx, import_parts, [{"of": table.name, "part": part, "digest": digest}])

    def _delete_missing(self, table: Table) -> None:
        """Deletes rows that are no longer in the old store, if the new one has more."""
        with self._old.connect() as old, self._new.connect() as new:
            if _count(old, table) == _count(new, table):
                return
        key = list(table.primary_key.columns)
        row_key, last = tuple_(*key) if len(key) > 1 else key[0], None
        while True:
            query = select(*key).order_by(*key).limit(CHUNK)
            with self._old.connect() as old, self._new.begin() as new:
                copied = _keys(new.execute(query if last is None else query.where(row_key > last)))
                if not copied:
                    return
                remaining = set(_keys(old.execute(select(*key).where(row_key.in_(copied)))))
                new.execute(delete(table).where(row_key.in_([value for value in copied if value not in remaining])))
            last = copied[-1]

    def _lock_out_old(self) -> None:
        engine = dialect.engine(self._file, writer=True, connections=1)
        with engine.begin() as tx:
            migrate.lock_out(tx, self._moved)
        engine.dispose()


def _count(tx: Tx, table: Table) -> int:
    return tx.execute(select(func.count()).select_from(table)).scalar_one()


def _keys(rows: Iterable[Row[Any]]) -> list[Any]:
    """The value of the only column of each row, or the tuple of all columns."""
    return [row[0] if len(row) == 1 else tuple(row) for row in rows]


def _storable(row: Row[Any]) -> dict[str, Any]:
    """The row without NUL characters in its texts, which PostgreSQL does not store."""
    return {name: dialect.storable(value) if isinstance(value, str) else value for name, value in row._mapping.items()}
