"""What watches cost that are not due: a tick, the memory of `relay serve`, and how long it takes to start."""

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence

from benchmarks import tick
from benchmarks.speed import serving
from benchmarks.speed.runs import run
from benchmarks.tables import Check, Report, Table

NUMBERS = (1_000, 100_000, 1_000_000)
ROUNDS, STARTS = 21, 3
SETTLED_AFTER = 3
"""Seconds in which the relay ticks before its memory is read."""
TICK, MEMORY = 1.2, 16.0
"""A tick's time with the most watches, of that with the fewest; bytes of memory a watch: less than half of its id."""

Started = Mapping[int, tuple[float, float]]
"""By how many watches: seconds to start, MiB."""


def measure(quick: bool) -> tuple[Sequence[int], tick.Medians, Started]:
    """A store for each number, in turns."""
    numbers = (1_000, 2_000) if quick else NUMBERS
    with tempfile.TemporaryDirectory() as folder:
        urls = {number: f"sqlite:///{folder}/{number}.db" for number in (0, *numbers)}
        filled = [urls[number] for number in numbers]
        medians = run(tick.measure, urls=filled, numbers=numbers, rounds=3 if quick else ROUNDS)
        started: dict[int, list[tuple[float, float]]] = {number: [] for number in urls}
        for _ in range(1 if quick else STARTS):
            for number, url in urls.items():
                settings = {"exec": {"api_key": "exec_live_" + "0" * 40}, "storage": {"url": url}}
                with serving.relay(settings) as server:
                    time.sleep(0 if quick else SETTLED_AFTER)
                    started[number].append((server.started_in, server.memory()))
    middle = {number: tuple(map(statistics.median, zip(*some, strict=True))) for number, some in started.items()}
    return numbers, medians, middle


def report(numbers: Sequence[int], medians: tick.Medians, started: Started) -> Report:
    """What a tick takes, what a process has, and whether either grows."""
    head = ("", *(f"{number:,} watches" for number in started))
    rows = [
        ["`relay serve` is ready after", *(f"{seconds:.2f} s" for seconds, _ in started.values())],
        ["its memory", *(f"{memory:.1f} MiB" for _, memory in started.values())],
        *([tick.WORDS[name], "-", *(f"{value:.2f} ms" for value in some)] for name, some in medians.items()),
    ]
    checks = []
    for name in ("idle", "busy"):
        grown = medians[name][-1] / medians[name][0]
        what = f"{tick.WORDS[name]}: with {numbers[-1]:,} watches, of that with {numbers[0]:,}"
        checks.append(Check(what, f"<= {TICK:g}×", f"{grown:.2f}×", grown <= TICK))
    each = (started[numbers[-1]][1] - started[0][1]) * 2**20 / numbers[-1]
    checks.append(Check("memory of an idle watch", f"<= {MEMORY:g} B", f"{each:.1f} B", each <= MEMORY))
    return Report([Table("Watches that are not due, SQLite", head, rows)], checks, bound="held to")
