"""The cost of a tick by the number of watched jobs.

Stores with 1,000, 100,000 and 1,000,000 watches that are not due, and the same relay on each, in turns: a tick with
nothing due; one that makes 20 polls (with a client that answers at once); and computing the price of a poll, which is
done every half minute. Medians; what counts is how they grow.
"""

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
from sqlalchemy import func, insert, select, update

from relay import config
from relay.config import Config
from relay.model import DAY, MINUTE, Instant, ScenarioJob, to_rfc3339
from relay.polling import exec_client
from relay.process import system_clock
from relay.service import Relay
from relay.store.engine.database import Tx
from relay.store.engine.schema import watches

NUMBERS = (1_000, 100_000, 1_000_000)
ROUNDS = 21
DUE = 20
KEY = "exec_live_" + "0" * 40
NEVER_SPENT = {"per_minute": 100_000, "per_day": 10_000_000, "share": 1.0}
"""A budget that no benchmark uses up."""
_BATCH = 20_000

WORDS = {"idle": "a tick, nothing due", "busy": f"a tick with {DUE} polls", "price": "computing the poll price"}
"""What is done, in words."""


class Rig:
    """One relay on a store with watches."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self._named = self.polled = 0

    async def idle(self) -> None:
        """A tick with nothing due."""
        await self.relay.poller.tick()

    async def busy(self) -> None:
        """A tick that makes 20 polls, to the end of the last."""
        before = self.polled
        await self.relay.poller.tick()
        await self.relay.poller.idle()
        assert self.polled == before + DUE

    async def make_due(self) -> None:
        """Twenty watches fall due, and nothing else is polled meanwhile."""
        await self.relay.poller.idle()
        first, self._named = self._named, self._named + DUE
        names = [f"j{number:07d}" for number in range(first, first + DUE)]
        # Last seen two hours ago, so that no price makes them wait.
        soon = {"next_poll_at": system_clock() - 1, "last_poll_at": system_clock() - 120 * MINUTE}
        await self.relay.store.write(lambda tx: tx.execute(update(watches).where(watches.c.job_id.in_(names)), soon))

    async def price(self) -> None:
        """Computes the price of a poll."""
        self.relay.poller.reset_policies()
        await self.relay.poller.refresh_policy("default", system_clock())


def job(job_id: str, now: Instant) -> ScenarioJob:
    """A job that has been worked on for a minute."""
    started = to_rfc3339(now - MINUTE)
    return ScenarioJob(id=job_id, status="processing", created_at=started, started_at=started)


def fill(tx: Tx, first: int, number: int, now: Instant, due: bool = False) -> None:
    """Watches that are polled some time tomorrow, or that are all `due`."""
    rows: list[dict[str, Any]] = []
    for place in range(first, first + number):
        job_id = f"j{place:07d}"
        key = {"workspace": "default", "job_id": job_id, "state": "active", "created_at": now - MINUTE}
        # Last seen two hours ago, so that no price makes what is due wait.
        seen_at, at = (now - 120 * MINUTE, now) if due else (now - MINUTE, now + DAY + place * 60 % DAY)
        seen = {"job": job(job_id, now).model_dump_json(), "polls": 1, "last_poll_at": seen_at}
        plan = {"next_poll_at": at, "next_poll_reason": "", "leased": False}
        rows.append(key | seen | plan)
    tx.execute(insert(watches), rows)


async def streamed(text: str) -> AsyncIterator[bytes]:
    """A body that is read as it comes, as from a socket."""
    yield text.encode()


def client(http: httpx.AsyncClient) -> exec_client.ExecClient:
    """The relay's client of a stand-in for Exec, `http`."""
    return exec_client.ExecClient(
        name="default", api_key=KEY, base_url="http://exec.invalid", timeout=10_000, clock=system_clock, http=http
    )


def configuration(url: str) -> Config:
    """The configuration of a relay whose budget is never used up."""
    return config.from_mapping({"exec": {"api_key": KEY, "budget": NEVER_SPENT}, "storage": {"url": url}})


@asynccontextmanager
async def rig(url: str, number: int) -> AsyncIterator[Rig]:
    """A relay whose Exec is a function, so that only the relay's own work is measured."""
    relay = await Relay.open(configuration(url))
    now = system_clock()
    for first in range(0, number, _BATCH):
        await relay.store.write(lambda tx, n=first: fill(tx, n, min(_BATCH, number - n), now))  # type: ignore[misc]
    assert await relay.store.read(lambda tx: tx.execute(select(func.count()).select_from(watches)).scalar()) == number
    try:
        async with answered(Rig(relay), now) as made:
            yield made
    finally:
        await relay.stop()


@asynccontextmanager
async def answered(made: Rig, now: Instant) -> AsyncIterator[Rig]:
    """The rig, with an Exec that answers at once that the job goes on."""

    def answer(request: httpx.Request) -> httpx.Response:
        made.polled += 1
        return httpx.Response(200, content=streamed(job(request.url.path.rpartition("/")[2], now).model_dump_json()))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        made.relay.clients["default"] = client(http)
        yield made


Medians = dict[str, list[float]]
"""Milliseconds by what was done, one for each number of watches."""


async def measure(urls: Sequence[str], numbers: Sequence[int] = NUMBERS, rounds: int = ROUNDS) -> Medians:
    """Medians of rounds, the rigs in turns."""
    taken: dict[str, list[list[float]]] = {name: [[] for _ in numbers] for name in ("idle", "busy", "price")}
    async with AsyncExitStack() as stack:
        rigs = [await stack.enter_async_context(rig(url, n)) for url, n in zip(urls, numbers, strict=True)]
        for one in rigs:
            await one.price()
        for _ in range(rounds):
            for place, one in enumerate(rigs):
                taken["idle"][place].append(await timed(one.idle))
                taken["price"][place].append(await timed(one.price))
                await one.make_due()
                taken["busy"][place].append(await timed(one.busy))
    return {name: [statistics.median(some) for some in columns] for name, columns in taken.items()}


async def timed(work: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await work()
    return 1_000 * (time.perf_counter() - began)
