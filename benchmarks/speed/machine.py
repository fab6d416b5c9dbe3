"""What the figures come from: the machine, what it runs, and how long its disk takes to be sure."""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from sqlite3 import sqlite_version

from benchmarks.machine import machine
from benchmarks.tables import Report

_NAMED = ("aiohttp", "httpx", "httpx-aiohttp", "sqlalchemy", "psycopg", "starlette", "uvicorn")
_SYNCS = 50


def report(quick: bool) -> Report:
    """The machine, in one sentence."""
    told = [
        machine(),
        f"{', '.join(_versions())}, SQLite {sqlite_version}",
        f"a write of 4 KiB is on the disk after {synced(_SYNCS // (10 if quick else 1)):.1f} ms",
    ]
    return Report([], notes=[f"Measured on {'; '.join(told)}. Load of other programs: {os.getloadavg()[0]:.1f}."])


def synced(number: int) -> float:
    """Milliseconds that a small write takes until it survives a power cut: the median."""
    took = []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(number):
            began = time.perf_counter()
            file.write(b"x" * 4_096)
            file.flush()
            os.fsync(file.fileno())
            took.append(1_000 * (time.perf_counter() - began))
    return statistics.median(took)


def _versions() -> Iterator[str]:
    for name in _NAMED:
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"
