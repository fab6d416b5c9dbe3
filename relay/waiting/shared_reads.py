"""Shared reads: requests that ask the same at the same moment cost the database one query."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedReads(Generic[T]):
    """The reads in progress, by key."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[T]] = {}

    async def read(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, which other readers of the same key may have begun already; its exceptions too.

        A key has to change with whatever makes an older result wrong.
        """
        if (task := self._under_way.get(key)) is None:
            task = self._under_way[key] = asyncio.ensure_future(_run(work))
            task.add_done_callback(lambda _: self._under_way.pop(key))
        # A reader that is cancelled leaves the read to the others.
        return await asyncio.shield(task)


async def _run(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
