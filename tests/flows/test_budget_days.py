"""The budget in the whole relay: a mass of jobs at once."""

from collections import Counter

from relay.model import HOUR, MINUTE, SECOND
from relay.sandbox.exec import ExecSettings
from tests.flows.conftest import Start


async def test_a_mass_of_jobs_is_heard_of_within_exec_s_limits(start: Start) -> None:
    """A hundred jobs registered at once: no 429, none forgotten, no minute with more than the relay's share of it."""
    async with start(sandbox=ExecSettings(seed=1), polling={"strategy": "adaptive"}) as world:
        jobs = [world.exec.add(queued=3 * SECOND, lasts=(200 + 2 * number) * SECOND) for number in range(100)]
        for job in jobs:
            await world.prepare(job.id, world.receiver_url + "/callback")
        await world.settle()
        await world.advance(HOUR)
        looks = [asked for asked in world.exec.records.asked if asked.call == "look"]
        assert {asked.status for asked in looks} == {200}
        assert {asked.job_id for asked in looks} == {job.id for job in jobs}
        assert len(world.received()) == 100
        assert max(Counter(asked.at // MINUTE for asked in looks).values()) <= 48
        firsts = {asked.job_id: asked.at for asked in reversed(looks)}
        assert max(firsts.values()) - min(firsts.values()) <= 5 * MINUTE
