"""Runs one seed: the plan, the world, the oracle, and a digest of all that happened."""

import asyncio
import gc
import hashlib
import logging
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from relay.telemetry import LOGGER
from tests.simulation import oracle
from tests.simulation.loop import SimulatedLoop, Stuck
from tests.simulation.machine import Workshop
from tests.simulation.plan import Plan
from tests.simulation.world import World

_MOST_STEPS = 100_000
"""Callbacks that a seed may take: several times what any takes, unless a relay does the same again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a seed."""

    plan: Plan
    wrong: list[str]
    digest: str
    """Of everything that receivers, Exec and clients saw: the same for the same plan."""
    history: list[str]
    seconds: float
    """Virtual seconds."""
    receipts: int
    steps: int
    faults: Counter[str]
    """What befell the relays and their requests, by kind."""

    @property
    def names(self) -> set[str]:
        """What is broken, by name."""
        return {one.partition(":")[0] for one in self.wrong}


@contextmanager
def workshop() -> Iterator[Workshop]:
    """A workshop in memory, for many seeds."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=memory if memory.is_dir() else None))
    logging.getLogger(LOGGER).propagate = False
    warnings.simplefilter("ignore", RuntimeWarning)  # what a killed process leaves was never awaited
    try:
        made = Workshop(folder)
        asyncio.run(made.prepare())
        gc.collect()
        gc.freeze()
        yield made
        made.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_LOG, _CLOCK = "log: ", 11
"""How a line of the log begins in the history, and the width of the time before it."""


class _LogLines(logging.Handler):
    """Puts the log into the history; it has no part in the digest."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.note(f"{_LOG}{record.levelname} {record.getMessage()}")


class _Mistakes(logging.Handler):
    """Notes what the relays log with a traceback: an exception that they did not foresee."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and (error := record.exc_info[1]) is not None:
            self._world.loop.mistakes.append(error)


def simulate(plan: Plan, shop: Workshop, verbose: bool = False) -> Outcome:
    """Runs a plan from its first to its last virtual second. `verbose` puts the relays' log into the history."""
    shop.clean()
    loop = SimulatedLoop(f"order {plan.seed}", _MOST_STEPS)
    gc.disable()
    log = logging.getLogger(LOGGER)
    world = World(plan, loop, shop)
    try:
        asyncio.set_event_loop(loop)
        log.setLevel(logging.DEBUG if verbose else logging.ERROR)
        handlers = [_Mistakes(world), *([_LogLines(world)] if verbose else [])]
        for handler in handlers:
            log.addHandler(handler)
        task = loop.world.spawn(world.run())
        try:
            loop.run_until_complete(task)
            wrong = oracle.findings(world)
        except Stuck as error:
            wrong = [f"stuck: {error}"]
        return Outcome(
            plan=plan,
            wrong=wrong,
            digest=_digest(world),
            history=world.history,
            seconds=loop.time(),
            receipts=len(world.receivers.receipts),
            steps=loop.steps,
            faults=world.faults,
        )
    finally:
        for handler in handlers:
            log.removeHandler(handler)
        loop.finish()
        asyncio.set_event_loop(None)
        gc.enable()


def _digest(world: World) -> str:
    seen = hashlib.sha256()
    for receipt in world.receivers.receipts:
        seen.update(f"{receipt.at} {receipt.path} {sorted(receipt.headers.items())} {receipt.answered}".encode())
        seen.update(receipt.body)
    for asked in world.exec.records.requests:
        seen.update(f"{asked.at} {asked.job_id} {asked.status}".encode())
    for line in world.history:
        if not line[_CLOCK:].startswith(_LOG):
            seen.update(line.encode())
    return seen.hexdigest()[:16]
