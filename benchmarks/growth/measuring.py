"""What is timed: one relay on one store, and everything that it and its users do often."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import httpx
from sqlalchemy import select, update

from benchmarks import machine
from benchmarks.growth.filling import MONTH
from benchmarks.tick import Rig, answered, configuration
from relay.model import MINUTE, Instant
from relay.process import system_clock
from relay.service import Relay
from relay.store.engine import paging
from relay.store.engine.database import Tx
from relay.store.engine.schema import deliveries
from relay.store.tables import dashboard_queries, due_deliveries, idempotency, outbox, pruning
from relay.store.tables.outbox import Lease
from relay.web.app import create_app

DUE = 20
PRUNED = 20
_FAR = system_clock() + 1_000 * MONTH

LISTS = {
    "jobs": "/v1/jobs",
    "jobs, deep": "/v1/jobs?cursor={deep_job}",
    "jobs, waiting": "/v1/jobs?state=active",
    "jobs, of a rare state": "/v1/jobs?state=expired",
    "one job": "/v1/jobs/job1000000990",
    "registrations, of a rare state": "/v1/registrations?status=withdrawn",
    "registrations, deep": "/v1/registrations?cursor={deep}",
    "events, of a rare type": "/v1/events?type=job.not_found",
    "events, deep": "/v1/events?cursor={deep}",
    "deliveries": "/v1/deliveries",
    "deliveries, deep": "/v1/deliveries?cursor={deep}",
    "deliveries, failed, deep": "/v1/deliveries?status=failed&cursor={deep}",
    "deliveries, of a rare status": "/v1/deliveries?status=cancelled",
    "deliveries, of one endpoint, deep": "/v1/deliveries?endpoint=ep_1000000003&cursor={deep}",
    "deliveries, by metadata": "/v1/deliveries?metadata=customer%3Dacme",
    "jobs, by metadata": "/v1/jobs?metadata=customer%3Dacme",
    "endpoints": "/v1/endpoints",
    "endpoints, standing": "/v1/endpoints?kind=standing",
    "metrics": "/metrics",
    "readiness": "/readyz",
}
PAGES = {
    "dashboard": "/",
    "dashboard: failed deliveries": "/deliveries?status=failed",
    "dashboard: one endpoint": "/endpoints/ep_1000000003",
    "dashboard: search by id": "/search?q=job10000000",
    "dashboard: search by name": "/search?q=discovery",
    "dashboard: search without result": "/search?q=nothing%20like%20it",
}


class Bench(Rig):
    """One relay on one filled store."""

    def __init__(self, relay: Relay, http: httpx.AsyncClient, now: Instant) -> None:
        super().__init__(relay)
        self._http, self._now = http, now
        self._registered = 0
        self._claimed: list[str] = []

    def work(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What is timed, by name."""
        asked = {name: self._asks(path, "application/json") for name, path in LISTS.items()}
        asked |= {name: self._asks(path, "text/html") for name, path in PAGES.items()}
        return {
            "a tick, nothing due": self.idle,
            "a tick with 20 polls": self.busy,
            "computing the poll price": self.price,
            "claiming 20 due deliveries": self.claim,
            "registering a job": self.register,
            **asked,
            "dashboard: has anything changed?": self.mark,
            f"pruning {PRUNED} jobs": self.prune,
            "pruning, nothing old": self.prune_nothing,
        }

    async def prepare(self, name: str) -> None:
        """What has to be so before the work is timed."""
        if name == "a tick with 20 polls":
            await self.make_due()
        if name == "readiness":
            await self.relay.tick()
        if name == "claiming 20 due deliveries":
            await self.relay.store.write(self._resend)

    def _asks(self, path: str, accept: str) -> Callable[[], Awaitable[None]]:
        at = self._now - MONTH + MONTH // 10
        asked = path.format(deep=paging.encode(at, "zzz"), deep_job=paging.encode(at, "zzz", "default"))

        async def ask() -> None:
            answer = await self._http.get(asked, headers={"accept": accept})
            assert answer.status_code == 200, (asked, answer.status_code, answer.text)

        return ask

    async def claim(self) -> None:
        """What is due is found and leased."""
        store, now = self.relay.store, system_clock()
        found = await store.read(lambda tx: due_deliveries.due(tx, now, 1_000))
        ids = [due.id for due in found]
        self._claimed = [
            claim.delivery.id
            for claim in await store.write(lambda tx: outbox.lease(tx, ids, now, Lease("bench.1", now + MINUTE)))
        ]
        assert len(self._claimed) == DUE

    def _resend(self, tx: Tx) -> None:
        """What was claimed is done with; the twenty newest deliveries are due."""
        done = {"status": "delivered", "next_attempt_at": None, "leased_by": None}
        tx.execute(update(deliveries).where(deliveries.c.id.in_(self._claimed)), done)
        newest = select(deliveries.c.id).order_by(deliveries.c.created_at.desc(), deliveries.c.id).limit(DUE)
        soon = {"status": "pending", "next_attempt_at": system_clock() - 1, "leased_by": None}
        tx.execute(update(deliveries).where(deliveries.c.id.in_(tx.execute(newest).scalars().all())), soon)

    async def register(self) -> None:
        """One registration with a callback URL, over the API."""
        self._registered += 1
        wanted = {"job_id": f"new{self._registered}", "callback_url": f"https://example.com/{self._registered}"}
        answer = await self._http.post("/v1/registrations", json=wanted)
        assert answer.status_code == 201, answer.text

    async def mark(self) -> None:
        """What each open page asks once a second."""
        await self.relay.store.read(dashboard_queries.change_token)

    async def prune(self) -> None:
        """The janitor's batch, of jobs that are old enough."""
        store = self.relay.store
        old, _ = await store.read(lambda tx: pruning.old_jobs(tx, _FAR, PRUNED))
        assert await store.write(lambda tx: pruning.delete_jobs(tx, old, _FAR, 100 * PRUNED)) == (PRUNED, [])

    async def prune_nothing(self) -> None:
        """The janitor's round where no job is old enough, and a batch of endpoints that are, but are in use."""
        before = self._now - 2 * MONTH
        await self.relay.store.write(lambda tx: idempotency.prune(tx, before, PRUNED))
        assert await self.relay.store.read(lambda tx: pruning.old_jobs(tx, before, PRUNED)) == ([], None)
        await self.relay.store.read(lambda tx: pruning.expired_held(tx, before, PRUNED))
        await self.relay.store.read(lambda tx: pruning.old_endpoints(tx, self._now, PRUNED))


@asynccontextmanager
async def bench(url: str, now: Instant) -> AsyncIterator[Bench]:
    """A relay on a filled store that does only what it is asked for."""
    relay = await Relay.open(configuration(url))
    transport = httpx.ASGITransport(create_app(relay, owns_relay=False))
    try:
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
            answered(Bench(relay, http, now), now) as made,
        ):
            assert isinstance(made, Bench)
            yield made
    finally:
        await relay.stop()


async def start(url: str) -> None:
    """A relay is opened, takes up what an earlier one left, and stops."""
    relay = await Relay.open(configuration(url))
    try:
        await relay.start()
        await relay.tick()
    finally:
        await relay.stop()


def memory(url: str) -> float:
    """MiB that a relay's process had at the most, in which it started, ticked, was read and stopped."""
    command = [sys.executable, "-m", "benchmarks.growth.measuring", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    return float(done.stdout)


async def _live(url: str) -> None:
    await start(url)
    async with bench(url, system_clock()) as made:
        for name, work in made.work().items():
            if not name.startswith(("a tick with", "claiming", "registering", "pruning 20")):
                await work()


if __name__ == "__main__":
    import asyncio

    asyncio.run(_live(sys.argv[1]))
    # What `resource` tells begins with what the process had that started this one.
    print(machine.memory(os.getpid(), "VmHWM"))
