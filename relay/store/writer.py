"""The writer: one thread that commits many transactions at once.

Whatever waited while the disk synced is committed together (group commit). Where one of it is at fault, the others are
committed without it.
"""

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from relay.store import dialect

T = TypeVar("T")
Item = TypeVar("Item")

TRIES = 5
"""How often a transaction is begun that lost to another, or whose connection is gone."""

_BATCH = 256

_STILL = 0.02
"""Seconds that the event loop stands still at most for what is urgent."""

_ASIDE = 0.001
"""Seconds that the writer stands still after it, so that the loop goes on at once."""

_Work = Callable[[Connection, Sequence[Any]], Sequence[Any]]


class _Wish:
    """What waits for the writer: `work` gives for each of some items what came of it, in their order."""

    __slots__ = ("future", "item", "work")

    def __init__(self, work: _Work, item: Any, future: asyncio.Future[Any] | futures.Future[Any]) -> None:
        self.work, self.item, self.future = work, item, future

    @property
    def is_urgent(self) -> bool:
        """Whether it can be waited for without an event loop."""
        return isinstance(self.future, futures.Future)


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
        self._urgent: deque[_Wish] = deque()
        self._ordinary: deque[_Wish] = deque()
        self._ended = False
        # One, on PostgreSQL too: it commits all that waits together, so that a second would find nothing to do.
        self._thread = threading.Thread(target=self._write_forever, name="store-write", daemon=True)
        self._thread.start()

    async def write(self, work: Callable[[Connection], T], *, urgent: bool = False) -> T:
        """What `work` gave, once it is committed: what is `urgent` before all else, and the loop stands still for it.

        Raises StoreError, and whatever `work` raises.
        """
        result: T = await (self._wish_urgently if urgent else self._wish)(lambda tx, _: [work(tx)], None)
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
        future = asyncio.get_running_loop().create_future()
        self._wishes.put(_Wish(work, item, future))
        return future

    async def _wish_urgently(self, work: _Work, item: Any) -> Any:
        """Has the interpreter to itself for a moment: this thread and the loop would only take it from each other, some
        milliseconds at a time. Where it takes longer than that, the loop goes on."""
        future = futures.Future[Any]()
        self._wishes.put(_Wish(work, item, future))
        futures.wait([future], _STILL)
        return future.result() if future.done() else await asyncio.wrap_future(future)

    def _write_forever(self) -> None:
        was_urgent = False
        while self._take_in(wait=True):
            # What is urgent comes first, but never twice in a row: else nothing else might ever be written.
            waiting = self._ordinary if was_urgent and self._ordinary else self._urgent or self._ordinary
            was_urgent = waiting is self._urgent
            batch = [waiting.popleft() for _ in range(min(_BATCH, len(waiting)))]
            self._commit_together(sorted(batch, key=_places(batch)))
            if was_urgent:
                time.sleep(_ASIDE)

    def _take_in(self, wait: bool = False) -> bool:
        """Sorts what has come; with `wait` something has, and False is the end."""
        while not self._ended and (not self._wishes.empty() or (wait and not (self._urgent or self._ordinary))):
            wish = self._wishes.get()
            if wish is None:
                self._ended = True
            else:
                (self._urgent if wish.is_urgent else self._ordinary).append(wish)
        return bool(self._urgent or self._ordinary)

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
            _tell(batch[: len(done)], done)
            self._ordinary.extendleft(reversed(batch[len(done) :]))

    def _try(self, batch: Sequence[_Wish], apart: bool) -> list[Any]:
        """What each transaction gave, or raised where they are kept `apart`, which costs a savepoint each.

        Where something urgent comes meanwhile, what was not begun is left out: the list is shorter.
        """
        with self._engine.connect() as connection, connection.begin() as transaction:
            done: list[Any] = []
            for work, some in groupby(batch, attrgetter("work")):
                items = [wish.item for wish in some]
                done += [_alone(connection, work, item) for item in items] if apart else work(connection, items)
                self._take_in()
                if self._urgent and not batch[0].is_urgent:
                    break
            try:
                transaction.commit()
            except DBAPIError as error:
                raise _Unsure(error) from error
            return done


def _places(batch: Sequence[_Wish]) -> Callable[[_Wish], int]:
    """What sorts those for the same work to where the first of them is."""
    first: dict[_Work, int] = {}
    for place, wish in enumerate(batch):
        first.setdefault(wish.work, place)
    return lambda wish: first[wish.work]


def _alone(connection: Connection, work: _Work, item: Any) -> Any:
    """What a transaction within a larger one gave or raised, and in that case did not leave."""
    try:
        with connection.begin_nested():
            return work(connection, [item])[0]
    except DBAPIError:
        raise
    except Exception as error:
        return _Failed(error)


def _tell(wishes: Sequence[_Wish], done: Sequence[Any]) -> None:
    """Tells those who wait what came of it, each event loop once: to wake one costs as much as a small statement."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for wish, result in zip(wishes, done, strict=True):
        if isinstance(wish.future, asyncio.Future):
            by_loop.setdefault(wish.future.get_loop(), []).append((wish.future, result))
        elif wish.future.set_running_or_notify_cancel():
            _resolve(wish.future, result)
    for loop, some in by_loop.items():
        with suppress(RuntimeError):  # it was closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve_all, some)


def _resolve_all(done: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in done:
        if not future.done():  # else whoever waited was cancelled
            _resolve(future, result)


def _resolve(future: asyncio.Future[Any] | futures.Future[Any], result: Any) -> None:
    if isinstance(result, _Failed):
        future.set_exception(result.error)
    else:
        future.set_result(result)
