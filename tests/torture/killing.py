"""kill -9 or SIGSTOP at random moments under load: one relay on SQLite; several on PostgreSQL, one or all at once."""

import asyncio
import signal
from pathlib import Path

from tests.torture.postgresql import postgresql
from tests.torture.scene import Plan, scene
from tests.torture.verdict import Verdict

REPLICAS = 3
_STALLS = (0.3, 4, 16)
"""Seconds that relays stand still: leases last 14."""


async def on_sqlite(folder: Path, rounds: int) -> Verdict:
    """Tortures one relay on SQLite."""
    return await kill_rounds(folder, Plan(store=f"sqlite:///{folder}/relay.db", rate=20), rounds)


async def on_postgresql(folder: Path, rounds: int) -> Verdict:
    """Tortures three relays on one database."""
    async with postgresql(folder) as database:
        return await kill_rounds(folder, Plan(store=database.url, replicas=REPLICAS), rounds)


async def stalled(folder: Path, rounds: int) -> Verdict:
    """SIGSTOP: relays keep leases and row locks, continue after others took over, and record what they began before."""
    async with postgresql(folder) as database, scene(folder, Plan(store=database.url, replicas=REPLICAS)) as stage:
        for number in range(rounds):
            await asyncio.sleep(stage.rng.uniform(0.2, 1.2))
            hurt = stage.rng.sample(stage.relays, stage.rng.randint(1, len(stage.relays) - 1))
            async with stage.disturbed():
                for relay in hurt:
                    relay.send_signal(signal.SIGSTOP)
                await asyncio.sleep(_STALLS[number % len(_STALLS)])
                for relay in hurt:
                    relay.send_signal(signal.SIGCONT)
                await stage.answers()
        return await stage.finish()


async def kill_rounds(folder: Path, plan: Plan, rounds: int) -> Verdict:
    """Kills one relay or more, starts them again, and so on."""
    async with scene(folder, plan) as stage:
        for _ in range(rounds):
            await asyncio.sleep(stage.rng.uniform(0.05, 1.2))
            hurt = stage.rng.sample(stage.relays, stage.rng.randint(1, len(stage.relays)))
            await stage.kill(hurt)
            await stage.start(hurt)
        return await stage.finish()
