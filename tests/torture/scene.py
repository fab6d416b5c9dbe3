"""The scene of every torture with real processes: the stand-in for Exec, a receiver, relays under load, and the
verdict."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from relay.model import MINUTE, SECOND
from relay.process import system_clock
from relay.sandbox.exec_server import BASE, SANDBOX_KEY, ExecSettings, FakeExec
from relay.sandbox.local_server import serve
from relay.sandbox.rate_limits import Limits
from relay.sandbox.receiver import Receiver, Respond
from tests.e2e.conftest import API_KEY, Served, free_port
from tests.loopback import http_client
from tests.make import SECRET
from tests.torture.load import BEARER, Load, Settings, listed
from tests.torture.verdict import Disturbance, Evidence, Verdict, judge

STANDING = ("/standing/all", "/standing/archive")
SLOW = {"/standing/archive": 60, "/shared/0": 30, "/shared/1": 250}
"""Milliseconds that some receivers take to answer: so that there is something in flight at any moment."""

_RECEIVERS = 2
_GLANCE = 0.2
_ANSWERS_WITHIN = MINUTE
_SETTLES = 1 * SECOND
"""How long after a kill the receiver may still be reading what was sent before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be set up. `rate`: registrations a second; `per_minute`: what Exec allows, and the relays may use."""

    store: str
    """`storage.url`."""
    replicas: int = 1
    rate: float = 8
    per_minute: int = 1_500
    seed: int = 1
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Changes of the configuration."""
    program: tuple[str, ...] = ("relay",)
    """The module that is run, and what comes before the verb; `{number}` is the relay's."""


class Scene:
    """Everything around the relays. What is done to them is noted with `disturbed`."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self.rng = random.Random(f"hurts {plan.seed}")
        limits = Limits(per_minute=plan.per_minute, per_day=None, creates_per_minute=None)
        self.exec = FakeExec(ExecSettings(limits=limits, seed=plan.seed, keep=2_000_000), system_clock)
        self.receiver = Receiver(SECRET, system_clock, keep=2_000_000)
        for path, delay in SLOW.items():
            self.receiver.always(Respond(delay=delay), path)
        self.relays: list[Served] = []
        self.exec_url, self.receivers = "", list[str]()
        self.disturbances: list[Disturbance] = []
        self.load: Load

    @asynccontextmanager
    async def disturbed(self) -> AsyncIterator[None]:
        """Within this block relays are damaged: an attempt in flight may be repeated."""
        begins = system_clock()
        try:
            yield
        finally:
            self.disturbances.append(Disturbance(begins, system_clock() + _SETTLES))

    async def kill(self, relays: Sequence[Served]) -> None:
        """kill -9 of all at once."""
        async with self.disturbed():
            await asyncio.gather(*(relay.kill() for relay in relays))

    async def start(self, relays: Sequence[Served]) -> None:
        """Starts relays, and waits until each is ready."""
        await asyncio.gather(*(relay.start() for relay in relays))

    async def replace_relays(self, number: int) -> None:
        """Replaces the relays by those that are planned now: they get the load from now on."""
        self.relays = [self.config(one) for one in range(number)]
        await self.start(self.relays)

    async def answers(self) -> None:
        """Waits until registrations are accepted again; until then the relays count as damaged."""
        before, until = len(self.load.accepted), system_clock() + _ANSWERS_WITHIN
        while len(self.load.accepted) == before:
            assert system_clock() < until, f"no registration is taken any more: {self.load.in_vain}"
            await asyncio.sleep(_GLANCE)

    async def finish(self, within: int = 3 * MINUTE) -> Verdict:
        """Registers no more. When all are notified, or it is too late, stops the relays and returns the verdict."""
        await self.load.stop()
        assert self.load.refused == []
        shown = await self._calm(within)
        codes = await asyncio.gather(*(relay.stop() for relay in self.relays))
        assert set(codes) == {0}, codes
        return self.verdict(shown)

    def verdict(self, shown: set[str]) -> Verdict:
        """The verdict so far."""
        return judge(
            Evidence(
                accepted=self.load.accepted,
                standing=STANDING,
                received=self.receiver.received,
                secret=SECRET,
                jobs=self.exec.jobs,
                asked=self.exec.records.requests,
                shown=shown,
                disturbances=self.disturbances,
                in_vain=self.load.in_vain,
            )
        )

    async def _calm(self, within: int) -> set[str]:
        """Waits until no job is watched and no delivery is pending; returns the registrations that are listed."""
        base = self.relays[0].url
        async with http_client(base_url=base, headers=BEARER, trust_env=False, timeout=30) as http:
            until = system_clock() + within
            while system_clock() < until and await _at_work(http):
                await asyncio.sleep(_GLANCE)
            return {one["id"] for one in await listed(http, "/v1/registrations")}

    def config(self, number: int) -> Served:
        """The configuration of one replica, and the process that runs it."""
        port = free_port()
        given: dict[str, dict[str, Any]] = {
            "exec": {"api_key": SANDBOX_KEY, "base_url": self.exec_url + BASE, "timeout": "2s"},
            "polling": {"strategy": "interval", "interval": "300ms", "tick": "100ms"},
            "delivery": {"timeout": "2s", "schedule": ["0s"] + ["500ms"] * 30},
            "storage": {"url": self.plan.store},
            "security": {"api_keys": [API_KEY], "allow_http": True, "allow_networks": ["127.0.0.0/8"]},
            "server": {"port": port},
        }
        given["exec"]["budget"] = {"per_minute": self.plan.per_minute, "per_day": 10_000_000, "share": 1.0}
        merged: dict[str, Any] = {name: values | self.plan.sections.get(name, {}) for name, values in given.items()}
        merged["endpoints"] = [
            {"name": path.rpartition("/")[2], "url": self.receivers[0] + path, "secret": SECRET} for path in STANDING
        ]
        path = self.folder / f"relay-{number}.yaml"
        path.write_text(yaml.safe_dump(merged))
        return Served(path, port, [word.format(number=number) for word in self.plan.program])


async def _at_work(http: httpx.AsyncClient) -> bool:
    try:
        for path, query in (("/v1/jobs", {"state": "active"}), ("/v1/deliveries", {"status": "pending"})):
            if (await http.get(path, params={"limit": 1, **query})).raise_for_status().json()["data"]:
                return True
    except httpx.HTTPError:
        return True
    return False


@asynccontextmanager
async def scene(folder: Path, plan: Plan) -> AsyncIterator[Scene]:
    """A scene with ready relays and running load; the end kills whatever still runs."""
    made = Scene(folder, plan)
    async with AsyncExitStack() as stack:
        made.exec_url = await stack.enter_async_context(serve(made.exec.app))
        made.receivers = [await stack.enter_async_context(serve(made.receiver.app)) for _ in range(_RECEIVERS)]
        stack.push_async_callback(lambda: asyncio.gather(*(relay.kill() for relay in made.relays)))
        await made.replace_relays(plan.replicas)
        settings = Settings(receivers=made.receivers, rate=plan.rate)
        chance = random.Random(f"load {plan.seed}")
        made.load = Load(made.exec, lambda: [relay.url for relay in made.relays], settings, chance)
        made.load.start()
        yield made
