"""Runs of what is measured: each in a process of its own on one core, what it measures itself against on the other."""

import asyncio
import importlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from benchmarks.speed.cores import OURS, ROOT
from relay.cli.serve import tune_interpreter

Subject = Callable[..., Any]
"""An async function of a module, whose arguments and result are JSON."""


@dataclass(frozen=True)
class Run:
    """What one run took."""

    number: int
    seconds: float
    cpu: float
    """CPU seconds of the process that was measured."""
    busy: float = 0.0
    """The share of its time in which the core of everything else, as far as it was measured, was at work."""

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.number / self.seconds

    @property
    def each(self) -> float:
        """CPU microseconds that one of them took."""
        return 1e6 * self.cpu / self.number


def run(subject: Subject, core: int = OURS, **asked: Any) -> Any:
    """What `subject` gives in a process of its own, on a core of its own."""
    place = f"{subject.__module__}:{subject.__name__}"
    command = [sys.executable, "-m", "benchmarks.speed.runs", place, str(core), json.dumps(asked)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    return json.loads(ended.stdout)


def medians(runs: Iterable[Run]) -> Run:
    """A run made of the medians of some."""
    some = list(runs)
    return Run(*(statistics.median(getattr(one, field.name) for one in some) for field in fields(Run)))


def ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> float:
    """How many times as fast ours was: the median of the rounds, in each of which both were measured."""
    return statistics.median(mine.rate / other.rate for mine, other in zip(ours, theirs, strict=True))


def cpu_ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> float:
    """How many times the CPU time of one of theirs one of ours took: the median of the rounds."""
    return statistics.median(mine.each / other.each for mine, other in zip(ours, theirs, strict=True))


def main(place: str, core: int, asked: dict[str, Any]) -> None:
    """The process of its own."""
    os.sched_setaffinity(0, {core})
    module, _, name = place.partition(":")
    subject = getattr(importlib.import_module(module), name)
    tune_interpreter()  # as `relay serve` does; the bare loops are to have no less
    print(json.dumps(asyncio.run(subject(**asked))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]))
