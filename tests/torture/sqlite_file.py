"""SQLite's file in trouble under load: locked by another process, and on a full disk."""

import asyncio
import sqlite3
from pathlib import Path

from tests.torture.disks import fill, make_room, small_disk
from tests.torture.scene import Plan, scene
from tests.torture.verdict import Verdict

_DISK = 48
"""Megabytes."""


async def locked(folder: Path, rounds: int) -> Verdict:
    """Another process locks the file for a moment, or for longer than SQLite waits."""
    file = folder / "relay.db"
    async with scene(folder, Plan(store=f"sqlite:///{file}", rate=20)) as stage:
        for number in range(rounds):
            await asyncio.sleep(stage.rng.uniform(0.5, 1.5))
            held = sqlite3.connect(file, timeout=10, isolation_level=None, check_same_thread=False)
            async with stage.disturbed():
                await asyncio.to_thread(held.execute, "BEGIN EXCLUSIVE")
                await asyncio.sleep((6.5, 2, 0.3)[number % 3])
                held.close()
                await stage.answers()
        return await stage.finish()


async def disk_full(folder: Path, rounds: int) -> Verdict:
    """The disk has no space for rows; every other time the relay is also killed before there is space again."""
    with small_disk(folder / "disk", _DISK) as disk:
        async with scene(folder, Plan(store=f"sqlite:///{disk}/relay.db", rate=20)) as stage:
            for _ in range(rounds):
                await asyncio.sleep(stage.rng.uniform(0.5, 1.5))
                async with stage.disturbed():
                    fill(disk)
                    await asyncio.sleep(stage.rng.uniform(0.5, 3))
                    dies = stage.rng.random() < 0.5
                    if dies:
                        await stage.kill(stage.relays)
                    make_room(disk)
                    if dies:
                        await stage.start(stage.relays)
                    await stage.answers()
            return await stage.finish()
