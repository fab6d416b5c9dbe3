"""The clocks of the relays' machines jump forward and back, by seconds or hours, under load.

By less than a day: who is a whole day ahead takes jobs for a day older than they are, and gives them up
(`polling.max_age`). PostgreSQL's own clock stays right.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

from relay.model import DAY, HOUR, MINUTE, SECOND
from tests.torture.killing import REPLICAS
from tests.torture.postgresql import postgresql
from tests.torture.scene import Plan, Scene, scene
from tests.torture.verdict import Verdict
from tests.torture.wrong_clock import set_clock

JUMPS = (2 * SECOND, 20 * SECOND, 5 * MINUTE, HOUR, 6 * HOUR)


async def on_sqlite(folder: Path, rounds: int) -> Verdict:
    """Tortures one relay on SQLite."""
    return await jumps(folder, Plan(store=f"sqlite:///{folder}/relay.db", rate=20), rounds)


async def on_postgresql(folder: Path, rounds: int) -> Verdict:
    """Tortures three relays on one database, each with its own clock."""
    async with postgresql(folder) as database:
        return await jumps(folder, Plan(store=database.url, replicas=REPLICAS), rounds)


async def jumps(folder: Path, plan: Plan, rounds: int) -> Verdict:
    """Sets one clock forward or back, then another; at the end they stay as they are."""
    clocks = [folder / f"clock-{number}" for number in range(plan.replicas)]
    for file in clocks:
        set_clock(file, 0)
    program = ("tests.torture.wrong_clock", f"{folder}/clock-{{number}}")
    async with scene(folder, replace(plan, program=program)) as stage:
        for _ in range(rounds):
            await asyncio.sleep(stage.rng.uniform(0.5, 2))
            set_clock(stage.rng.choice(clocks), _wrong_by(stage))
            await stage.answers()
        return await stage.finish()


def _wrong_by(stage: Scene) -> int:
    return stage.rng.choice(JUMPS) * stage.rng.choice((1, -1, 0))


AT_BOOT = (-26 * 365 * DAY, -2 * DAY, -2 * HOUR, -35 * MINUTE, 0, 2 * HOUR, 2 * DAY)
"""How wrong a clock is at boot: no battery, local time, the time of the last shutdown, a dead one."""


async def at_boot(folder: Path, rounds: int) -> Verdict:
    """A relay on SQLite is killed and boots with a wrong clock. Some seconds later the clock is corrected in one or two
    steps, or the relay is killed once more before."""
    clock = folder / "clock-0"
    set_clock(clock, 0)
    program = ("tests.torture.wrong_clock", f"{folder}/clock-{{number}}")
    plan = Plan(store=f"sqlite:///{folder}/relay.db", rate=20, program=program)
    async with scene(folder, plan) as stage:
        for _ in range(rounds):
            await asyncio.sleep(stage.rng.uniform(0.5, 2))
            for _ in range(stage.rng.choice((1, 1, 2))):
                await stage.kill(stage.relays)
                set_clock(clock, stage.rng.choice(AT_BOOT))
                await stage.start(stage.relays)
                await asyncio.sleep(stage.rng.uniform(0.5, 3))
            if stage.rng.random() < 0.3:
                set_clock(clock, stage.rng.choice((-HOUR, HOUR)))
                await asyncio.sleep(stage.rng.uniform(0.5, 2))
            set_clock(clock, 0)
            await stage.answers()
        return await stage.finish()
