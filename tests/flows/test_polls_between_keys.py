"""Ids that Exec does not know, in any number, take few polls of jobs that other API keys registered."""

from collections import Counter

import pytest

from relay import registration
from relay.model import HOUR, MINUTE, SECOND
from relay.registration import RegistrationSpec
from tests.flows.conftest import Start, World

DAYS_BUDGET = 800


async def register(world: World, jobs: list[str], owner: str) -> None:
    """Registers a batch with an API key."""
    requests = [RegistrationSpec(job_id=job, owner=owner) for job in jobs]
    checked = [registration.validate(request, world.relay.rules, world.relay.clients) for request in requests]
    timed = [(request, world.clock()) for request in checked]
    await world.relay.store.write(lambda tx: registration.register_batch(tx, timed))


def polls(world: World, prefix: str) -> Counter[str]:
    polled = (request.job_id for request in world.exec.records.requests if request.call == "poll")
    return Counter(str(job_id) for job_id in polled if str(job_id).startswith(prefix))


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize("strategy", ["adaptive", "interval"])
async def test_unknown_ids_of_one_key_delay_no_other_key(start: Start, strategy: str) -> None:
    """One key registers a thousand unknown ids: jobs of another key, known or new, are polled as usual."""
    async with start(polling={"strategy": strategy, "interval": "15m"}) as world:
        known = world.exec.add(job_id="known", lasts=HOUR)
        await register(world, [known.id], "other")
        await world.settle()
        await register(world, [f"wrong{n}" for n in range(1_000)], "attacker")
        new = world.exec.add(job_id="new", lasts=10 * MINUTE)
        await register(world, [new.id], "other")
        await world.settle()
        assert polls(world, "new")["new"] == 1, "in the first round"
        assert sum(polls(world, "wrong").values()) <= 8
        world.patience = 20 * SECOND  # the unknown ids are overdue all the time
        await world.advance(2 * HOUR)
        for job in (known, new):
            watch = await world.watch(job.id)
            assert watch.ended_at is not None
            assert watch.ended_at - (job.ended_at or 0) <= 16 * MINUTE
        world.patience = MINUTE
        await world.advance(4 * HOUR)
        assert sum(polls(world, "wrong").values()) <= DAYS_BUDGET // 8 * 6 // 24 + 3 * 8
        late = world.exec.add(job_id="late", lasts=SECOND)
        world.clock.advance(MINUTE)
        await register(world, [late.id], "other")
        await world.settle()
        assert (await world.watch(late.id)).ended_at == world.clock()


async def test_api_keys_take_turns(start: Start) -> None:
    """Twenty known jobs of one key are due and one of another, with four requests a minute: that one is among the
    first."""
    async with start() as world:
        many = [world.exec.add(job_id=f"many{n}", lasts=HOUR).id for n in range(20)]
        await register(world, many, "many")
        await register(world, [world.exec.add(job_id="one", lasts=HOUR).id], "one")
        await world.settle()
        await world.restart(exec={"budget": {"per_minute": 4, "share": 1.0}})
        before = polls(world, "one")["one"]
        world.clock.advance(2 * MINUTE)
        await world.settle()
        assert sum(polls(world, "many").values()) == 20 + 3
        assert polls(world, "one")["one"] == before + 1
