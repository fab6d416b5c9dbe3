"""PostgreSQL in trouble under load: crashed and restarted, disconnected from its relays, out of disk."""

import asyncio
from pathlib import Path

from relay.model import MINUTE
from tests.torture.disks import fill, make_room, small_disk
from tests.torture.killing import REPLICAS
from tests.torture.postgresql import PostgreSQL, postgresql, url_at
from tests.torture.proxy import Proxy, proxy
from tests.torture.scene import Plan, Scene, scene
from tests.torture.verdict import Verdict

_DISK = 160
"""Megabytes: a new PostgreSQL takes about half of that."""
_ROOM = ("-c", "min_wal_size=32MB", "-c", "max_wal_size=32MB")
_OUT = 3 * MINUTE


async def restarted(folder: Path, rounds: int) -> Verdict:
    """PostgreSQL stops, cleanly or by a crash, and starts again a moment later."""
    async with postgresql(folder) as database, scene(folder, _plan(database.url)) as stage:
        for _ in range(rounds):
            await _calm(stage)
            async with stage.disturbed():
                await database.stop(stage.rng.choice(("fast", "immediate")))
                await asyncio.sleep(stage.rng.uniform(0, 2))
                await database.start()
                await stage.answers()
        return await stage.finish(_OUT)


async def cut_off(folder: Path, rounds: int) -> Verdict:
    """The network between relays and database fails: connections are reset, or nothing passes for a while."""
    async with (
        postgresql(folder) as database,
        proxy(database.port) as line,
        scene(folder, _plan(url_at(line.port))) as stage,
    ):
        for _ in range(rounds):
            await _calm(stage)
            async with stage.disturbed():
                await _cut(line, stage)
                await stage.answers()
        return await stage.finish(_OUT)


async def _cut(line: Proxy, stage: Scene) -> None:
    """Cuts for a moment or longer; what was held up arrives late, or is lost with its connection."""
    resets_first, resets_last = stage.rng.random() < 0.5, stage.rng.random() < 0.5
    if resets_first:
        await line.break_off()
    else:
        line.hold_up()
    await asyncio.sleep(stage.rng.uniform(0.1, 4))
    if resets_last:
        await line.break_off()
    await line.mend()


async def disk_full(folder: Path, rounds: int) -> Verdict:
    """The disk has no space for rows or for the log; then it has space again, and the database restarts if it
    gave up."""
    with small_disk(folder / "disk", _DISK) as disk:
        async with postgresql(disk, *_ROOM) as database, scene(folder, _plan(database.url)) as stage:
            for _ in range(rounds):
                await _calm(stage)
                async with stage.disturbed():
                    fill(disk)
                    await asyncio.sleep(stage.rng.uniform(2, 5))
                    make_room(disk)
                    await _start_again(database)
                    await stage.answers()
            return await stage.finish(_OUT)


async def _start_again(database: PostgreSQL) -> None:
    if not await asyncio.to_thread(database.is_up):
        await database.start()


def _plan(url: str) -> Plan:
    return Plan(store=url, replicas=REPLICAS)


async def _calm(stage: Scene) -> None:
    await asyncio.sleep(stage.rng.uniform(0.5, 2))
