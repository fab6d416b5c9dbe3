"""Group commit: all waiting transactions are committed together, so that one sync of the disk serves them all.

If one of them fails, the others are committed without it.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from relay.store.engine import dialect

T = TypeVar("T")
Item = TypeVar("Item")

TRIES = 5
"""How often a transaction is tried if it loses to another one or loses its connection."""

_BATCH = 256

_MAX_BATCH_SECONDS = 0.25
"""Seconds after which a batch is committed. Transactions that it has not started wait for the next batch."""

_Work = Callable[[Connection, Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """A waiting transaction: `work` returns one result for each item, in the same order."""

    work: _Work
    item: Any
    future: asyncio.Future[Any]
    is_batched: bool
    """Whether one call of `work` may get the items of other requests too."""
    at_end: bool = False
    """Whether it runs after the other requests of its batch."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """The exception of a transaction, in the place of its result."""

    error: Exception


class _CommitOutcomeUnknown(Exception):
    """The commit itself failed. It may have taken effect, so nothing is tried again."""

    def __init__(self, error: DBAPIError) -> None:
        super().__init__()
        self.error = error


class GroupCommitWriter:
    """Writes to one database, until `close`.

    While thousands of batched requests wait (a flood of registrations), half of each batch is free for single ones.
    """

    def __init__(self, engine: Engine, executor: Executor, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`executor` runs the transactions, one batch at a time, on PostgreSQL too: as each batch has all requests
        that wait, a second would have nothing to do. `monotonic` gives seconds."""
        self._engine, self._executor, self._monotonic = engine, executor, monotonic
        self._single: deque[_Request] = deque()
        self._batched: deque[_Request] = deque()
        self._turn = (self._single, self._batched)
        self._lock = threading.Lock()
        self._is_writing = False

    async def write(self, work: Callable[[Connection], T], at_end: bool = False) -> T:
        """The result of `work`, after the commit. `at_end`: it runs after the other requests of its batch.

        Raises StoreError, and every exception of `work`.
        """
        result: T = await self._submit(lambda tx, _: [work(tx)], None, is_batched=False, at_end=at_end)
        return result

    async def write_batched(self, work: Callable[[Connection, Sequence[Item]], Sequence[T]], item: Item) -> T:
        """As `write`; one call of `work` gets all items that wait for it at the same time."""
        result: T = await self._submit(work, item, is_batched=True)
        return result

    def close(self) -> None:
        """Commits all waiting requests, then shuts down the executor. Blocks until then."""
        self._executor.shutdown()

    def _submit(self, work: _Work, item: Any, *, is_batched: bool, at_end: bool = False) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        request = _Request(work, item, future, is_batched, at_end)
        with self._lock:
            self._queue_of(request).append(request)
            begins, self._is_writing = not self._is_writing, True
        if begins:
            self._executor.submit(self._write_waiting)
        return future

    def _write_waiting(self) -> None:
        """Commits until no request waits."""
        while batch := self._next_batch():
            self._commit_together(sorted(batch, key=_order_of_work(batch)))

    def _next_batch(self) -> list[_Request]:
        with self._lock:
            first, second = self._turn
            batch = [first.popleft() for _ in range(min(len(first), _BATCH - min(len(second), _BATCH // 2)))]
            batch += [second.popleft() for _ in range(min(len(second), _BATCH - len(batch)))]
            self._turn = second, first  # a batch may be cut short: its rest is first now
            self._is_writing = bool(batch)
            return batch

    def _queue_of(self, request: _Request) -> deque[_Request]:
        return self._batched if request.is_batched else self._single

    def _commit_together(self, batch: list[_Request], in_savepoints: bool = False, tries: int = TRIES) -> None:
        """Commits the batch in one transaction; if one request fails, the others without it."""
        try:
            results = self._try(batch, in_savepoints)
        except _CommitOutcomeUnknown as unknown:
            _fail(batch, dialect.to_store_error(unknown.error))
        except DBAPIError as error:
            self._commit_after_database_error(batch, in_savepoints, tries, error)
        except Exception as error:
            if len(batch) > 1 and not in_savepoints:
                self._commit_together(batch, in_savepoints=True)
            else:
                _fail(batch, error)
        else:
            _resolve(batch[: len(results)], results)
            with self._lock:
                for request in reversed(batch[len(results) :]):
                    # What waited once waits for no later request: else a flood of them would hold it up for ever.
                    self._queue_of(request).appendleft(replace(request, at_end=False))

    def _commit_after_database_error(
        self, batch: list[_Request], in_savepoints: bool, tries: int, error: DBAPIError
    ) -> None:
        """Commits each request alone if one of them causes the error, or tries the batch again if that can help."""
        if len(batch) > 1 and dialect.is_caused_by_statement(error):
            for request in batch:
                self._commit_together([request])
        elif tries > 1 and dialect.is_retryable(error):
            self._commit_together(batch, in_savepoints, tries - 1)
        else:
            _fail(batch, dialect.to_store_error(error))

    def _try(self, batch: Sequence[_Request], in_savepoints: bool) -> list[Any]:
        """The results of the requests. `in_savepoints` the result of a failed one is `_Failed`; each costs a savepoint.

        The list is shorter if the batch takes long: it ends before the requests that were not started.
        """
        with self._engine.connect() as connection, connection.begin() as transaction:
            results: list[Any] = []
            until = self._monotonic() + _MAX_BATCH_SECONDS
            for work, requests in groupby(batch, attrgetter("work")):
                items = [request.item for request in requests]
                if in_savepoints:
                    results += [_in_savepoint(connection, work, item) for item in items]
                else:
                    results += work(connection, items)
                if self._monotonic() > until:
                    break
            try:
                transaction.commit()
            except DBAPIError as error:
                connection.invalidate()  # SQLite may have left the transaction open, and with it its lock
                raise _CommitOutcomeUnknown(error) from error
            return results


def _order_of_work(batch: Sequence[_Request]) -> Callable[[_Request], tuple[bool, int]]:
    """A sort key: requests for the same work are moved to the position of the first of them, `at_end` to the end."""
    first: dict[_Work, int] = {}
    for position, request in enumerate(batch):
        first.setdefault(request.work, position)
    return lambda request: (request.at_end, first[request.work])


def _in_savepoint(connection: Connection, work: _Work, item: Any) -> Any:
    """The result of `work` for one item in a savepoint, or its exception, after which its changes are rolled back."""
    try:
        with connection.begin_nested():
            return work(connection, [item])[0]
    except DBAPIError:
        raise
    except Exception as error:
        return _Failed(error)


def _fail(requests: Sequence[_Request], error: Exception) -> None:
    _resolve(requests, [_Failed(error)] * len(requests))


def _resolve(requests: Sequence[_Request], results: Sequence[Any]) -> None:
    """Resolves futures, waking each event loop once: waking one costs as much as a small statement."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for request, result in zip(requests, results, strict=True):
        by_loop.setdefault(request.future.get_loop(), []).append((request.future, result))
    for loop, pairs in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nothing waits for the results
            loop.call_soon_threadsafe(_resolve_all, pairs)


def _resolve_all(pairs: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in pairs:
        if future.done():  # the caller was cancelled
            continue
        if isinstance(result, _Failed):
            future.set_exception(result.error)
        else:
            future.set_result(result)
