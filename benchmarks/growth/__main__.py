"""What the relay's work costs by how much is in its store: `python -m benchmarks.growth`.

Stores with 1,000, 100,000 and 1,000,000 ended jobs, ten deliveries of each with their attempts, and as many jobs that
are still watched; the same relay on each, in turns. Medians, and how they grow: costs have to follow what is due or
shown, not what exists. The large stores take tens of gigabytes and an hour; `--jobs 1000,100000` leaves the largest
out. `--write-docs` writes what was found into docs/scaling.md.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.databases import postgresql
from benchmarks.growth import measuring
from benchmarks.growth.filling import EACH, filled
from benchmarks.machine import machine
from benchmarks.tables import Check, Report, Table, rewritten
from benchmarks.tick import timed
from relay.process import system_clock

JOBS = (1_000, 100_000, 1_000_000)
ROUNDS = 15
STARTS = 5
HELD_TO = 3.0
"""How many times longer anything may take in the largest store than in the smallest."""
_SEARCHES = [f"dashboard: search {what}" for what in ("by id", "by name", "without result")]
_FILTERED = ["deliveries, by metadata", "jobs, by metadata"]
BOUNDED = frozenset(["metrics", "pruning 20 jobs", *_SEARCHES, *_FILTERED])
"""What counts or reads so many rows and no more (100,000, 20,000, 5,000), and less where there are fewer; or, as
deleting, finds all rows on the same few pages of the smallest store. Held to the store before the largest."""
OF_A_DAY = frozenset(["dashboard"])
"""What counts all that went out in the last day. The stores are filled evenly, a month of them, so that a day of the
largest has ten times as much: that is what it may grow by."""
NOTHING = 2.0
"""Milliseconds: what grows by less than this is not held against anybody."""

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"

Medians = dict[str, list[float]]
"""By what was done: one for each size."""


def build(url: str, jobs: int, each: int) -> None:
    """A store with so many jobs at `url`."""
    began = time.monotonic()
    asyncio.run(filled(url, jobs, each, system_clock()))
    print(f"{jobs:,} jobs, {jobs * each:,} deliveries: filled in {time.monotonic() - began:.0f} s", flush=True)


async def measure(urls: Sequence[str], rounds: int) -> Medians:
    """Milliseconds, medians of the rounds, the stores in turns."""
    taken: dict[str, list[list[float]]] = {"start and stop": [[] for _ in urls]}
    for _ in range(min(STARTS, rounds)):
        for place, url in enumerate(urls):
            taken["start and stop"][place].append(await timed(lambda url=url: measuring.start(url)))  # type: ignore[misc]
    async with AsyncExitStack() as stack:
        now = system_clock()
        benches = [await stack.enter_async_context(measuring.bench(url, now)) for url in urls]
        for _ in range(rounds + 1):
            for place, one in enumerate(benches):
                for name, work in one.work().items():
                    await one.prepare(name)
                    taken.setdefault(name, [[] for _ in urls])[place].append(await timed(work))
    return {name: [statistics.median(some[1:] or some) for some in columns] for name, columns in taken.items()}


def report(found: Medians, memory: Sequence[float], jobs: Sequence[int], each: int, database: str) -> Report:
    """The medians, how they grow, and which of them more than they may."""
    rows = [["memory, at the most", *_cells(memory, "MiB")]]
    rows += [[name, *_cells(medians, "ms")] for name, medians in found.items()]
    head = (database, *(f"{number:,} jobs, {number * each:,} deliveries" for number in jobs))
    checks = [_check(database, name, medians, jobs) for name, medians in found.items()]
    return Report([Table(f"Cost, {database}, {machine()}", head, rows)], [one for one in checks if not one.passed])


def _cells(values: Sequence[float], unit: str) -> list[str]:
    return [f"{value:.1f} {unit}, {value / values[0]:.1f}×" for value in values]


def _check(database: str, name: str, medians: Sequence[float], jobs: Sequence[int]) -> Check:
    before = -2 if name in BOUNDED | OF_A_DAY and len(jobs) > 2 else 0
    most = jobs[-1] / jobs[before] if name in OF_A_DAY else HELD_TO
    base, last = medians[before], medians[-1]
    holds = last <= base * most or last - base < NOTHING
    return Check(f"{database}: {name}", f"{most:.1f}×", f"{last / base:.1f}×", holds)


def run(urls: Sequence[str], jobs: Sequence[int], each: int, rounds: int, database: str) -> Report:
    """Fills the stores and measures."""
    for url, number in zip(urls, jobs, strict=True):
        build(url, number, each)
    memory = [measuring.memory(url) for url in urls]
    return report(asyncio.run(measure(urls, rounds)), memory, jobs, each, database)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for. Returns how the program ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__.split("\n\n")[0])
    parser.add_argument("--jobs", default=",".join(map(str, JOBS)), help="how many ended jobs, the smallest first")
    parser.add_argument("--each", type=int, default=EACH, help="deliveries of each job")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=("sqlite", "postgresql"), help="one of the databases")
    parser.add_argument("--folder", type=Path, help="where the SQLite files are made; a temporary folder otherwise")
    parser.add_argument("--write-docs", action="store_true", help="write what was found into docs/scaling.md")
    asked = parser.parse_args(arguments)
    jobs = [int(number) for number in asked.jobs.split(",")]
    reports: dict[str, Report] = {}
    if asked.only != "postgresql":
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            urls = [f"sqlite:///{folder}/{number}.db" for number in jobs]
            _found(reports, run(urls, jobs, asked.each, asked.rounds, "SQLite"), "SQLite", asked.write_docs)
    if asked.only != "sqlite":
        with postgresql() as server:
            urls = [server.fresh() for _ in jobs]
            _found(reports, run(urls, jobs, asked.each, asked.rounds, "PostgreSQL"), "PostgreSQL", asked.write_docs)
    return 1 if any(one.checks for one in reports.values()) else 0


def _found(reports: dict[str, Report], one: Report, database: str, write: bool) -> None:
    reports[database] = one
    print(one.text(), flush=True)
    if write:
        PAGE.write_text(rewritten(PAGE.read_text("utf-8"), {f"growth on {database}": one}), "utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
