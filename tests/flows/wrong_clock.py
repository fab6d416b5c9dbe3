"""A relay on SQLite whose machine's clock is wrong and set again; the test moves the true time."""

import asyncio
import json
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from relay.model import DAY, HOUR, MINUTE, SECOND
from relay.sandbox.exec_server import ExecSettings
from relay.service import Relay
from relay.store.engine.clock import PATIENCE, MachineClock
from relay.store.tables import clock_shift
from tests.flows.conftest import World, world_on

YEARS = 365 * DAY
SHARE = 8
PER_DAY = 60


@dataclass
class Machine:
    """The machine of a relay: its clock is `wrong` by so many milliseconds."""

    world: World
    wrong: int = 0
    jobs: list[str] = field(default_factory=list)

    async def boot(self, wrong: int, down: int = 3 * SECOND) -> None:
        """Goes down, and boots with its clock wrong by so much."""
        url = self.world.relay.config.storage.url
        await self.world.relay.stop()
        self.world.clock.advance(down)
        self.wrong = wrong
        await self.open(url)

    async def open(self, url: str) -> None:
        clock = MachineClock(self.world.clock, lambda: self.world.clock() + self.wrong)
        self.world.relay = await Relay.open(self.world.config(url, **self.world.sections), clock, seed=1)
        await self.world.relay.timekeeper.begin()

    async def set(self, wrong: int = 0) -> None:
        """The clock is set."""
        self.wrong = wrong
        await self.world.settle()

    async def live(self, ms: int, step: int = SECOND) -> None:
        """So much time passes; after each `step` the relay does what is due."""
        for _ in range(0, ms, step):
            self.world.clock.advance(step)
            await self.world.settle()

    async def job(self, lasts: int) -> str:
        """A job that is registered, and ends after so long."""
        job_id = await self.register(lasts)
        await self.world.settle()
        return job_id

    async def register(self, lasts: int) -> str:
        """As `job`, before the relay's next tick."""
        job = self.world.exec.add(lasts=lasts)
        self.jobs.append(job.id)
        await self.world.prepare(job.id, self.world.receiver_url + "/callback")
        return job.id

    def delivered(self) -> Counter[tuple[str, str]]:
        """The jobs and types that the receiver got, each webhook-id once."""
        found = {one.headers["webhook-id"]: json.loads(one.body) for one in self.world.received()}
        return Counter((one["data"]["job"]["id"], one["type"]) for one in found.values())

    async def check(self) -> None:
        """All endings were delivered and no wrong ones; nothing is planned too late; Exec's limits are kept."""
        now, relay = self.world.clock(), self.world.relay
        assert abs(relay.clock() - now) < SECOND
        for job_id, type in self.delivered():
            assert type == "job.completed", (job_id, type)
        assert {job for job, _ in self.delivered()} == set(self.jobs)
        reach = now + relay.timekeeper.reach
        assert await relay.store.read(lambda tx: clock_shift.too_far(tx, ["default"], reach)) == (0, None)
        polls = sorted(one.at for one in self.world.exec.records.requests if one.call == "poll")
        for span, most in ((MINUTE, SHARE), (DAY, PER_DAY)):
            for at in polls:
                assert sum(at <= other < at + span for other in polls) <= most, (span, at - now)


@contextmanager
def commits_that_fail(relay: Relay, take_effect: bool) -> Iterator[None]:
    """The disk fails at each commit, before or after it took effect: the relay can't know which."""

    def fail(connection: Connection) -> None:
        driver: Any = connection.connection
        driver.cursor().execute("COMMIT" if take_effect else "ROLLBACK")
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))

    writer = relay.store._engine
    event.listen(writer, "commit", fail)
    try:
        yield
    finally:
        event.remove(writer, "commit", fail)


@asynccontextmanager
async def set_while_busy(one: Machine, wrong: int) -> AsyncIterator[asyncio.TaskGroup]:
    """The store is busy: what the body starts waits for it. Then the clock is set, and the shift waits behind that; at
    the end all is done."""
    store, is_busy, goes_on = one.world.relay.store, threading.Event(), threading.Event()

    def keep_busy(_: Connection) -> None:
        is_busy.set()
        goes_on.wait(20)

    async with asyncio.TaskGroup() as waiting:
        waiting.create_task(store.write(keep_busy))
        await asyncio.to_thread(is_busy.wait, 20)
        yield waiting
        one.wrong = wrong
        waiting.create_task(one.world.relay.timekeeper.keep())
        async with asyncio.timeout(20):
            while not store._writer._single:  # the shift waits too
                await asyncio.sleep(0.01)
        goes_on.set()


@asynccontextmanager
async def machine(url: str, **polling: object) -> AsyncIterator[Machine]:
    """A machine whose clock is right, with a small budget at Exec."""
    budget = {"per_minute": SHARE, "per_day": PER_DAY, "share": 1.0}
    sections = {
        "exec": {"budget": budget},
        "polling": {"strategy": "interval", "interval": "10s", **polling},
        "delivery": {"schedule": ["0s", "8s", "8s", "1m", "10h"]},
    }
    async with world_on(url, ExecSettings(seed=1), None, **sections) as world:
        made = Machine(world)
        await world.relay.stop()
        await made.open(url)
        yield made


WRONGS = (-26 * YEARS, -2 * HOUR, -35 * MINUTE, -SECOND, 0, 0, 2 * SECOND, HOUR, 2 * DAY, 3 * YEARS)


async def lived(url: str, seed: int, steps: int) -> Machine:
    """Boots, jumps and corrections at random, then the right clock: all endings are delivered soon."""
    rng = random.Random(seed)
    async with machine(url) as one:
        for _ in range(steps):
            if rng.random() < 0.5:
                await one.boot(rng.choice(WRONGS), rng.choice((SECOND, 30 * SECOND)))
            else:
                await one.set(rng.choice(WRONGS))
            if rng.random() < 0.5:
                await one.job(rng.choice((0, 5, 20)) * SECOND)
            await one.live(rng.choice((1, 3, 8)) * SECOND)
        await one.set()
        await until_told(one)
        await one.live(PATIENCE, step=5 * SECOND)
        await one.check()
        return one


async def until_told(one: Machine, patience: int = 20 * MINUTE) -> None:
    """Waits until all are delivered: polls wait for the budget."""
    for _ in range(0, patience, 5 * SECOND):
        if {job for job, _ in one.delivered()} >= set(one.jobs):
            return
        one.world.clock.advance(5 * SECOND)
        await one.world.settle()
