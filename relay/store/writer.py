"""The writer: one thread that commits many transactions at once.

Whatever waited while the disk synced is committed together (group commit). Where one of it is at fault, the others are
committed without it.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from relay.store import dialect

T = TypeVar("T")
Item = TypeVar("Item")

TRIES = 5
"""How often a transaction is begun that lost to another, or whose connection is gone."""

_BATCH = 256

_Work = Callable[[Connection, Sequence[Any]], Sequence[Any]]


class _Wish:
    """What waits for the writer: `work` gives for each of some items what came of it, in their order."""

    __slots__ = ("future", "item", "work")

    def __init__(self, work: _Work, item: Any) -> None:
        self.work, self.item = work, item
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


class Writer:
    """Writes to one database, until `close`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._wishes: queue.SimpleQueue[_Wish | None] = queue.SimpleQueue()
        # One, on PostgreSQL too: it commits all that waits together, so that a second would find nothing to do.
        self._thread = threading.Thread(target=self._write_forever, name="store-write", daemon=True)
        self._thread.start()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` gave, once it is committed. Raises StoreError, and whatever `work` raises."""
        result: T = await self._wish(lambda tx, _: [work(tx)], None)
        return result

    async def write_together(self, work: Callable[[Connection, Sequence[Item]], Sequence[T]], item: Item) -> T:
        """As `write`; all items that wait at once for the same `work` are given to it at once."""
        result: T = await self._wish(work, item)
        return result

    def close(self) -> None:
        """Commits what waits, then ends. Takes as long as that does."""
        self._wishes.put(None)
        self._thread.join()

    def _wish(self, work: _Work, item: Any) -> asyncio.Future[Any]:
        wish = _Wish(work, item)
        self._wishes.put(wish)
        return wish.future

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

    def _commit_together(self, batch: list[_Wish], apart: bool = False, tries: int = TRIES) -> None:
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

    def _try(self, batch: Sequence[_Wish], apart: bool) -> list[Any]:
        """What each transaction gave, or raised where they are kept `apart`, which costs a savepoint each."""
        with self._engine.connect() as connection, connection.begin() as transaction:
            done = [_alone(connection, wish) for wish in batch] if apart else _together(connection, batch)
            try:
                transaction.commit()
            except DBAPIError as error:
                raise _Unsure(error) from error
            return done


def _together(connection: Connection, batch: Sequence[_Wish]) -> list[Any]:
    """What came of each, in their order; those for the same work are one call of it."""
    places: dict[_Work, list[int]] = {}
    for place, wish in enumerate(batch):
        places.setdefault(wish.work, []).append(place)
    done: list[Any] = [None] * len(batch)
    for work, some in places.items():
        for place, result in zip(some, work(connection, [batch[one].item for one in some]), strict=True):
            done[place] = result
    return done


def _alone(connection: Connection, wish: _Wish) -> Any:
    """What a transaction within a larger one gave or raised, and in that case did not leave."""
    try:
        with connection.begin_nested():
            return wish.work(connection, [wish.item])[0]
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
