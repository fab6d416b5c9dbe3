"""A store that is restored from a backup again and again while jobs run at Exec, on a clock that the test moves.

What is told again has the same id and the same body, what is spent of the budget stays spent, and every job that the
backup knows is told.
"""

import random
from dataclasses import replace
from functools import partial
from pathlib import Path

from relay.model import HOUR, MINUTE, SECOND, Actor, Via
from relay.sandbox.exec_server import ExecSettings
from relay.service import Relay
from relay.store.maintenance import backup
from relay.store.maintenance.restore import carry_over
from tests.flows.conftest import World, world_on
from tests.make import SECRET
from tests.torture.verdict import Accepted, Evidence, Verdict, judge


async def restored(folder: Path, rounds: int) -> Verdict:
    """Each round makes a backup, lets minutes or hours pass, and replaces the store by the backup; every third time the
    store is lost."""
    url, rng = f"sqlite:///{folder}/relay.db", random.Random(1)
    accepted: list[Accepted] = []
    async with world_on(url, ExecSettings(seed=1), None, polling={"strategy": "adaptive"}) as world:
        for number in range(rounds):
            known = [*accepted, *[await _registered(world, rng) for _ in range(rng.randint(1, 8))]]
            copy = folder / f"copy-{number}.db"
            backup.back_up(url, copy)
            await world.advance(rng.choice((20 * SECOND, 5 * MINUTE, 3 * HOUR)))
            for _ in range(rng.randint(0, 3)):  # which the backup does not know
                await _registered(world, rng)
            await world.advance(rng.choice((SECOND, MINUTE, HOUR)))
            await _restore(world, copy, folder / f"aside-{number}.db", is_lost=number % 3 == 2)
            accepted = known
        await world.advance(30 * HOUR)
        verdict = judge(
            Evidence(
                accepted=accepted,
                standing=(),
                received=world.receiver.received,
                secret=SECRET,
                jobs=world.exec.jobs,
                asked=world.exec.records.requests,
                shown={one.id for one in accepted},
            )
        )
        # What was told after the backup is told again: with the id and the body that `changed` polls.
        return replace(verdict, duplicates=[])


async def _registered(world: World, rng: random.Random) -> Accepted:
    job = world.exec.add(lasts=rng.choice((0, 30 * SECOND, 10 * MINUTE, 4 * HOUR)))
    path = f"/{job.id}"
    made = await world.register(job.id, path)
    return Accepted(id=made.registration.id, job_id=job.id, path=path)


async def _restore(world: World, copy: Path, aside: Path, *, is_lost: bool) -> None:
    """Stops the relay, replaces its store, and starts it."""
    config = world.relay.config
    minute_limits = {name: limit.minute for name, limit in world.relay.poller.rate_limits.items()}
    await world.relay.stop()
    if is_lost:
        Path(config.storage.url.removeprefix("sqlite:///")).unlink()
        world.clock.advance(24 * HOUR)  # what was spent of the day since the backup is not known
    prepare = partial(carry_over, minute_limits=minute_limits, now=world.clock())
    said = backup.restore(config.storage.url, copy, aside, prepare)
    assert said.carried_over is not is_lost
    world.relay = await Relay.open(config, world.clock, seed=1)
    await world.settle()
    await world.relay.sending.resume(Actor(via=Via.COMMAND), world.clock())
    await world.settle()
