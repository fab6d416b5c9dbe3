"""A whole relay in one loop: the shipped sandbox and receiver on real sockets, time moved by hand."""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest

from relay import config, registration
from relay.config import Config
from relay.endpoints import EndpointSpec
from relay.model import SECOND, Delivery, Instant, Watch
from relay.registration import RegistrationResult, RegistrationSpec
from relay.sandbox.exec_server import SANDBOX_KEY, ExecSettings, FakeExec
from relay.sandbox.local_server import serve
from relay.sandbox.receiver import Received, Receiver
from relay.service import Relay
from relay.store.engine.database import Tx
from relay.store.engine.paging import Page
from relay.store.tables import deliveries, pending_work, watches
from relay.store.tables.filters import DeliveryFilter
from relay.telemetry import Tracer
from relay.verify import InvalidBody, Unverified, verify
from relay.web.app import create_app
from tests.conftest import Clock
from tests.loopback import http_client
from tests.make import SECRET


class World:
    """Everything between Exec and the receiver, and the time that they share."""

    def __init__(self, clock: Clock, exec: FakeExec, receiver: Receiver, exec_url: str, receiver_url: str) -> None:
        self.clock, self.exec, self.receiver = clock, exec, receiver
        self.exec_url, self.receiver_url = exec_url, receiver_url
        self.sections: dict[str, Any] = {}
        self.patience = 5 * SECOND
        """How often `advance` tries what is overdue."""
        self.relay: Relay
        self.second_opinion: SecondOpinion

    def config(self, url: str, endpoints: Sequence[Any] = (), **sections: Any) -> Config:
        base: dict[str, dict[str, Any]] = {
            "exec": {"base_url": f"{self.exec_url}/rest/v1", "api_key": SANDBOX_KEY},
            "polling": {"strategy": "interval", "interval": "15s"},
            "storage": {"url": url},
            "security": {"allow_http": True, "allow_networks": ["127.0.0.0/8"]},
        }
        merged = {name: base.get(name, {}) | sections.get(name, {}) for name in {*base, *sections}}
        return config.from_mapping({**merged, "endpoints": endpoints})

    async def restart(self, **sections: Any) -> None:
        """Stops the relay, and starts another on the same store; its configuration may differ."""
        url = self.relay.config.storage.url
        await self.relay.stop()
        self.relay = await Relay.open(self.config(url, **{**self.sections, **sections}), self.clock, seed=1)

    async def prepare(self, job_id: str, url: str) -> None:
        """Registers, and lets the relay do nothing yet."""
        request = RegistrationSpec(job_id=job_id, callback=EndpointSpec(url, secret=SECRET))
        checked = registration.validate(request, self.relay.rules, self.relay.clients)
        await self.relay.store.write(lambda tx: registration.register(tx, checked, self.relay.clock()))

    async def register(self, job_id: str, path: str = "/callback", **fields: Any) -> RegistrationResult:
        """Registers as the API does, then lets the relay do what is due."""
        wanted = EndpointSpec(
            self.receiver_url + path, fields.pop("format", "auto"), secret=fields.pop("secret", SECRET)
        )
        request = RegistrationSpec(**{"job_id": job_id, "callback": wanted, **fields})
        checked = registration.validate(request, self.relay.rules, self.relay.clients)
        made = await self.relay.store.write(lambda tx: registration.register(tx, checked, self.clock()))
        await self.settle()
        return made

    async def settle(self) -> Instant | None:
        """Lets the relay do all that is due now. Returns when the next poll or delivery is due."""
        before = None
        while True:
            await self.relay.tick()
            await self.relay.poller.idle()
            await self.relay.dispatcher.tick()
            await self.relay.dispatcher.idle()
            due = await self.next_due()
            if due is None or due > self.clock():
                return due
            done = (len(self.exec.records.requests), len(self.receiver.received), due)
            if done == before:
                return due  # what stays due waits for budget or for a pause: time has to move
            before = done

    async def next_due(self) -> Instant | None:
        """When the next poll or delivery is due."""
        names = list(self.relay.clients)
        return min(await self.relay.store.read(lambda tx: next_due(tx, names)), default=None)

    async def advance(self, ms: int) -> None:
        """Moves time on, stopping wherever something is due."""
        target, due = self.clock() + ms, await self.next_due()
        while due is not None and due <= target:
            # What is overdue waits for a pause to end: try again a little later.
            self.clock.at = min(target, due if due > self.clock() else self.clock() + self.patience)
            due = await self.settle()
            if self.clock() >= target:
                return
        self.clock.at = target
        await self.settle()

    async def watch(self, job_id: str) -> Watch:
        found = await self.relay.store.read(lambda tx: watches.find(tx, job_id, None))
        assert found is not None
        return found

    async def deliveries(self) -> list[Delivery]:
        """All deliveries, oldest first."""
        rows, _ = await self.relay.store.read(lambda tx: deliveries.page(tx, Page(200), DeliveryFilter()))
        return rows[::-1]

    def received(self, path: str | None = None) -> list[Received]:
        return [one for one in self.receiver.received if path in (None, one.path)]


def next_due(tx: Tx, workspaces: Iterable[str]) -> list[Instant]:
    """When the next poll of each workspace is due, not before the end of its pause, and when the next delivery is."""
    work = pending_work.find(tx)
    found = [] if work.delivery_due_at is None else [work.delivery_due_at]
    for workspace in workspaces:
        polls = pending_work.polls_of(tx, workspace, work.polls)
        if polls.due_at is not None:
            found.append(max(polls.due_at, polls.paused_until or 0))
    return found


@asynccontextmanager
async def api_of(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the relay's API on a socket."""
    async with (
        serve(create_app(world.relay, owns_relay=False)) as url,
        http_client(base_url=url) as http,
    ):
        yield http


class SecondOpinion:
    """Each request that the receiver gets is judged by `relay.verify` too; the receiver asks the standard's package."""

    def __init__(self) -> None:
        self.agreed = 0
        self.differs: list[Received] = []

    def __call__(self, one: Received) -> None:
        if abs(time.time() - int(one.headers.get("webhook-timestamp", 0))) > 240:
            return  # time was moved on: no verifier takes it
        verified = True
        try:
            verify(one.headers, one.body, SECRET)
        except InvalidBody:
            pass  # signed, though it is no event: the format has a body of its own
        except Unverified:
            verified = False
        if verified is one.verified:
            self.agreed += 1
        else:
            self.differs.append(one)


Start = Callable[..., Any]


@asynccontextmanager
async def world_on(
    store_url: str, sandbox: ExecSettings | None = None, spans: Tracer | None = None, **sections: Any
) -> AsyncIterator[World]:
    """A world whose relay has its store there."""
    clock = Clock(time.time_ns() // 1_000_000)
    exec = FakeExec(sandbox or ExecSettings(seed=1), clock)
    second_opinion = SecondOpinion()
    receiver = Receiver(SECRET, clock, listener=second_opinion, keep=1_000_000)
    async with AsyncExitStack() as stack:
        exec_url = await stack.enter_async_context(serve(exec.app))
        receiver_url = await stack.enter_async_context(serve(receiver.app))
        world = World(clock, exec, receiver, exec_url, receiver_url)
        world.sections = sections
        world.relay = await Relay.open(world.config(store_url, **sections), clock, seed=1, spans=spans)
        stack.push_async_callback(lambda: world.relay.stop())
        world.second_opinion = second_opinion
        yield world
    assert second_opinion.differs == []


@pytest.fixture
def start(store_url: str) -> Start:
    """Starts a world: `async with start(**sections) as world`. `exec` settings as keyword `sandbox`."""
    return partial(world_on, store_url)
