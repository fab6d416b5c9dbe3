"""Runs of what is measured: each in a process of its own on one core, what it measures itself against on the other.

`python -m benchmarks.speed.runs NAME JSON` is that process: it prints what it took.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed import subjects, whole
from relay.cli.serve import collect_seldom

OURS, THEIRS = 0, 1
"""The core of what is measured, and that of everything else: the receiver, the database's server."""
ROOT = Path(__file__).parents[2]

BARE = {
    "httpx": subjects.httpx_alone,
    "httpx on aiohttp": subjects.httpx_on_aiohttp,
    "aiohttp": subjects.aiohttp_alone,
}
Asked = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """What one run took."""

    number: int
    seconds: float
    cpu: float
    """CPU seconds of the process that was measured."""
    busy: float = 0.0
    """The receiver's share of its core meanwhile."""

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.number / self.seconds


def run(name: str, asked: Asked) -> dict[str, float]:
    """What a process of its own tells."""
    command = [sys.executable, "-m", "benchmarks.speed.runs", name, json.dumps(dict(asked))]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    told: dict[str, float] = json.loads(ended.stdout)
    return told


def medians(runs: Iterable[Run]) -> Run:
    """A run made of the medians of some."""
    some = list(runs)
    middle: Callable[[str], float] = lambda name: statistics.median(getattr(one, name) for one in some)  # noqa: E731
    return Run(some[0].number, middle("seconds"), middle("cpu"), middle("busy"))


async def _measured(name: str, asked: dict[str, Any]) -> dict[str, float]:
    targets = subjects.urls(asked["port"], asked["hosts"])
    number, concurrency = asked["number"], asked["concurrency"]
    if name == "relay":
        with tempfile.TemporaryDirectory(dir=asked.get("folder")) as folder:
            store = asked.get("store") or f"sqlite:///{folder}/relay.db"
            seconds, cpu = await whole.relayed(store, targets, number, concurrency)
    else:
        used = time.process_time()
        seconds = await BARE[name](targets, number, concurrency)
        cpu = time.process_time() - used
    return {"seconds": seconds, "cpu": cpu}


if __name__ == "__main__":
    os.sched_setaffinity(0, {OURS})
    collect_seldom()  # as `relay serve` does; the bare loops are to have no less
    print(json.dumps(asyncio.run(_measured(sys.argv[1], json.loads(sys.argv[2])))))
