"""What a PostgreSQL of our own has spent so far: CPU time, write-ahead log, commits."""

import os
from dataclasses import dataclass
from pathlib import Path

import psycopg

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Spent:
    """Since the server began."""

    cpu: float
    """Seconds, of all its processes."""
    wal: int
    """Bytes."""
    commits: int

    def __sub__(self, before: "Spent") -> "Spent":
        return Spent(self.cpu - before.cpu, self.wal - before.wal, self.commits - before.commits)


def spent(url: str, process: int) -> Spent:
    """What the server with this postmaster has spent; commits are those of the database at `url`."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        asked = """SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), xact_commit FROM pg_stat_database
            WHERE datname = current_database()"""
        [(wal, commits)] = connection.execute(asked).fetchall()
    return Spent(_cpu(process), int(wal), int(commits))


def _cpu(process: int) -> float:
    """Of the postmaster, of its children, and of those that have ended."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(") ")
        except OSError:  # it has just ended
            continue
        fields = rest.split()
        number, parent = int(name.split()[0]), int(fields[1])
        if number == process:
            ticks += sum(map(int, fields[11:15]))
        elif parent == process:
            ticks += sum(map(int, fields[11:13]))
    return ticks / _TICKS
