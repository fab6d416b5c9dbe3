"""The database: opening it, and transactions on it.

SQLAlchemy runs synchronously on threads of the store: a transaction is one hop from the event loop, however many
statements it has.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError

from relay.errors import ConstraintViolation, StoreError
from relay.model import ID_BYTES, Instant, new_id
from relay.security import FieldCipher
from relay.store.engine import dialect, file_access, migrate
from relay.store.engine.clock import DatabaseClock, MachineClock
from relay.store.engine.group_commit import TRIES, GroupCommitWriter
from relay.store.engine.schema import leader_leases

Tx = Connection
"""A transaction: the first argument of the functions of the store."""

T = TypeVar("T")
Item = TypeVar("Item")

RandomBytes = Callable[[int], bytes]
"""A source of random bytes: all ids, tokens and secrets of a store come from one."""

ThreadPool = Callable[[int, str], Executor]
"""Makes an executor of so many threads with this name: where transactions run."""

_CIPHER = "relay_cipher"
_RANDOM_BYTES = "relay_random_bytes"
_READERS = 4

LAST_SEEN = "clock"
"""The row of `leader_leases` whose `until` is the newest instant a relay on this store has seen, to the minute."""


def cipher_of(tx: Tx) -> FieldCipher:
    """The cipher of the secrets in the transaction's store."""
    cipher: FieldCipher = tx.get_execution_options()[_CIPHER]
    return cipher


def random_bytes(tx: Tx, number: int) -> bytes:
    """So many random bytes, of the source of the transaction's store."""
    source: RandomBytes = tx.get_execution_options().get(_RANDOM_BYTES, os.urandom)
    return source(number)


def new_row_id(tx: Tx, prefix: str, now: Instant) -> str:
    """A new id, as `new_id`, with random bytes of the transaction's store."""
    return new_id(prefix, now, random_bytes(tx, ID_BYTES))


def engine_options(cipher: FieldCipher, random_bytes: RandomBytes) -> dict[str, object]:
    """The options of the engines of a store, which its transactions read."""
    return {_CIPHER: cipher, _RANDOM_BYTES: random_bytes}


class Store:
    """The relay's database. Open it with `Store.open`, close it with `aclose`."""

    def __init__(
        self,
        writer: Engine,
        reader: Engine,
        lock: ExitStack | None,
        clock: Callable[[], Instant],
        versions_behind: int = 0,
        random_bytes: RandomBytes = os.urandom,
        threads: ThreadPool = ThreadPoolExecutor,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Both engines have the options `engine_options`. `threads` runs the transactions, of which one at a time
        writes; `monotonic` gives the seconds by which a batch of them is cut short."""
        self._engine, self._reader, self._lock, self.clock = writer, reader, lock, clock
        self.is_behind = versions_behind
        """How many milliseconds the machine's clock was behind the store's time when the store was opened."""
        self.random_bytes = random_bytes
        self._pool = threads(_READERS, "store-read")
        self._writer = GroupCommitWriter(writer, threads(1, "store-write"), monotonic)
        self._closed = False
        self.write_fault: str | None = None
        """Why the last write failed; None if it succeeded."""

    @property
    def is_exclusive(self) -> bool:
        """Whether no other relay can use this store (SQLite: the file is locked)."""
        return self._lock is not None

    @property
    def has_one_writer(self) -> bool:
        """Whether transactions commit one after the other, whichever relay makes them."""
        return dialect.has_one_writer(self._engine)

    @property
    def uses_database_clock(self) -> bool:
        """Whether the clock is the database's, not the machine's."""
        return isinstance(self.clock, DatabaseClock)

    @property
    def uses_machine_clock(self) -> bool:
        """Whether the clock is this machine's, which people and NTP may set."""
        return isinstance(self.clock, MachineClock)

    @classmethod
    async def open(
        cls,
        url: str,
        cipher: FieldCipher | None = None,
        clock: Callable[[], Instant] | None = None,
        random_bytes: RandomBytes = os.urandom,
        threads: ThreadPool = ThreadPoolExecutor,
        report: migrate.Report = lambda _: None,
        check: migrate.Check = lambda _: None,
        versions: Sequence[Path] = migrate.VERSIONS,
    ) -> "Store":
        """Opens the database and upgrades its tables. Raises StoreError, whose text says what to do; StoreNotReady if a
        later try may succeed.

        `cipher` encrypts and decrypts the secrets; None stores them in plain text. `clock` replaces the machine's clock
        (SQLite) or the database's (PostgreSQL), `random_bytes` the operating system's random bytes; `threads` runs
        the transactions. `report` gets what is done now, on another thread. `check` refuses the store before it is
        changed, by a StoreError.
        """
        cipher = cipher or FieldCipher()
        return await asyncio.to_thread(cls._open, url, cipher, clock, random_bytes, threads, report, check, versions)

    @classmethod
    def _open(
        cls,
        url: str,
        cipher: FieldCipher,
        clock: Callable[[], Instant] | None,
        random_bytes: RandomBytes,
        threads: ThreadPool,
        report: migrate.Report,
        check: migrate.Check,
        versions: Sequence[Path],
    ) -> "Store":
        parsed, options = dialect.parse(url), engine_options(cipher, random_bytes)
        sqlite = dialect.is_sqlite(parsed)
        lock = dialect.lock_file(parsed) if sqlite else None
        writer = dialect.engine(parsed, writer=True, connections=1, **options)
        reader = dialect.engine(parsed, writer=False, connections=_READERS, **options)
        clock = clock or (MachineClock() if sqlite else DatabaseClock())
        try:
            if not sqlite:
                dialect.leave_standbys(writer, reader)
                dialect.refuse_transaction_pooler(writer, reader)
            migrate.upgrade(writer, versions=versions, report=report, check=check)
            with reader.connect() as tx:
                versions_behind = _begin(clock, tx)
        except BaseException as error:
            writer.dispose()
            reader.dispose()
            if lock is not None:
                lock.close()
            if isinstance(error, DBAPIError):
                raise dialect.to_store_error(error) from error
            raise
        return cls(writer, reader, lock, clock, versions_behind, random_bytes, threads)

    async def write(self, work: Callable[[Tx], T], *, at_end: bool = False) -> T:
        """Runs `work` in a transaction; returns after the commit is durable. On an exception nothing of it remains.

        `work` runs on another thread and may run again if the batch it was part of is rolled back, so it must only read
        and write the database. Work that locks endpoints or deliveries, but no workspace and no watch, runs `at_end` of
        its batch, so that the batch keeps to the order of locks (`relay.store`).

        Raises StoreError if the database fails, and every exception of `work`.
        """
        self._check_open()
        with self._recording_fault():
            return await self._writer.write(work, at_end)  # rule: answer-after-commit

    async def write_together(self, work: Callable[[Tx, Sequence[Item]], Sequence[T]], item: Item) -> T:
        """As `write`, for work that is cheaper in batches: `work` gets all items that wait for it at the same time, and
        returns their results in the same order."""
        self._check_open()
        with self._recording_fault():
            return await self._writer.write_batched(work, item)

    async def write_nothing(self) -> None:
        """A write that changes nothing, to test whether the database accepts writes. Raises StoreError."""
        await self.write(migrate.write_nothing)

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Runs `work` on one consistent snapshot of the database. Raises StoreError if the database fails."""
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, work)

    def sync_clock(self, tx: Tx | None = None) -> int:
        """Corrects the clock by its source; returns the correction in milliseconds. The database's clock needs `tx`.

        After a large correction the caller shifts pending times (`clock_shift`). A transaction that fails afterwards
        does not undo the correction, so the caller keeps what is returned.
        """
        return _set(self.clock, tx)

    async def notify(self, sender: str) -> None:
        """Wakes all relays that read `notifications` of this store, also in other processes. Raises StoreError."""
        await self.read(lambda tx: dialect.notify(tx, sender))

    def notifications(self) -> AsyncGenerator[str]:
        """The senders of `notify`, while the connection lasts. The first item is '': earlier ones may have been missed.

        Raises StoreError if the connection fails or is lost. PostgreSQL only.
        """
        return dialect.listen(self._reader)

    @contextmanager
    def _recording_fault(self) -> Iterator[None]:
        try:
            yield
        except ConstraintViolation:
            raise
        except StoreError as error:
            self.write_fault = str(error)
            raise
        self.write_fault = None

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    def _read(self, work: Callable[[Tx], T], tries: int = TRIES) -> T:
        try:
            with self._reader.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            if tries > 1 and dialect.is_retryable(error):
                return self._read(work, tries - 1)
            raise dialect.to_store_error(error) from error

    def vacuum(self) -> None:
        """Rewrites a SQLite file, whose free pages still hold overwritten text. Slow; does nothing on PostgreSQL."""
        if not self.is_exclusive:
            return
        connection = self._engine.raw_connection()
        try:
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                connection.cursor().execute(statement)
        finally:
            connection.close()

    async def aclose(self) -> None:
        """Commits waiting transactions, then closes. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._pool.shutdown()
        self._engine.dispose()
        self._reader.dispose()
        if self._lock is not None:  # after SQLite, which would lose its own locks with it
            self._lock.close()


def _begin(clock: Callable[[], Instant], tx: Tx) -> int:
    """Sets the clock for the first time. Returns how many milliseconds the machine's is behind the store's time."""
    _set(clock, tx)
    last_seen = tx.execute(select(leader_leases.c.until).where(leader_leases.c.name == LAST_SEEN)).scalar()
    return clock.begin(last_seen) if isinstance(clock, MachineClock) and last_seen is not None else 0


def _set(clock: Callable[[], Instant], tx: Tx | None) -> int:
    if isinstance(clock, DatabaseClock) and tx is not None:
        return clock.sync(lambda: dialect.now(tx))
    return clock.sync(clock.machine) if isinstance(clock, MachineClock) else 0


def read_only(url: str, work: Callable[[Tx], T], versions: Sequence[Path] = migrate.VERSIONS) -> T:
    """Runs `work` on a store that a relay may be using: takes no lock and changes nothing, its tables included.

    Raises StoreError if there is no store, or its tables are of another version.
    """
    return _connect_and_run(url, work, versions, writing=False)


def write_offline(url: str, work: Callable[[Tx], T], versions: Sequence[Path] = migrate.VERSIONS) -> T:
    """As `read_only`, for short `work` that writes: relays that use the store wait until it is done."""
    return _connect_and_run(url, work, versions, writing=True)


def exists(url: str) -> bool:
    """Whether there is a store, of any version. Raises StoreError if the database fails."""
    if not _has_file(url):
        return False
    try:
        with connect(url) as tx:
            return migrate.version_of(tx) is not None
    except DBAPIError as error:
        raise dialect.to_store_error(error) from error


def _connect_and_run(url: str, work: Callable[[Tx], T], versions: Sequence[Path], writing: bool) -> T:
    if not _has_file(url):
        path = dialect.parse(url).database
        raise StoreError(f"there is no store at {path}; is storage.url right, and did a relay run already?")
    try:
        with connect(url, writing=writing) as tx:
            if migrate.needs_upgrade(tx, versions=versions):
                version = migrate.version_of(tx)
                raise StoreError(f"the store's tables are at version {version}, older than this relay's; start it once")
            return work(tx)
    except DBAPIError as error:
        raise dialect.to_store_error(error) from error


def _has_file(url: str) -> bool:
    """False if a SQLite store has no file; connecting would create one. Raises StoreError if that can't be seen."""
    parsed = dialect.parse(url)
    return not dialect.is_sqlite(parsed) or file_access.exists(Path(str(parsed.database)))


@contextmanager
def connect(url: str, cipher: FieldCipher | None = None, *, writing: bool = False) -> Iterator[Tx]:
    """A transaction in a store that a relay may be using, and whose tables may be of any version.

    It is read-only unless `writing`. Raises DBAPIError.
    """
    engine = dialect.engine(dialect.parse(url), writer=writing, connections=1, **{_CIPHER: cipher or FieldCipher()})
    try:
        with engine.begin() if writing else engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
