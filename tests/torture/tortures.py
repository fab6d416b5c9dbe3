"""All tortures: each damages relays in one way for so many rounds, and returns the verdict."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.torture import (
    clocks,
    database,
    disks,
    exec_trouble,
    killing,
    moving,
    power,
    races,
    receivers_down,
    recorded,
    restoring,
    slow_disk,
    sqlite_file,
)


class Judged(Protocol):
    """A verdict of whatever kind."""

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""

    def text(self, title: str) -> str:
        """As people read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Torture:
    """`run` takes an empty folder and how often to hurt: `short` in the tests, `long` for `make torture`."""

    name: str
    what: str
    run: Callable[[Path, int], Coroutine[Any, Any, Judged]]
    short: int
    long: int
    needs: Callable[[], str | None] = lambda: None
    """What is missing here, so that it can't be run; None: nothing."""


TORTURES = (
    Torture(
        name="kill-sqlite",
        what="kill -9 at random moments, one relay on SQLite",
        run=killing.on_sqlite,
        short=5,
        long=200,
    ),
    Torture(
        name="kill-postgresql",
        what="kill -9 at random moments, three relays on PostgreSQL",
        run=killing.on_postgresql,
        short=3,
        long=200,
    ),
    Torture(
        name="stalled-postgresql",
        what="SIGSTOP at random moments for up to 16 s, three relays on PostgreSQL",
        run=killing.stalled,
        short=2,
        long=60,
    ),
    Torture(
        name="slow-disk",
        what="syncs of SQLite's file that take 0.6 to 3 s",
        run=slow_disk.slow_syncs,
        short=2,
        long=30,
        needs=recorded.why_not,
    ),
    Torture(
        name="moved",
        what="moved from SQLite to two relays on PostgreSQL under load, the import and the old relay killed",
        run=moving.moved,
        short=2,
        long=30,
    ),
    Torture(
        name="power",
        what="power cut: only what SQLite had synced is sure to be left",
        run=power.cut_rounds,
        short=4,
        long=200,
        needs=recorded.why_not,
    ),
    Torture(
        name="sqlite-locked",
        what="the SQLite file locked by another process, for up to 7 s",
        run=sqlite_file.locked,
        short=2,
        long=30,
    ),
    Torture(
        name="sqlite-disk-full",
        what="the disk of the SQLite file full, half of the times with a kill -9",
        run=sqlite_file.disk_full,
        short=2,
        long=30,
        needs=disks.why_not,
    ),
    Torture(
        name="postgresql-restarted",
        what="PostgreSQL stopped or crashed, and started again, three relays",
        run=database.restarted,
        short=1,
        long=50,
    ),
    Torture(
        name="postgresql-cut-off",
        what="the network to PostgreSQL reset or held up for up to 4 s, three relays",
        run=database.cut_off,
        short=2,
        long=100,
    ),
    Torture(
        name="postgresql-disk-full",
        what="PostgreSQL's disk full, three relays",
        run=database.disk_full,
        short=1,
        long=20,
        needs=disks.why_not,
    ),
    Torture(
        name="exec-trouble",
        what="Exec down for hours, flapping, lying, on a clock moved by hand",
        run=exec_trouble.exec_trouble,
        short=2,
        long=30,
    ),
    Torture(
        name="receivers-down",
        what="receivers away or in trouble for up to 36 hours, and back, on a clock moved by hand",
        run=receivers_down.receivers_down,
        short=1,
        long=20,
    ),
    Torture(
        name="clocks-sqlite",
        what="the clock of the machine set on and back by up to 6 hours, one relay on SQLite",
        run=clocks.on_sqlite,
        short=4,
        long=50,
    ),
    Torture(
        name="clocks-postgresql",
        what="the clocks of the machines set on and back by up to 6 hours, three relays on PostgreSQL",
        run=clocks.on_postgresql,
        short=2,
        long=50,
    ),
    Torture(
        name="clock-at-boot",
        what="killed, and started with a clock that is wrong by up to 26 years and set right seconds later, on SQLite",
        run=clocks.at_boot,
        short=2,
        long=50,
    ),
    Torture(
        name="restored",
        what="backed up, and the backup put in the store's place hours later, on a clock moved by hand",
        run=restoring.restored,
        short=4,
        long=60,
    ),
    Torture(
        name="interleavings",
        what="two use cases on the same rows, in every order of their statements with so many changes over",
        run=races.interleavings,
        short=1,
        long=3,
    ),
    Torture(
        name="operator-races",
        what="two use cases on the same rows, let go at once at two relays on PostgreSQL",
        run=races.operator_races,
        short=1,
        long=300,
    ),
)
