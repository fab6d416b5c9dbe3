"""`python -m tests.torture.slow_disk FILE serve ...`: a relay on a disk whose syncs take FILE's milliseconds longer.

Memory cards, burst disks that are used up, and a backup on the same disk have syncs of seconds.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from relay.model import MINUTE
from relay.process import system_clock
from tests.torture.disk import Kind
from tests.torture.recorded import Recorder
from tests.torture.scene import Plan, Scene, scene
from tests.torture.verdict import Verdict

SYNCS = (600, 1_100, 3_000)
_MORE = 20
"""Deliveries that arrive while the disk is slow."""


class SlowDisk(Recorder):
    """Notes nothing; waits before each sync."""

    def __init__(self, file: Path) -> None:
        super().__init__(Path(os.devnull))
        self._file = file

    def _note(self, kind: Kind, name: str, offset: int = 0, data: bytes = b"") -> None:
        if kind is Kind.SYNCING:
            time.sleep(int(self._file.read_text()) / 1_000)


async def slow_syncs(folder: Path, rounds: int) -> Verdict:
    """Under load syncs take one to three seconds: deliveries are sent all the same, and none is sent twice."""
    file = folder / "sync"
    _set(file, 0)
    plan = Plan(
        store=f"sqlite:///{folder}/relay.db",
        rate=20,
        program=("tests.torture.slow_disk", str(file)),
        sections={"delivery": {"timeout": "10s"}},  # a busy machine is not to pass for a slow receiver
    )
    async with scene(folder, plan) as stage:
        for number in range(rounds):
            await asyncio.sleep(stage.rng.uniform(0.5, 1.5))
            _set(file, SYNCS[number % len(SYNCS)])
            await _deliveries_arrive(stage)
            _set(file, 0)
        return await stage.finish()


async def _deliveries_arrive(stage: Scene) -> None:
    before, until = len(stage.receiver.received), system_clock() + MINUTE
    while len(stage.receiver.received) < before + _MORE:
        assert system_clock() < until, "nothing is delivered while the disk is slow"
        await asyncio.sleep(0.2)


def _set(file: Path, ms: int) -> None:
    ready = file.with_suffix(".new")
    ready.write_text(str(ms))
    ready.replace(file)  # read whole, or as it was


if __name__ == "__main__":
    disk = SlowDisk(Path(sys.argv[1]))  # SQLite has pointers into it: it lives as long as the process
    disk.install()
    from relay.cli import main

    sys.argv = ["relay", *sys.argv[2:]]
    raise SystemExit(main())
