"""What several relays cost one PostgreSQL, and what it could carry: `python -m benchmarks.scaling`.

One, two and three relays, each a process, on one PostgreSQL with its own settings: jobs are registered; then each is
polled, found completed, and delivered to its callback URL. Counted is what the server spends for one: CPU time, log and
commits. Of a machine on which everything shares two cores, these say more than a rate does: what they lead to on
another is reckoned, and said to be so. `--write-docs` writes what was found into docs/scaling.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.databases import Server, postgresql
from benchmarks.machine import machine
from benchmarks.scaling.costs import Spent, spent
from benchmarks.speed.receiver import Receiver
from benchmarks.tables import Report, Table, rewritten

RELAYS = (1, 2, 3)
JOBS = 6_000
PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
CORES = 8
"""Of the PostgreSQL that is reckoned with, of which half are used for relays."""
POLLS = 3
"""Of one job, planned by what was learned (docs/polling.md)."""
A_DAY = 1_000
"""Polls that Exec allows a workspace."""


@dataclass(frozen=True)
class Cost:
    """Of one job in one phase."""

    seconds: float
    """Of all of them together, by the clock on the wall."""
    relays: float
    """CPU milliseconds of the relays."""
    server: float
    """CPU milliseconds of PostgreSQL."""
    wal: float
    """Bytes of log."""
    commits: float


class Workers:
    """Relays, each a process."""

    def __init__(self, store: str, port: int, number: int, jobs: int) -> None:
        self._running = []
        for place in range(number):
            asked = {"store": store, "port": port, "place": place, "number": jobs // number}
            command = [sys.executable, "-m", "benchmarks.scaling.worker", json.dumps(asked)]
            self._running.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
            )

    def heard(self) -> float:
        """CPU seconds of all of them, once each has said so."""
        return sum(float(json.loads(one.stdout.readline())["cpu"]) for one in self._running if one.stdout)

    def go_on(self) -> None:
        for one in self._running:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()

    def end(self) -> None:
        for one in self._running:
            one.communicate(timeout=30)


def measure(server: Server, port: int, relays: int, jobs: int) -> tuple[Cost, Cost]:
    """What a registration costs, and what polling once and telling costs."""
    store = server.fresh()
    workers = Workers(store, port, relays, jobs)
    marks: list[tuple[float, float, Spent]] = []

    def mark(cpu: float) -> None:
        marks.append((time.monotonic(), cpu, spent(store, server.process)))

    mark(workers.heard())
    workers.go_on()
    mark(workers.heard())
    workers.go_on()
    _wait_until_done(store)
    marks.append((time.monotonic(), 0.0, spent(store, server.process)))
    workers.go_on()
    began, cpu, before = marks[1]
    ended, _, after = marks[2]
    used = workers.heard() - cpu
    workers.end()
    first = _cost(marks[1][0] - marks[0][0], marks[1][1] - marks[0][1], marks[1][2] - marks[0][2], jobs)
    return first, _cost(ended - began, used, after - before, jobs)


def _cost(seconds: float, cpu: float, used: Spent, jobs: int) -> Cost:
    return Cost(seconds, 1_000 * cpu / jobs, 1_000 * used.cpu / jobs, used.wal / jobs, used.commits / jobs)


def _wait_until_done(store: str) -> None:
    left = """SELECT (SELECT count(*) FROM watches WHERE next_poll_at IS NOT NULL)
        + (SELECT count(*) FROM deliveries WHERE next_attempt_at IS NOT NULL)"""
    with psycopg.connect(store, autocommit=True) as connection:
        while connection.execute(left).fetchone() != (0,):
            time.sleep(0.5)


def report(found: dict[int, tuple[Cost, Cost]], jobs: int) -> Report:
    """What was counted, and what it leads to."""
    rows = []
    for relays, (registered, delivered) in found.items():
        for what, cost in (("registered", registered), ("polled at once, and delivered", delivered)):
            counted = (
                f"{cost.server:.2f} ms",
                f"{cost.wal / 1_000:.1f} kB",
                f"{cost.commits:.2f}",
                f"{cost.relays:.2f} ms",
            )
            rows.append([f"{relays}: {what}", *counted, f"{jobs / cost.seconds:,.0f} a second"])
    head = ("relays, and what is done with a job", "PostgreSQL's CPU", "its log", "commits", "relays' CPU", "here")
    return Report([Table(f"What one job costs, {machine()}", head, rows), _reckoned(found)])


def _reckoned(found: dict[int, tuple[Cost, Cost]]) -> Table:
    registered, delivered = found[max(found)]
    # A poll that sees no end costs less than one that does, with its event and its delivery: reckoned as if it did not.
    server, relays = (getattr(registered, name) + POLLS * getattr(delivered, name) for name in ("server", "relays"))
    wal = registered.wal + POLLS * delivered.wal
    jobs = CORES / 2 * 1_000 / server
    a_workspace = A_DAY / POLLS / 86_400
    rows = [
        ["CPU of PostgreSQL for the life of a job", f"{server:.1f} ms"],
        [f"jobs a second on half of {CORES} cores", f"{jobs:,.0f}"],
        ["relays for that, each with a core", f"{jobs * relays / 1_000:,.0f}"],
        ["log that the disk has to take", f"{jobs * wal / 1_000_000:,.1f} MB a second"],
        [f"workspaces that use up Exec's {A_DAY:,} polls a day", f"{jobs / a_workspace:,.0f}"],
    ]
    return Table(f"Extrapolation: a job of {POLLS} polls, each as expensive as the last", ("what", "how much"), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.split("\n\n")[0])
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--write-docs", action="store_true", help="write what was found into docs/scaling.md")
    asked = parser.parse_args(arguments)
    found: dict[int, tuple[Cost, Cost]] = {}
    cores: Any = os.sched_getaffinity(0)
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver(max(cores)))
        server = stack.enter_context(postgresql(max(cores)))
        for relays in RELAYS:
            found[relays] = measure(server, receiver.port, relays, asked.jobs)
    costs = report(found, asked.jobs)
    print(costs.text())
    if asked.write_docs:
        PAGE.write_text(rewritten(PAGE.read_text("utf-8"), {"costs": costs}), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
