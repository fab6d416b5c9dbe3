"""The budget in the whole relay: a mass of jobs at once."""

import random
from collections import Counter
from collections.abc import Callable
from typing import TypeVar, cast

import pytest

from relay.model import HOUR, MINUTE, SECOND
from relay.polling.poller import Poller
from relay.sandbox.exec_server import ExecSettings
from relay.store.engine.database import Store, Tx
from tests.flows.conftest import Start
from tests.flows.statements import counted

T = TypeVar("T")


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize("minute", [5, 58])
async def test_many_jobs_are_notified_within_execs_limits(start: Start, minute: int) -> None:
    """A hundred jobs registered at once, in the middle of an hour and before its end: no 429, none forgotten, no minute
    with more than the relay's share of it."""
    async with start(sandbox=ExecSettings(seed=1), polling={"strategy": "adaptive"}) as world:
        world.clock.at += (minute * MINUTE - world.clock.at) % HOUR
        jobs = [world.exec.add(queued=3 * SECOND, lasts=(200 + 2 * number) * SECOND) for number in range(100)]
        for job in jobs:
            await world.prepare(job.id, world.receiver_url + "/callback")
        await world.settle()
        await world.advance(HOUR)
        polls = [asked for asked in world.exec.records.requests if asked.call == "poll"]
        assert {asked.status for asked in polls} == {200}
        assert {asked.job_id for asked in polls} == {job.id for job in jobs}
        assert len(world.received()) == 100
        assert max(Counter(asked.at // MINUTE for asked in polls).values()) <= 48
        firsts = {asked.job_id: asked.at for asked in reversed(polls)}
        assert max(firsts.values()) - min(firsts.values()) <= 5 * MINUTE


class Counted:
    """A store, and how often it was written to."""

    def __init__(self, store: Store) -> None:
        self._store, self.read, self.writes = store, store.read, 0

    async def write(self, work: Callable[[Tx], T], *, at_end: bool = False) -> T:
        self.writes += 1
        return await self._store.write(work, at_end=at_end)


async def test_a_spent_budget_is_only_read(start: Start) -> None:
    """Registrations that wake the relay often lock and write nothing, and ask only what every tick asks; waiting jobs
    are polled as soon as there is budget."""
    async with start(exec={"budget": {"per_minute": 1, "share": 1.0}}) as world:
        for _ in range(2):
            await world.prepare(world.exec.add(lasts=HOUR).id, world.receiver_url + "/callback")
        await world.settle()
        store, relay = Counted(world.relay.store), world.relay
        parts = (relay.config, relay.clients, world.clock, relay.telemetry, relay.dispatcher.reserve, lambda: None)
        watcher = Poller(cast(Store, store), *parts, random.Random(1))
        with counted(world.relay.store) as found:
            for _ in range(200):
                await watcher.tick()
                world.clock.at += 10
        assert store.writes == 0
        [asked] = [text for text in found if "watches" in text]
        assert found[asked] == 200
        world.clock.at += MINUTE
        await watcher.tick()
        await watcher.idle()
        assert len({asked.job_id for asked in world.exec.records.requests}) == 2
