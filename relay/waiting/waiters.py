"""Waiters: open requests that wait for a topic, until a deadline.

A waiter is one future. It holds no thread, no transaction and no timer of its own: one task checks all deadlines, four
times a second, while anybody waits. A waiter subscribes before its request reads the store, so that nothing is missed
in between; what wakes it is only a hint, and the request reads again.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum

from relay.errors import RelayError

SWEEP_INTERVAL = 0.25
"""Seconds between two checks of the deadlines: a waiter is woken at most this long after its deadline."""

SWEEPS_PER_KEY_CHECK = 20
"""The keys of all waiters are checked every 5 s."""

FEED = ""
"""The topic of the event feed; every other topic is a job's id."""


class Outcome(Enum):
    """Why a waiter was woken."""

    NEWS = "news"
    TIMED_OUT = "timed_out"
    GONE = "gone"
    """The client has disconnected."""
    REVOKED = "revoked"
    """Its API key is revoked, or may no longer read."""
    STOPPING = "stopping"
    """The relay stops."""


_FINAL = frozenset([Outcome.GONE, Outcome.REVOKED, Outcome.STOPPING])
"""Once woken by one of these, a waiter never waits again."""


class TooManyWaiters(RelayError):
    """No waiter is free: `open` are, `limit` may be; of this key, or `of_all` keys."""

    def __init__(self, open: int, limit: int, of_all: bool) -> None:
        scope = "in all" if of_all else "of this key"
        super().__init__(f"{open} requests {scope} wait already, and at most {limit} may")
        self.of_all = of_all


class Waiter:
    """One open wait. Made by `Waiters.open`."""

    __slots__ = ("_bucket", "_future", "_outcome", "_waiters", "key_hash", "last_outcome", "topic", "wakes")

    def __init__(self, waiters: "Waiters", topic: str, key_hash: str) -> None:
        self._waiters, self.topic, self.key_hash = waiters, topic, key_hash
        self._future: asyncio.Future[None] | None = None
        self._outcome: Outcome | None = None
        self._bucket = 0
        self.last_outcome: Outcome | None = None
        """Why it was woken last; None if it never waited."""
        self.wakes = 0
        """The number of the wake that it was last woken by: requests that have the same can share what they read."""

    def resolve(self, outcome: Outcome) -> None:
        """Wakes it, or lets its next `wait` return at once."""
        if self._outcome is None or outcome in _FINAL:
            self._outcome = outcome
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    @property
    def is_waiting(self) -> bool:
        """Whether a request awaits it right now."""
        return self._future is not None

    @property
    def has_news(self) -> bool:
        """Whether it was woken by news since the last `wait`."""
        return self._outcome is Outcome.NEWS

    async def wait(self, deadline: float) -> Outcome:
        """Why it was woken: since it was opened, since the last call, or from now on.

        `deadline` is a time of the event loop's clock.
        """
        loop = asyncio.get_running_loop()
        if self._outcome is None and deadline > loop.time():
            self._future = loop.create_future()
            self._bucket = self._waiters.add_deadline(self, deadline)
            try:
                await self._future
            finally:
                self._future = None
                self._waiters.remove_deadline(self, self._bucket)
        outcome = self.last_outcome = self._outcome or Outcome.TIMED_OUT
        if outcome not in _FINAL:
            self._outcome = None
        self.wakes = self._waiters.wakes
        return outcome


class Waiters:
    """All waiters of one relay."""

    def __init__(self, per_key: int, total: int, may_wait: Callable[[str], Awaitable[bool]]) -> None:
        """`may_wait` says whether the API key with this hash still may; "" stands for a relay without keys."""
        self._per_key, self.total, self._may_wait = per_key, total, may_wait
        self.sweep_interval = SWEEP_INTERVAL
        """Seconds between two checks of the deadlines; it may be set while nobody waits."""
        self._by_topic: defaultdict[str, set[Waiter]] = defaultdict(set)
        self._by_deadline: defaultdict[int, set[Waiter]] = defaultdict(set)
        self._by_key: Counter[str] = Counter()
        self._sweeping: asyncio.Task[None] | None = None
        self._stopped = False
        self.number = 0
        """How many are open."""
        self.wakes = 0
        """How often any topic was woken."""

    def open(self, topic: str, key_hash: str) -> Waiter:
        """A new waiter for the topic, until it is passed to `close`. Raises TooManyWaiters."""
        if (of_key := self._by_key.get(key_hash, 0)) >= self._per_key:  # guard: waiters-of-a-key
            raise TooManyWaiters(of_key, self._per_key, of_all=False)
        if self.number >= self.total:
            raise TooManyWaiters(self.number, self.total, of_all=True)
        waiter = Waiter(self, topic, key_hash)
        if self._stopped:
            waiter.resolve(Outcome.STOPPING)
        self.number += 1
        self._by_key[key_hash] += 1
        self._by_topic[topic].add(waiter)
        return waiter

    def close(self, waiter: Waiter) -> None:
        """The waiter is forgotten."""
        self.number -= 1
        self._by_key[waiter.key_hash] -= 1
        if not self._by_key[waiter.key_hash]:
            del self._by_key[waiter.key_hash]
        self._by_topic[waiter.topic].discard(waiter)
        if not self._by_topic[waiter.topic]:
            del self._by_topic[waiter.topic]

    def wake(self, topic: str) -> None:
        """There is news of the topic."""
        self.wakes += 1
        for waiter in self._by_topic.get(topic, ()):
            waiter.resolve(Outcome.NEWS)

    def stop(self) -> None:
        """Wakes all waiters, and lets nobody wait any more."""
        self._stopped = True
        for waiter in self.all_waiters():
            waiter.resolve(Outcome.STOPPING)

    async def check_keys(self) -> None:
        """Wakes the waiters whose API key may no longer wait. Raises StoreError."""
        for key_hash in list(self._by_key):
            if not await self._may_wait(key_hash):  # guard: revoked-waiters
                for waiter in self.all_waiters():
                    if waiter.key_hash == key_hash:
                        waiter.resolve(Outcome.REVOKED)

    def add_deadline(self, waiter: Waiter, deadline: float) -> int:
        """Has the waiter woken after its deadline. Returns what `remove_deadline` needs."""
        bucket = int(deadline / self.sweep_interval)
        self._by_deadline[bucket].add(waiter)
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep())
        return bucket

    def remove_deadline(self, waiter: Waiter, bucket: int) -> None:
        """The waiter no longer waits."""
        if (waiters := self._by_deadline.get(bucket)) is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._by_deadline[bucket]

    async def _sweep(self) -> None:
        """Wakes each waiter whose deadline has passed, until none waits."""
        loop, sweeps = asyncio.get_running_loop(), 0
        try:
            while self._by_deadline:
                await asyncio.sleep(self.sweep_interval)
                current = int(loop.time() / self.sweep_interval)
                for bucket in [bucket for bucket in self._by_deadline if bucket < current]:
                    for waiter in self._by_deadline[bucket]:
                        waiter.resolve(Outcome.TIMED_OUT)
                sweeps += 1
                if sweeps % SWEEPS_PER_KEY_CHECK == 0:
                    await self._check_keys_if_possible()
        finally:
            self._sweeping = None

    async def _check_keys_if_possible(self) -> None:
        with suppress(RelayError):  # while the store fails, nobody can revoke a key
            await self.check_keys()

    def all_waiters(self) -> list[Waiter]:
        """All waiters."""
        return [waiter for waiters in self._by_topic.values() for waiter in waiters]
