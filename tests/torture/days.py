"""Days in minutes: a whole relay with Exec's published limits, on a clock that the test moves."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from relay.model import DAY, HOUR, MINUTE
from relay.sandbox.exec_server import ExecSettings
from relay.sandbox.job_simulation import JobProfile
from relay.sandbox.local_server import serve
from relay.web.app import create_app
from tests.flows.conftest import World, world_on
from tests.loopback import http_client
from tests.make import SECRET
from tests.torture.load import Load, Settings, listed
from tests.torture.scene import STANDING
from tests.torture.verdict import Evidence, Verdict, judge

EVERY = 15 * MINUTE
"""Between two registrations, in the mean: about a hundred a day."""

_LAW = JobProfile(fail=0.2, cancel=0.1)
_PATIENCE = 2 * MINUTE
_IN_MEMORY = Path("/dev/shm")
"""Where there is one, the store is there: no power is cut here, and to sync a day's writes takes minutes."""


class Days:
    """A world in which jobs are registered now and then."""

    def __init__(self, world: World, http: httpx.AsyncClient, load: Load, rng: random.Random) -> None:
        self.world, self.load, self.rng = world, load, rng
        self._http = http

    async def pass_by(self, ms: int) -> None:
        """Lets so much time pass, while jobs are registered."""
        until = self.world.clock() + ms
        while (left := until - self.world.clock()) > 0:
            await self.world.advance(min(left, round(self.rng.expovariate(1 / EVERY))))
            if self.world.clock() < until:
                await self.load.register(self._http)
                await self.world.settle()

    async def finish(self, within: int = 5 * DAY) -> Verdict:
        """Lets time pass until all are notified, or it is too late."""
        assert self.load.refused == []
        until = self.world.clock() + within
        while self.world.clock() < until and await self.world.next_due() is not None:
            await self.world.advance(HOUR)
        return judge(
            Evidence(
                accepted=self.load.accepted,
                standing=STANDING,
                received=self.world.receiver.received,
                secret=SECRET,
                jobs=self.world.exec.jobs,
                asked=self.world.exec.records.requests,
                shown={one["id"] for one in await listed(self._http, "/v1/registrations")},
                in_vain=self.load.in_vain,
            )
        )


@asynccontextmanager
async def days(receiver: str | None = None, seed: int = 1, **sections: Any) -> AsyncIterator[Days]:
    """Days on a new SQLite file; `receiver` gives the URL of the receiver, if it is not the world's own."""
    settings = {"polling": {"strategy": "adaptive"}, **sections}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))
        sandbox = ExecSettings(profile=_LAW, seed=seed)
        world = await stack.enter_async_context(world_on(f"sqlite:///{folder}/relay.db", sandbox, **settings))
        world.patience = _PATIENCE
        api = await stack.enter_async_context(serve(create_app(world.relay, owns_relay=False)))
        http = await stack.enter_async_context(http_client(base_url=api, trust_env=False, timeout=30))
        there = receiver or world.receiver_url
        for path in STANDING:
            wish = {"name": path.rpartition("/")[2], "url": there + path, "secret": SECRET}
            (await http.post("/v1/endpoints", json=wish)).raise_for_status()
        rng = random.Random(seed)
        load = Load(world.exec, lambda: [api], Settings(receivers=[there], rate=1, law=_LAW), rng)
        yield Days(world, http, load, rng)
