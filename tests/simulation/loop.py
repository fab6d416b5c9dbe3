"""An event loop with virtual time and several simulated processes, whose every choice comes from one seed.

Time stands still while anything is ready, then jumps to the next due instant. Callbacks belong to the process whose
context they run in. Within a process they keep asyncio's order; between processes the seed chooses. A process can be
stopped as by SIGSTOP, or killed: then nothing of it runs any more, not even its `finally` blocks.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_PROCESS: ContextVar["Process | None"] = ContextVar("process", default=None)


_HOPS = (0.0001, 0.0005, 0.002, 0.02)
"""Seconds until a thread begins, or is heard of."""

_MISTAKES = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, TypeError)


def pick(rng: random.Random, values: Sequence[T]) -> T:
    """One of the values, as `rng.choice`, at a third of its cost: thousands of delays are drawn in a seed."""
    return values[int(rng.random() * len(values))]


class Killed(BaseException):
    """Raised inside the work of a process at the moment it is killed; nothing may catch it."""


class Stuck(Exception):
    """The simulation can't go on: nothing is ready and nothing is due, or there is no end of it."""


class Process:
    """One simulated process: its callbacks, and whether it runs."""

    def __init__(self, loop: "SimulatedLoop", name: str) -> None:
        self.name, self.is_alive, self.is_stopped = name, True, False
        self.ready: deque[asyncio.Handle] = deque()
        self.context: Context = copy_context()
        self.context.run(_PROCESS.set, self)
        self.steps_left: int | None = None
        """After so many callbacks it is killed; None: never."""
        self._loop = loop
        self._tasks: set[asyncio.Task[Any]] = set()
        self.ended = loop.create_future()
        """Done once it is killed; of the world."""

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Runs `work` as a task of this process."""
        task = self._loop.create_task(work, context=self.context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def kill(self) -> None:
        """kill -9."""
        self.is_alive = False
        self.ready.clear()
        self._loop.runnable.discard(self)
        if not self.ended.done():
            self.ended.set_result(None)

    def stop(self) -> None:
        """SIGSTOP: its timers run out, and nothing of it runs."""
        self.is_stopped = True
        self._loop.runnable.discard(self)

    def resume(self) -> None:
        """SIGCONT."""
        self.is_stopped = False
        self._loop.mark(self)


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop. `time` is virtual seconds since its start."""

    def __init__(self, seed: str, most_steps: int | None = None) -> None:
        """It raises Stuck after so many callbacks."""
        super().__init__()
        self._most_steps = most_steps
        self.rng = random.Random(seed)
        self.world = Process(self, "world")
        self.runnable: set[Process] = set()
        self.steps = 0
        self._order: dict[Process, int] = {self.world: 0}
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Process]] = []
        self._number = 0
        self._pending: dict[asyncio.Task[Any], Any] = {}
        self.mistakes: list[BaseException] = []
        """Exceptions of tasks that no fault of the world explains, but a mistake in a program."""
        self._stopping = False
        self.set_task_factory(self._make_task)
        self.set_exception_handler(lambda _loop, _context: None)

    def process(self, name: str) -> Process:
        """A new process."""
        made = Process(self, name)
        self._order[made] = len(self._order)
        return made

    def time(self) -> float:
        return self._now

    def mark(self, process: Process) -> None:
        """Lets a process run if it has something to do."""
        if process.ready and process.is_alive and not process.is_stopped:
            self.runnable.add(process)

    # --- what asyncio asks of a loop -------------------------------------------------------------------------------

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(handle, self._process_of(context))
        return handle

    call_soon_threadsafe = call_soon

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, handle, self._process_of(context)))
        return handle

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Runs `func` at a later instant and gives its result at a still later one, as a thread would."""
        future: asyncio.Future[T] = self.create_future()

        def run() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:
                self.call_later(self.hop(), _set_error, future, error)
            else:
                self.call_later(self.hop(), _set_result, future, result)

        self.call_later(self.hop(), run)
        return future

    def hop(self) -> float:
        """Seconds until a thread begins, or is heard of: mostly microseconds."""
        return pick(self.rng, _HOPS)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Its place in the heap stays until it is due."""

    def _make_task(
        self, _loop: asyncio.AbstractEventLoop, work: Any, context: Context | None = None, **_: Any
    ) -> asyncio.Task[Any]:
        # All are held until the end: what is left of a killed process must not run when it is collected.
        task: asyncio.Task[Any] = asyncio.Task(work, loop=self, context=context)
        self._pending[task] = work
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._pending.pop(task)
        if not task.cancelled() and isinstance(error := task.exception(), _MISTAKES):
            self.mistakes.append(error)

    def _process_of(self, context: Context | None) -> Process:
        return (_PROCESS.get() if context is None else context.get(_PROCESS)) or self.world

    def _enqueue(self, handle: asyncio.Handle, process: Process) -> None:
        if process.is_alive:
            process.ready.append(handle)
            if not process.is_stopped:
                self.runnable.add(process)

    def _run_once(self) -> None:
        """Runs one callback after the other, until the loop is to stop."""
        timers, runnable = self._timers, self.runnable
        while not self._stopping:
            while timers and (timers[0][0] <= self._now or timers[0][2]._cancelled):
                _, _, due, owner = heapq.heappop(timers)
                if not due._cancelled:
                    self._enqueue(due, owner)
            if runnable:
                self._step(self._choose())
            elif timers:
                self._now = timers[0][0]
            else:
                raise Stuck("nothing is ready and nothing is due")

    def _step(self, process: Process) -> None:
        handle: Any = process.ready.popleft()  # `_run` of asyncio's would call it through two more functions
        if not process.ready:
            self.runnable.discard(process)
        if handle._cancelled:
            return
        self.steps += 1
        if self.steps == self._most_steps:
            raise Stuck(f"no end after {self.steps:,} steps")
        try:
            handle._context.run(handle._callback, *handle._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except Killed:
            process.kill()
        except BaseException:  # noqa: S110 (a loop reports it, and this one has nobody to report to)
            pass
        if process.steps_left is not None:
            process.steps_left -= 1
            if process.steps_left <= 0:
                process.kill()

    def _choose(self) -> Process:
        if len(self.runnable) == 1:
            (process,) = self.runnable
            return process
        return self.rng.choice(sorted(self.runnable, key=self._order.__getitem__))

    def _process_events(self, _events: Any) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """There are no threads."""

    def finish(self) -> None:
        """Closes the loop and everything that is left of its processes."""
        for process in self._order:
            process.kill()
        for task, work in list(self._pending.items()):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with suppress(BaseException):
                work.close()
        self._pending.clear()
        self._timers.clear()
        self.close()


class SimulatedThreads(Executor):
    """An executor of a simulated process: what is submitted runs in the loop, `delay()` seconds later."""

    def __init__(self, loop: SimulatedLoop, delay: Callable[[], float]) -> None:
        self._loop, self._delay = loop, delay
        self._future: Future[Any] = Future()
        """Of all that is submitted: nobody asks for it, and a new one costs two locks."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **_: Any) -> Future[T]:
        self._loop.call_later(self._delay(), fn, *args)
        return self._future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing waits in it at the end of a process that is stopped."""


def _set_result(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _set_error(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
