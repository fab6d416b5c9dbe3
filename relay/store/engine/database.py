"""One database: transactions on it.

SQLAlchemy is used synchronously, on threads of our own: a transaction is one hop from the event loop however many
statements it has.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError

from relay.errors import ConstraintViolation, StoreError
from relay.model import Instant
from relay.security.encryption import FieldCipher
from relay.store.engine import dialect, migrate
from relay.store.engine.clock import DatabaseClock, MachineClock
from relay.store.engine.group_commit import TRIES, GroupCommitWriter
from relay.store.engine.schema import leader_leases

Tx = Connection
"""A transaction: what the functions of the store work in."""

T = TypeVar("T")
Item = TypeVar("Item")

_SEAL = "relay_seal"
_READERS = 4

LAST_SEEN = "clock"
"""The duty whose `until` is the newest instant that the relay on this store has seen, to the minute."""


def cipher_of(tx: Tx) -> FieldCipher:
    """What the secrets of the transaction's store are sealed and opened with."""
    seal: FieldCipher = tx.get_execution_options()[_SEAL]
    return seal


class Store:
    """The relay's database. Open with `Store.open`; close with `aclose`."""

    def __init__(
        self,
        writer: Engine,
        reader: Engine,
        lock: ExitStack | None,
        clock: Callable[[], Instant],
        behind: int = 0,
    ) -> None:
        self._engine, self._reader, self._lock, self.clock = writer, reader, lock, clock
        self.is_behind = behind
        """By how many milliseconds the machine's clock was behind the store's time when it was opened."""
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")
        self._writer = GroupCommitWriter(writer)
        self._closed = False
        self.write_fault: str | None = None
        """Why the last write failed; None if it did not."""

    @property
    def is_exclusive(self) -> bool:
        """Whether no other relay can be at work in this store (SQLite: the file is locked)."""
        return self._lock is not None

    @property
    def uses_database_clock(self) -> bool:
        """Whether its clock is the database's, and not the machine's."""
        return isinstance(self.clock, DatabaseClock)

    @property
    def goes_by_the_machine(self) -> bool:
        """Whether its clock is this machine's, which may be set."""
        return isinstance(self.clock, MachineClock)

    @classmethod
    async def open(
        cls, url: str, seal: FieldCipher | None = None, clock: Callable[[], Instant] | None = None
    ) -> "Store":
        """Opens the database, bringing its tables up to date. Raises StoreError, saying what to do.

        `seal` is what its secrets are sealed and opened with; None leaves them as they are. `clock` tells the time in
        place of the machine's clock (SQLite) or the database's (PostgreSQL).
        """
        return await asyncio.to_thread(cls._open, url, seal or FieldCipher(), clock)

    @classmethod
    def _open(cls, url: str, seal: FieldCipher, clock: Callable[[], Instant] | None) -> "Store":
        parsed = dialect.parse(url)
        sqlite = dialect.is_sqlite(parsed)
        lock = dialect.lock_file(parsed) if sqlite else None
        writer = dialect.engine(parsed, writer=True, connections=1, **{_SEAL: seal})
        reader = dialect.engine(parsed, writer=False, connections=_READERS, **{_SEAL: seal})
        clock = clock or (MachineClock() if sqlite else DatabaseClock())
        try:
            if not sqlite:
                dialect.leave_standbys(writer, reader)
                dialect.refuse_a_pooler_of_transactions(writer, reader)
            migrate.upgrade(writer)
            with reader.connect() as tx:
                behind = _begin(clock, tx)
        except BaseException as error:
            writer.dispose()
            reader.dispose()
            if lock is not None:
                lock.close()
            if isinstance(error, DBAPIError):
                raise dialect.to_store_error(error) from error
            raise
        return cls(writer, reader, lock, clock, behind)

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Runs `work` in a transaction; returns after the commit is durable. On an exception nothing of it remains.

        `work` runs on another thread, and again where those it was to be committed with came to nothing: it does
        nothing but read and write.

        Raises StoreError where the database fails, and whatever `work` raises.
        """
        self._check_open()
        with self._noted():
            return await self._writer.write(work)

    async def write_together(self, work: Callable[[Tx, Sequence[Item]], Sequence[T]], item: Item) -> T:
        """As `write`, for what costs less where it is done for many at a time: all items that wait at once for the same
        `work` are given to it, which returns in their order what came of each."""
        self._check_open()
        with self._noted():
            return await self._writer.write_batched(work, item)

    async def write_nothing(self) -> None:
        """A write that changes nothing, to find out whether the database takes any. Raises StoreError."""
        await self.write(migrate.write_nothing)

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Runs `work` on one consistent view of the database. Raises StoreError where the database fails."""
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, work)

    async def sync_clock(self) -> int:
        """Sets the clock by the one that it goes by; returns by how many milliseconds. Raises StoreError.

        Plans have to follow, in the next transaction.
        """
        if isinstance(self.clock, DatabaseClock):
            return await self.read(lambda tx: _set(self.clock, tx))
        return self.clock.sync(self.clock.machine) if isinstance(self.clock, MachineClock) else 0

    async def notify(self, ringer: str) -> None:
        """Wakes whoever listens to `notifications` of this store, also in other processes. Raises StoreError."""
        await self.read(lambda tx: dialect.notify(tx, ringer))

    def notifications(self) -> AsyncGenerator[str]:
        """Who rings, as long as the connection lasts; once at its beginning '', as rings before it were not heard.

        Raises StoreError where it can't be had, or is lost. SQLite has none.
        """
        return dialect.listen(self._reader)

    @contextmanager
    def _noted(self) -> Iterator[None]:
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
        """Rewrites a SQLite file, in whose free pages what was overwritten could still be read. Takes its time."""
        if not self.is_exclusive:
            return
        connection = self._engine.raw_connection()
        try:
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                connection.cursor().execute(statement)
        finally:
            connection.close()

    async def aclose(self) -> None:
        """Commits what waits, then closes. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._pool.shutdown()
        self._engine.dispose()
        self._reader.dispose()
        if self._lock is not None:  # after SQLite, which loses its own locks with it
            self._lock.close()


def _begin(clock: Callable[[], Instant], tx: Tx) -> int:
    """Sets the clock for the first time. Returns by how much the machine's is behind the store's time."""
    _set(clock, tx)
    last_seen = tx.execute(select(leader_leases.c.until).where(leader_leases.c.name == LAST_SEEN)).scalar()
    return clock.begin(last_seen) if isinstance(clock, MachineClock) and last_seen is not None else 0


def _set(clock: Callable[[], Instant], tx: Tx) -> int:
    if isinstance(clock, DatabaseClock):
        return clock.sync(lambda: dialect.now(tx))
    return clock.sync(clock.machine) if isinstance(clock, MachineClock) else 0


def read_only(url: str, work: Callable[[Tx], T], versions: Sequence[Path] = migrate.VERSIONS) -> T:
    """Runs `work` on a store in which a relay may be at work: takes no lock, and changes nothing, not even its tables.

    Raises StoreError where there is no store, or its tables are not those of this version.
    """
    return _beside(url, work, versions, writing=False)


def write_offline(url: str, work: Callable[[Tx], T], versions: Sequence[Path] = migrate.VERSIONS) -> T:
    """As `read_only`, for `work` that changes something, in a moment: relays at work on the store wait meanwhile."""
    return _beside(url, work, versions, writing=True)


def exists(url: str) -> bool:
    """Whether there is a store, of whatever version. Raises StoreError where that can't be found out."""
    if not _has_file(url):
        return False
    try:
        with connect(url) as tx:
            return migrate.version_of(tx) is not None
    except DBAPIError as error:
        raise dialect.to_store_error(error) from error


def _beside(url: str, work: Callable[[Tx], T], versions: Sequence[Path], writing: bool) -> T:
    if not _has_file(url):
        place = dialect.parse(url).database
        raise StoreError(f"there is no store at {place}; is storage.url right, and did a relay run already?")
    try:
        with connect(url, writing=writing) as tx:
            if migrate.needs_upgrade(tx, versions=versions):
                version = migrate.version_of(tx)
                raise StoreError(f"the store's tables are at version {version}, older than this relay's; start it once")
            return work(tx)
    except DBAPIError as error:
        raise dialect.to_store_error(error) from error


def _has_file(url: str) -> bool:
    """False where a SQLite store has none; a visitor would make one."""
    parsed = dialect.parse(url)
    return not dialect.is_sqlite(parsed) or Path(str(parsed.database)).exists()


@contextmanager
def connect(url: str, seal: FieldCipher | None = None, *, writing: bool = False) -> Iterator[Tx]:
    """A transaction in a store whose tables may be of any version, and in which a relay may be at work.

    Unless it is `writing` it only reads. Raises DBAPIError.
    """
    engine = dialect.engine(dialect.parse(url), writer=writing, connections=1, **{_SEAL: seal or FieldCipher()})
    try:
        with engine.begin() if writing else engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
