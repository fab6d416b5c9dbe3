"""Endings as they come: from the look that sees a job's end to the first byte at the receiver, at a given rate.

Exec is a function here, which answers at once and notes when it did; all else is the relay as it runs, but that its
metronome beats whenever a look is due, so that the delay is the relay's own work. The bare client posts at the same
kind of moments.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

import httpx
from sqlalchemy import insert

from benchmarks.speed.subjects import BODY, HEADERS, on_aiohttp
from benchmarks.speed.whole import delivered, relay_on, subscriber
from relay import exec_api
from relay.model import MINUTE, EndpointKind, EventType, Instant, ScenarioJob, event_id, to_rfc3339
from relay.service import Relay, system_clock
from relay.store.database import Tx
from relay.store.schema import endpoints, watches

KEY = "exec_live_" + "0" * 40
AT_A_TIME = 64
_FOREVER = 1e9
"""A rate at which everything comes at once."""


def moments(number: int, rate: float, seed: int) -> list[float]:
    """Seconds from the start at which things happen: so many a second, at random."""
    rng, at = random.Random(seed), 0.0
    found = []
    for _ in range(number):
        at += rng.expovariate(rate)
        found.append(at)
    return found


async def at_each(times: Sequence[float], act: Callable[[int], Coroutine[None, None, None]]) -> None:
    """Begins `act` at each moment, however long the earlier ones take."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    under_way: list[asyncio.Task[None]] = []
    for place, at in enumerate(times):
        if (wait := began + at - loop.time()) > 0:
            await asyncio.sleep(wait)
        under_way.append(asyncio.create_task(act(place)))
    await asyncio.gather(*under_way)


async def bare(url: str, number: int, rate: float | None, seed: int) -> dict[str, int]:
    """When a client that only posts began each POST, by webhook-id: nanoseconds of the monotonic clock."""
    began: dict[str, int] = {}
    gate = asyncio.Semaphore(AT_A_TIME)
    async with on_aiohttp(AT_A_TIME) as client:

        async def act(place: int) -> None:
            id = f"bare_{seed}_{rate}_{place}"
            began[id] = time.monotonic_ns()
            async with gate:
                await client.post(url, headers=HEADERS | {"webhook-id": id}, content=BODY)

        await at_each(moments(number, rate or _FOREVER, seed), act)
    return began


async def relayed(store: str, url: str, number: int, rate: float | None, seed: int) -> dict[str, int]:
    """When Exec's answer said that each job had ended, by the webhook-id of what is told of it."""
    budget = {"per_minute": 100_000, "per_day": 10_000_000, "share": 1.0}
    more = {"exec": {"api_key": KEY, "budget": budget}, "polling": {"concurrency": AT_A_TIME, "tick": "1m"}}
    async with relay_on(store, AT_A_TIME, 1, **more) as relay:
        told: dict[str, int] = {}
        relay.clients["default"] = client(told, seed)
        times = moments(number, rate or _FOREVER, seed)
        now = system_clock()
        await relay.store.write(lambda tx: fill(tx, url, seed, times, now))
        sending = asyncio.create_task(relay.dispatcher.run())

        async def act(_: int) -> None:
            await relay.tick()

        late = (now - system_clock()) / 1_000
        await at_each([at + late + 0.001 for at in times], act)
        await finished(relay, number)
        sending.cancel()
    return told


async def finished(relay: Relay, number: int) -> None:
    """Returns when all is delivered; what fell between two beats is looked at meanwhile."""
    while delivered(relay) < number:
        await relay.tick()
        await asyncio.sleep(0.02)


def client(told: dict[str, int], seed: int) -> exec_api.ExecClient:
    """Exec, where every job has ended when it is asked for."""

    def answer(request: httpx.Request) -> httpx.Response:
        id = request.url.path.rpartition("/")[2]
        body = ended(id, system_clock())
        told[event_id("default", id, EventType.COMPLETED)] = time.monotonic_ns()
        return httpx.Response(200, content=streamed(body))

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return exec_api.ExecClient(
        name="default", api_key=KEY, base_url="http://exec.invalid", timeout=10_000, clock=system_clock, http=http
    )


def ended(id: str, now: Instant) -> str:
    """A job that took a minute."""
    began = to_rfc3339(now - MINUTE)
    job = ScenarioJob(id=id, status="completed", created_at=began, started_at=began, completed_at=to_rfc3339(now))
    return job.model_dump_json()


async def streamed(text: str) -> AsyncIterator[bytes]:
    """A body that is read as it comes, as from a socket."""
    yield text.encode()


def fill(tx: Tx, url: str, seed: int, times: Sequence[float], now: Instant) -> None:
    """A standing endpoint, and a watch that is due at each moment."""
    made = subscriber(tx, url, now)
    tx.execute(endpoints.update().where(endpoints.c.id == made.id).values(kind=EndpointKind.STANDING.value, name="all"))
    rows = []
    for place, at in enumerate(times):
        key = {"workspace": "default", "job_id": f"j{seed}x{place:07d}", "state": "active", "created_at": now - MINUTE}
        due = {"next_look_at": now + round(at * 1_000), "next_look_why": "", "leased": False}
        rows.append(key | due | {"looks": 0, "last_look_at": None})
    tx.execute(insert(watches), rows)
