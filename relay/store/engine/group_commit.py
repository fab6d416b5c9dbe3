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
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from relay.store.engine import dialect

T = TypeVar("T")
Item = TypeVar("Item")

TRIES = 5
"""How often a transaction is begun that lost to another, or whose connection is gone."""

_BATCH = 256

_LONGEST = 0.25
"""Seconds after which a batch is committed, and what it has not begun waits for the next."""

_Work = Callable[[Connection, Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """A transaction that waits: `work` gives for each of some items a result, in their order."""

    work: _Work
    item: Any
    future: asyncio.Future[Any]
    is_batched: bool
    """Whether others may be made by the same call of `work`."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """What a transaction raised."""

    error: Exception


class _CommitOutcomeUnknown(Exception):
    """The commit itself failed. Whether it took place nobody knows, so nothing is done again."""

    def __init__(self, error: DBAPIError) -> None:
        super().__init__()
        self.error = error


class GroupCommitWriter:
    """Writes to one database, until `close`.

    While thousands of batched transactions wait (a flood of registrations), each commit has room for the others too.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._single: deque[_Request] = deque()
        self._batched: deque[_Request] = deque()
        self._ended = False
        # One, on PostgreSQL too: it commits all that waits together, so that a second would find nothing to do.
        self._thread = threading.Thread(target=self._write_forever, name="store-write", daemon=True)
        self._thread.start()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`, once it is committed. Raises StoreError, and whatever `work` raises."""
        result: T = await self._submit(lambda tx, _: [work(tx)], None, is_batched=False)
        return result

    async def write_batched(self, work: Callable[[Connection, Sequence[Item]], Sequence[T]], item: Item) -> T:
        """As `write`; all items that wait at once for the same `work` are given to it at once."""
        result: T = await self._submit(work, item, is_batched=True)
        return result

    def close(self) -> None:
        """Commits what waits, then ends. Takes as long as that does."""
        self._requests.put(None)
        self._thread.join()

    def _submit(self, work: _Work, item: Any, is_batched: bool) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self._requests.put(_Request(work, item, future, is_batched))
        return future

    def _write_forever(self) -> None:
        first, second = self._single, self._batched
        while self._receive():
            batch = [first.popleft() for _ in range(min(len(first), _BATCH - min(len(second), _BATCH // 2)))]
            batch += [second.popleft() for _ in range(min(len(second), _BATCH - len(batch)))]
            self._commit_together(sorted(batch, key=_places(batch)))
            first, second = second, first  # a batch may be cut short: what it left out is first now

    def _receive(self) -> bool:
        """Sorts what has come, and waits for something. False is the end."""
        while not self._ended and not (self._requests.empty() and (self._single or self._batched)):
            request = self._requests.get()
            if request is None:
                self._ended = True
            else:
                self._queue_of(request).append(request)
        return bool(self._single or self._batched)

    def _queue_of(self, request: _Request) -> deque[_Request]:
        return self._batched if request.is_batched else self._single

    def _commit_together(self, batch: list[_Request], apart: bool = False, tries: int = TRIES) -> None:
        """Commits all in one transaction; where one of them is at fault, without it, or each in one of its own."""
        try:
            done = self._try(batch, apart)
        except _CommitOutcomeUnknown as unsure:
            _resolve(batch, [_Failed(dialect.to_store_error(unsure.error))] * len(batch))
        except DBAPIError as error:
            if len(batch) > 1 and dialect.is_caused_by_statement(error):
                for request in batch:
                    self._commit_together([request])
            elif tries > 1 and dialect.is_retryable(error):
                self._commit_together(batch, apart, tries - 1)
            else:
                _resolve(batch, [_Failed(dialect.to_store_error(error))] * len(batch))
        except Exception as error:
            if len(batch) > 1 and not apart:
                self._commit_together(batch, apart=True)
            else:
                _resolve(batch, [_Failed(error)] * len(batch))
        else:
            _resolve(batch[: len(done)], done)
            for request in reversed(batch[len(done) :]):
                self._queue_of(request).appendleft(request)

    def _try(self, batch: Sequence[_Request], apart: bool) -> list[Any]:
        """What each transaction gave, or raised where they are kept `apart`, which costs a savepoint each.

        The list is shorter if they take long: what was not begun is left out.
        """
        with self._engine.connect() as connection, connection.begin() as transaction:
            done: list[Any] = []
            until = time.monotonic() + _LONGEST
            for work, some in groupby(batch, attrgetter("work")):
                items = [request.item for request in some]
                done += [_in_savepoint(connection, work, item) for item in items] if apart else work(connection, items)
                if time.monotonic() > until:
                    break
            try:
                transaction.commit()
            except DBAPIError as error:
                raise _CommitOutcomeUnknown(error) from error
            return done


def _places(batch: Sequence[_Request]) -> Callable[[_Request], int]:
    """What sorts those for the same work to where the first of them is."""
    first: dict[_Work, int] = {}
    for place, request in enumerate(batch):
        first.setdefault(request.work, place)
    return lambda request: first[request.work]


def _in_savepoint(connection: Connection, work: _Work, item: Any) -> Any:
    """What a transaction within a larger one gave or raised, and in that case did not leave."""
    try:
        with connection.begin_nested():
            return work(connection, [item])[0]
    except DBAPIError:
        raise
    except Exception as error:
        return _Failed(error)


def _resolve(requests: Sequence[_Request], done: Sequence[Any]) -> None:
    """Resolves futures, each event loop once: to wake one costs as much as a small statement."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for request, result in zip(requests, done, strict=True):
        by_loop.setdefault(request.future.get_loop(), []).append((request.future, result))
    for loop, some in by_loop.items():
        with suppress(RuntimeError):  # it was closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve_all, some)


def _resolve_all(done: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in done:
        if future.done():  # the caller was cancelled
            continue
        if isinstance(result, _Failed):
            future.set_exception(result.error)
        else:
            future.set_result(result)
