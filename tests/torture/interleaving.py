"""Two transactions on a real PostgreSQL, their statements interleaved in every order.

Each side works on a thread and a connection of its own, and stops before each statement and before its commit until it
may go on. Where one waits for a lock of the other, the other goes on.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

import psycopg
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from relay.errors import RelayError
from relay.security import FieldCipher
from relay.store.engine import dialect
from relay.store.engine.database import Tx

T = TypeVar("T")
Work = Callable[["Side"], object]
"""A use case: calls `write` of its side once for each of its transactions."""

_PATIENCE = 20.0
_GLANCE = 0.002
_TRIES = 5


class Side:
    """One of the two: its connection, and the gate at which it stops."""

    def __init__(self, url: str, number: int) -> None:
        self._engine = dialect.engine(dialect.parse(url), writer=True, connections=1, relay_cipher=FieldCipher())
        self._number = number
        self._may = threading.Semaphore(0)
        self._stops: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._jobs: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._gated = False
        self.state = "ended"
        self.steps: list[str] = []
        self.deadlocks = 0
        self.outcome: object = None
        with self._engine.begin() as tx:
            self.pid: int = tx.execute(text("SELECT pg_backend_pid()")).scalar_one()
            tx.execute(text("SET deadlock_timeout = '50ms'"))
        event.listen(self._engine, "before_cursor_execute", self._before)
        self._thread = threading.Thread(target=self._run, name=f"side {number}", daemon=True)
        self._thread.start()

    def write(self, work: Callable[[Tx], T]) -> T:
        """Runs `work` in a transaction, and again if PostgreSQL ended it because of a deadlock, as the writer does."""
        for _ in range(_TRIES):
            try:
                with self._engine.begin() as tx:
                    done = work(tx)
                    self._gate("commit")
                return done
            except DBAPIError as error:
                if not dialect.is_retryable(error):
                    raise
                self.deadlocks += 1
        raise AssertionError("five deadlocks in a row")

    def begin(self, work: Work) -> None:
        """Starts a use case; it stops before its first statement."""
        self.steps, self.deadlocks, self.outcome, self.state = [], 0, None, "running"
        self._jobs.put(work)

    def go(self) -> None:
        """Lets it continue to its next stop."""
        self.state = "running"
        self._may.release()

    def has_stopped(self) -> bool:
        """Whether it waits at its gate or has ended; records either."""
        if self.state == "running":
            try:
                self.state = self._stops.get(timeout=_GLANCE)
            except queue.Empty:
                return False
        return True

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join(_PATIENCE)
        self._engine.dispose()

    def _run(self) -> None:
        while (work := self._jobs.get()) is not None:
            self._gated = True
            try:
                self.outcome = work(self)
            except RelayError as refused:
                self.outcome = refused
            except Exception as error:
                self.outcome = error
            self._gated = False
            self._stops.put("ended")

    def _before(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self._gate(" ".join(statement.split()))

    def _gate(self, step: str) -> None:
        if self._gated:
            self.steps.append(step)
            self._stops.put("stopped")
            self._may.acquire()


@dataclass(frozen=True, slots=True)
class Ran:
    """One order as it went."""

    order: str
    """Which side made each step, as `1121`."""
    outcomes: tuple[object, object]
    deadlocks: int
    choices: tuple[int, ...]
    """At each step at which both could go on, which one did."""


@dataclass(slots=True)
class Pair:
    """Two sides and whoever watches their locks."""

    url: str
    sides: tuple[Side, Side] = field(init=False)
    _watching: Any = field(init=False)

    def __post_init__(self) -> None:
        self.sides = Side(self.url, 1), Side(self.url, 2)
        self._watching = psycopg.connect(self.url, autocommit=True)

    def close(self) -> None:
        for side in self.sides:
            side.close()
        self._watching.close()

    def orders(self, works: Callable[[], tuple[Work, Work]], switches: int) -> Iterator[Ran]:
        """Runs two use cases in every order with at most `switches` changes between them before one ends or waits.
        `works` prepares the store and returns the two, again for each order."""
        todo: list[tuple[int, ...]] = [(1,), (0,)]
        while todo:
            planned = todo.pop()
            ran = self._run(works(), planned)
            yield ran
            for place in range(len(planned), len(ran.choices)):
                onward = (*ran.choices[:place], 1 - ran.choices[place])
                if _changes(onward) <= switches:
                    todo.append(onward)

    def _run(self, works: tuple[Work, Work], planned: tuple[int, ...]) -> Ran:
        order, choices, at = "", list[int](), 0
        for side, work in zip(self.sides, works, strict=True):
            side.begin(work)
        self._settle()
        while any(side.state != "ended" for side in self.sides):
            ready = [number for number, side in enumerate(self.sides) if side.state == "stopped"]
            if len(ready) == 2:
                at = planned[len(choices)] if len(choices) < len(planned) else at
                choices.append(at)
            else:
                at = ready[0]
            order += str(at + 1)
            self.sides[at].go()
            self._settle()
        outcomes = (self.sides[0].outcome, self.sides[1].outcome)
        return Ran(order, outcomes, sum(side.deadlocks for side in self.sides), tuple(choices))

    def _settle(self) -> None:
        """Returns when each side waits at its gate, has ended, or waits for a lock of the other, which does
        not wait."""
        until = time.monotonic() + _PATIENCE
        while sum(side.has_stopped() for side in self.sides) < len(self.sides):
            running = [side for side in self.sides if side.state == "running"]
            if len(running) == 1 and any(side.state == "stopped" for side in self.sides) and self._waits(running[0]):
                return
            assert time.monotonic() < until, [side.steps[-1:] for side in self.sides]

    def _waits(self, side: Side) -> bool:
        asked = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = %s AND NOT granted)"
        return bool(self._watching.execute(asked, (side.pid,)).fetchone()[0])


def _changes(choices: tuple[int, ...]) -> int:
    return sum(one != other for one, other in pairwise(choices))
