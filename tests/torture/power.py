"""Power cuts: the relay dies, and when it starts again only the synced part of its SQLite files is certain.

Only SQLite: that its own files survive a power cut is PostgreSQL's business, and its `fsync` is left as it is.
"""

import asyncio
from pathlib import Path

from tests.torture.disk import Done, Kind, survivors, unpack
from tests.torture.scene import Plan, Scene, scene
from tests.torture.verdict import Verdict

LUCK = (0.0, 0.5, 0.9, 1.0)
"""Shares of unsynced sectors that make it, one of them drawn for each cut."""

_STORE = "relay.db"
_JOURNAL = "journal"


class Power:
    """The disk under a scene's relay. `lies`: it says that it synced, did not, and has no luck either."""

    def __init__(self, folder: Path, lies: bool = False) -> None:
        self._folder, self._lies = folder, lies
        self._luck = (0.0,) if lies else LUCK
        self._before: dict[str, bytes] = {}

    async def cut(self, stage: Scene) -> None:
        """Kills the relay, and leaves its files as a power cut would."""
        async with stage.disturbed():
            await stage.relays[0].kill()
        journal = self._folder / _JOURNAL
        done = list(unpack(journal.read_bytes()))
        journal.unlink()
        left = survivors(self._before, self._said(done), stage.rng.choice(self._luck), stage.rng)
        for path in self._folder.glob(f"{_STORE}*"):
            path.unlink()
        for name, data in left.items():
            (self._folder / name).write_bytes(data)
        self._before = left

    def _said(self, done: list[Done]) -> list[Done]:
        return [one for one in done if not (self._lies and one.kind in (Kind.SYNCING, Kind.SYNCED))]


async def cut_rounds(folder: Path, rounds: int, lies: bool = False) -> Verdict:
    """Cuts the power under load, starts the relay on what remains, and so on."""
    program = ("tests.torture.recorded", str(folder / _JOURNAL))
    power = Power(folder, lies)
    async with scene(folder, Plan(store=f"sqlite:///{folder}/{_STORE}", rate=20, program=program)) as stage:
        for _ in range(rounds):
            await asyncio.sleep(stage.rng.uniform(0.05, 1.2))
            await power.cut(stage)
            await stage.start(stage.relays)
        return await stage.finish()
