"""A relay on SQLite moves to two on PostgreSQL under load; `relay import` and the old relay are killed at random
moments."""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

from tests.torture.postgresql import postgresql
from tests.torture.scene import Plan, Scene, scene
from tests.torture.verdict import Verdict

REPLICAS = 2


async def moved(folder: Path, rounds: int) -> Verdict:
    """The import is killed so many times; then it copies everything, the old relay is killed, and the new ones take
    over."""
    before = Plan(store=f"sqlite:///{folder}/relay.db")
    async with postgresql(folder) as database, scene(folder, before) as stage:
        after = replace(before, store=database.url)
        for _ in range(rounds):
            await asyncio.sleep(stage.rng.uniform(0.2, 1))
            importing = await _import(stage, after)
            await asyncio.sleep(stage.rng.uniform(0.5, 3))
            if importing.returncode is None:
                importing.kill()
            await importing.wait()
        importing = await _import(stage, after)
        await _read_until(importing, b"Stop the old relay")
        await stage.answers()
        await stage.kill(stage.relays)
        await _read_until(importing, "✓".encode())
        assert await importing.wait() == 0
        stage.plan = after
        await stage.replace_relays(REPLICAS)
        await stage.answers()
        return await stage.finish()


async def _import(stage: Scene, after: Plan) -> asyncio.subprocess.Process:
    """Starts `relay import`."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *stage.plan.program, "import", "--from", stage.plan.store),
        *("--config", str(stage.folder / "relay-0.yaml")),
        env={**os.environ, "RELAY_STORAGE__URL": after.store, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=stage.folder,
        stdout=asyncio.subprocess.PIPE,
        limit=1_000_000,
    )


async def _read_until(importing: asyncio.subprocess.Process, words: bytes) -> None:
    """Returns when the import has printed this."""
    assert importing.stdout is not None
    async with asyncio.timeout(60):
        while words not in (line := await importing.stdout.readline()):
            assert line, "the import ended before"
