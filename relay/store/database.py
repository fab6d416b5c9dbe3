"""One database: transactions on it, and the writer that commits many of them at once.

SQLAlchemy is used synchronously, on threads of our own: a transaction is one hop from the event loop however many
statements it has, and whatever was waiting while the disk synced is committed together (group commit).
"""

import asyncio
import os
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from relay.errors import StoreError
from relay.model import Instant
from relay.sealing import Seal
from relay.store import dialect, migrate
from relay.store.clock import DatabaseClock, MachineClock, system_clock

Tx = Connection
"""A transaction: what the functions of the store work in."""

T = TypeVar("T")

_SEAL = "relay_seal"
_READERS = 4
_BATCH = 256
_TRIES = 5


def seal_of(tx: Tx) -> Seal:
    """What the secrets of the transaction's store are sealed and opened with."""
    seal: Seal = tx.get_execution_options()[_SEAL]
    return seal


class _Wish:
    """A transaction that waits for the writer, and who waits for it."""

    __slots__ = ("future", "work")

    def __init__(self, work: Callable[[Tx], Any]) -> None:
        self.work = work
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class _Failed:
    """What a transaction raised."""

    error: Exception


class _Unsure(Exception):
    """The commit itself failed. Whether it took place nobody knows, so nothing is done again."""

    def __init__(self, error: DBAPIError) -> None:
        super().__init__()
        self.error = error


class Store:
    """The relay's database. Open with `Store.open`; close with `aclose`."""

    def __init__(self, writer: Engine, reader: Engine, lock: int | None, clock: Callable[[], Instant]) -> None:
        self._writer, self._reader, self._lock, self.clock = writer, reader, lock, clock
        self._wishes: queue.SimpleQueue[_Wish | None] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")
        # One, on PostgreSQL too: it commits all that waits together, so that a second would find nothing to do.
        self._thread = threading.Thread(target=self._write_forever, name="store-write", daemon=True)
        self._thread.start()
        self._closed = False

    @property
    def is_ours_alone(self) -> bool:
        """Whether no other relay can be at work in this store (SQLite: the file is locked)."""
        return self._lock is not None

    @property
    def goes_by_the_database(self) -> bool:
        """Whether its clock is the database's, and not the machine's."""
        return isinstance(self.clock, DatabaseClock)

    @classmethod
    async def open(cls, url: str, seal: Seal | None = None, clock: Callable[[], Instant] | None = None) -> "Store":
        """Opens the database, bringing its tables up to date. Raises StoreError, saying what to do.

        `seal` is what its secrets are sealed and opened with; None leaves them as they are. `clock` tells the time in
        place of the machine's clock (SQLite) or the database's (PostgreSQL).
        """
        return await asyncio.to_thread(cls._open, url, seal or Seal(), clock)

    @classmethod
    def _open(cls, url: str, seal: Seal, clock: Callable[[], Instant] | None) -> "Store":
        parsed = dialect.parse(url)
        sqlite = dialect.is_sqlite(parsed)
        lock = dialect.lock_file(parsed) if sqlite else None
        writer = dialect.engine(parsed, writer=True, connections=1, **{_SEAL: seal})
        reader = dialect.engine(parsed, writer=False, connections=_READERS, **{_SEAL: seal})
        clock = clock or (MachineClock() if sqlite else DatabaseClock())
        try:
            migrate.upgrade(writer)
            with reader.connect() as tx:
                _set(clock, tx)
        except BaseException as error:
            writer.dispose()
            reader.dispose()
            if lock is not None:
                os.close(lock)
            if isinstance(error, DBAPIError):
                raise dialect.told(error) from error
            raise
        return cls(writer, reader, lock, clock)

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Runs `work` in a transaction; returns after the commit is durable. On an exception nothing of it remains.

        `work` runs on another thread, and again where those it was to be committed with came to nothing: it does
        nothing but read and write. Raises StoreError where the database fails, and whatever `work` raises.
        """
        if self._closed:
            raise StoreError("the store is closed")
        wish = _Wish(work)
        self._wishes.put(wish)
        result: T = await wish.future
        return result

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Runs `work` on one consistent view of the database. Raises StoreError where the database fails."""
        if self._closed:
            raise StoreError("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, work)

    async def keep_time(self) -> int:
        """Sets the clock by the one that it goes by. Raises StoreError.

        Returns by how many milliseconds the machine's clock was set meanwhile: `plans.move` has to follow, in the next
        transaction. The database's is taken for right.
        """
        if self.goes_by_the_database:
            await self.read(lambda tx: _set(self.clock, tx))
        return self.clock.set(system_clock) if isinstance(self.clock, MachineClock) else 0

    async def ring(self, ringer: str) -> None:
        """Wakes whoever listens to `rings` of this store, also in other processes. Raises StoreError."""
        await self.read(lambda tx: dialect.ring(tx, ringer))

    def rings(self) -> AsyncGenerator[str]:
        """Who rings, as long as the connection lasts; once at its beginning '', as rings before it were not heard.

        Raises StoreError where it can't be had, or is lost. SQLite has none.
        """
        return dialect.rings(self._reader)

    def _read(self, work: Callable[[Tx], T], tries: int = _TRIES) -> T:
        try:
            with self._reader.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            if tries > 1 and dialect.may_be_repeated(error):
                return self._read(work, tries - 1)
            raise dialect.told(error) from error

    def _write_forever(self) -> None:
        while (first := self._wishes.get()) is not None:
            batch = [first]
            while len(batch) < _BATCH and not self._wishes.empty():
                try:
                    wish = self._wishes.get_nowait()
                except queue.Empty:
                    break
                if wish is None:
                    self._wishes.put(None)
                    break
                batch.append(wish)
            self._commit_together(batch)

    def _commit_together(self, batch: list[_Wish], apart: bool = False, tries: int = _TRIES) -> None:
        """Commits all in one transaction; where one of them is at fault, without it, or each in one of its own."""
        try:
            done = self._try(batch, apart)
        except _Unsure as unsure:
            _tell(batch, [_Failed(dialect.told(unsure.error))] * len(batch))
        except DBAPIError as error:
            if len(batch) > 1 and dialect.is_of_one(error):
                for wish in batch:
                    self._commit_together([wish])
            elif tries > 1 and dialect.may_be_repeated(error):
                self._commit_together(batch, apart, tries - 1)
            else:
                _tell(batch, [_Failed(dialect.told(error))] * len(batch))
        except Exception as error:
            if len(batch) > 1 and not apart:
                self._commit_together(batch, apart=True)
            else:
                _tell(batch, [_Failed(error)] * len(batch))
        else:
            _tell(batch, done)

    def _try(self, batch: list[_Wish], apart: bool) -> list[Any]:
        """What each transaction gave, or raised where they are kept `apart`, which costs a savepoint each."""
        with self._writer.connect() as connection, connection.begin() as transaction:
            done = [_alone(connection, wish.work) if apart else wish.work(connection) for wish in batch]
            try:
                transaction.commit()
            except DBAPIError as error:
                raise _Unsure(error) from error
            return done

    def forget_what_was_overwritten(self) -> None:
        """Rewrites a SQLite file, in whose free pages what was overwritten could still be read. Takes its time."""
        if not self.is_ours_alone:
            return
        connection = self._writer.raw_connection()
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
        self._wishes.put(None)
        self._thread.join()
        self._pool.shutdown()
        self._writer.dispose()
        self._reader.dispose()
        if self._lock is not None:
            os.close(self._lock)


def _set(clock: Callable[[], Instant], tx: Tx) -> None:
    if isinstance(clock, DatabaseClock):
        clock.set(lambda: dialect.now(tx))
    elif isinstance(clock, MachineClock):
        clock.set(system_clock)


def _alone(connection: Tx, work: Callable[[Tx], Any]) -> Any:
    """What a transaction within a larger one gave or raised, and in that case did not leave."""
    try:
        with connection.begin_nested():
            return work(connection)
    except DBAPIError:
        raise
    except Exception as error:
        return _Failed(error)


def _tell(wishes: Sequence[_Wish], done: Sequence[Any]) -> None:
    """Tells those who wait what came of it, each event loop once: to wake one costs as much as a small statement."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Wish, Any]]] = {}
    for wish, result in zip(wishes, done, strict=True):
        by_loop.setdefault(wish.future.get_loop(), []).append((wish, result))
    for loop, some in by_loop.items():
        with suppress(RuntimeError):  # it was closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, some)


def _resolve(done: Sequence[tuple[_Wish, Any]]) -> None:
    for wish, result in done:
        if wish.future.done():  # whoever waited was cancelled
            continue
        if isinstance(result, _Failed):
            wish.future.set_exception(result.error)
        else:
            wish.future.set_result(result)


def peek(url: str, work: Callable[[Tx], T]) -> T:
    """Runs `work` on a store in which a relay may be at work: takes no lock, and changes nothing, not even its tables.

    Raises StoreError where there is no store, or its tables are not those of this version.
    """
    return _beside(url, work, writing=False)


def change(url: str, work: Callable[[Tx], T]) -> T:
    """As `peek`, for `work` that changes something, in a moment: relays at work on the store wait meanwhile."""
    return _beside(url, work, writing=True)


def is_there(url: str) -> bool:
    """Whether there is a store, of whatever version. Raises StoreError where that can't be found out."""
    if not _has_file(url):
        return False
    try:
        with visiting(url) as tx:
            return migrate.version_of(tx) is not None
    except DBAPIError as error:
        raise dialect.told(error) from error


def _beside(url: str, work: Callable[[Tx], T], writing: bool) -> T:
    if not _has_file(url):
        place = dialect.parse(url).database
        raise StoreError(f"there is no store at {place}; is storage.url right, and did a relay run already?")
    try:
        with visiting(url, writing=writing) as tx:
            if migrate.is_behind(tx):
                version = migrate.version_of(tx)
                raise StoreError(f"the store's tables are at version {version}, older than this relay's; start it once")
            return work(tx)
    except DBAPIError as error:
        raise dialect.told(error) from error


def _has_file(url: str) -> bool:
    """False where a SQLite store has none; a visitor would make one."""
    parsed = dialect.parse(url)
    return not dialect.is_sqlite(parsed) or Path(str(parsed.database)).exists()


@contextmanager
def visiting(url: str, seal: Seal | None = None, *, writing: bool = False) -> Iterator[Tx]:
    """A transaction in a store whose tables may be of any version, and in which a relay may be at work.

    Unless it is `writing` it only reads. Raises DBAPIError.
    """
    engine = dialect.engine(dialect.parse(url), writer=writing, connections=1, **{_SEAL: seal or Seal()})
    try:
        with engine.begin() if writing else engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
