"""Endings: from the poll that sees a job's end to the first byte at its receiver, idle and beside a load.

Exec is a function here, which answers at once and notes when it did; all else is the relay as it runs, but that its
scheduler beats whenever a poll is due, so that the delay is the relay's own work. The load is events that 50 others
have subscribed to, at random moments. A client that only posts has the same load at the same moments.
"""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
from sqlalchemy import insert

from benchmarks import tick
from benchmarks.speed.cores import THEIRS
from benchmarks.speed.receiver import Receiver
from benchmarks.speed.runs import run
from benchmarks.speed.subjects import BODY, HEADERS, urls
from benchmarks.speed.whole import delivered, relay_on, subscriber
from benchmarks.tables import Check, Report, Table
from relay.delivery.enqueue import enqueue
from relay.model import Endpoint, EndpointKind, EventType, ScenarioJob, Watch, WatchState, event_id
from relay.polling import exec_client
from relay.polling.poll_recorder import make_event
from relay.process import system_clock
from relay.service import Relay
from relay.store.engine.database import Tx
from relay.store.engine.schema import endpoints, watches
from relay.store.tables import events
from relay.times import MINUTE, Instant, to_rfc3339

AT_A_TIME = 64
SUBSCRIBERS = 50
EVERY = 0.1
"""Seconds between two endings whose delay is measured, on average."""


NUMBER, ROUNDS = 300, 3
AT_ONCE = 200
"""Endings of which all are due at one moment."""
MOST, STILL = 25.0, 5.0
"""Milliseconds: the 99th percentile at half load, and how long the relay's event loop may stand still."""
RELAY, BARE = "the relay, SQLite: from the poll that sees the end", "aiohttp alone: from its call"
LOADS = ("idle", "half load", f"{AT_ONCE} at once")

Found = Mapping[tuple[str, str], Sequence[tuple[Sequence[float], float]]]
"""By who and load, of each round: milliseconds of each ending, and the event loop's longest standstill."""


def measure(quick: bool) -> Found:
    """Both in turns at the same moments, without a load and with half of what the relay can send."""
    number, at_once, rounds = (10, 10, 1) if quick else (NUMBER, AT_ONCE, ROUNDS)
    found: dict[tuple[str, str], list[tuple[list[float], float]]] = {}
    with Receiver(THEIRS) as receiver:
        half = SUBSCRIBERS * number / run(crowded, port=receiver.port, number=number) / 2
        print(f"half load: {half:,.0f} deliveries a second", flush=True)
        for turn in range(rounds):
            loads = zip(LOADS, ((number, EVERY, 0.0), (number, EVERY, half), (at_once, 0.0, 0.0)), strict=True)
            for seed, (load, (some, every, rate)) in enumerate(loads, len(LOADS) * turn):
                for who, subject in ((RELAY, relayed), (BARE, bare)):
                    took = run(subject, port=receiver.port, number=some, every=every, rate=rate, seed=seed)
                    came = receiver.came()
                    late = [(came[id] - at) / 1e6 for id, at in took["began"].items()]
                    assert len(late) == some
                    found.setdefault((who, load), []).append((late, took["still"]))
    return found


def report(found: Found) -> Report:
    """Median and 99th percentile of each, and whether the relay is near enough."""
    rows = []
    for who in (RELAY, BARE):
        for load in LOADS:
            some = late(found, who, load)
            rows.append([f"{who}, {load}", f"{statistics.median(some):.1f}", f"{high(some):.1f}", f"{len(some):,}"])
            rows[-1].append(f"{still(found, who, load):.1f}")
    head = ("", "median", "p99", "of", "longest standstill of the loop")
    p99 = high(late(found, RELAY, LOADS[1]))
    queued = (
        "the writer and the event loop share a core with hundreds of deliveries a second, and an ending waits for both"
    )
    checks = [Check("p99 at half load", f"<= {MOST:g} ms", f"{p99:.1f} ms", p99 <= MOST, queued)]
    for load in LOADS:
        stood = still(found, RELAY, load)
        what = f"the event loop's longest standstill, {load}"
        why = f"the loop of the client that only posts stands still for {still(found, BARE, load):.1f} ms there"
        known = why if load != LOADS[-1] else ""  # 200 at once stand still for longer than that explains
        checks.append(Check(what, f"<= {STILL:g} ms", f"{stood:.1f} ms", stood <= STILL, known))
    return Report([Table("Milliseconds to the first byte at the receiver", head, rows)], checks, bound="held to")


def late(found: Found, who: str, load: str) -> list[float]:
    """Milliseconds of each ending, of all rounds."""
    return [one for some, _ in found[who, load] for one in some]


def still(found: Found, who: str, load: str) -> float:
    """The longest standstill in a round, in milliseconds: the median of the rounds."""
    return statistics.median(longest for _, longest in found[who, load])


@asynccontextmanager
async def watchdog() -> AsyncIterator[list[float]]:
    """By how many milliseconds a timer of one millisecond is late at most, in a list of one element."""
    loop, longest = asyncio.get_running_loop(), [0.0]

    async def watch() -> None:
        while True:
            due = loop.time() + 0.001
            await asyncio.sleep(0.001)
            longest[0] = max(longest[0], 1_000 * (loop.time() - due))

    watching = asyncio.create_task(watch())
    try:
        yield longest
    finally:
        watching.cancel()


def high(some: Sequence[float]) -> float:
    """The 99th percentile."""
    return sorted(some)[-1 - len(some) // 100]


def moments(number: int, every: float, seed: int) -> list[float]:
    """Seconds from the start at which things happen, at random."""
    rng, at = random.Random(seed), 0.0
    found = []
    for _ in range(number):
        at += rng.expovariate(1 / every) if every else 0.0
        found.append(at)
    return found


def crowds(number: int, rate: float, seed: int) -> list[float]:
    """When the load's events come, so that there are `rate` deliveries of them a second; none where it is 0."""
    times = moments(int(number * EVERY * rate / SUBSCRIBERS), SUBSCRIBERS / rate, seed + 1) if rate else []
    return [at for at in times if at < number * EVERY]


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


async def bare(port: int, number: int, every: float, rate: float, seed: int) -> dict[str, Any]:
    """When a client that only posts began each POST, by webhook-id: nanoseconds of the monotonic clock. Its loop's
    longest standstill, in milliseconds."""
    targets = urls(port, 1 + SUBSCRIBERS)
    began: dict[str, int] = {}
    connector = aiohttp.TCPConnector(limit=AT_A_TIME)
    async with watchdog() as longest, aiohttp.ClientSession(connector=connector) as session:

        async def post(url: str, id: str) -> None:
            async with session.post(url, headers=HEADERS | {"webhook-id": id}, data=BODY) as answer:
                await answer.read()

        async def act(place: int) -> None:
            began[id := f"bare_{seed}_{place}"] = time.monotonic_ns()
            await post(targets[0], id)

        async def crowd(place: int) -> None:
            await asyncio.gather(*(post(url, f"crowd_{place}") for url in targets[1:]))

        await asyncio.gather(at_each(moments(number, every, seed), act), at_each(crowds(number, rate, seed), crowd))
    return {"began": began, "still": longest[0]}


async def relayed(port: int, number: int, every: float, rate: float, seed: int) -> dict[str, Any]:
    """When Exec's answer said that each job had ended, by the webhook-id of its event; as `bare`."""
    with tempfile.TemporaryDirectory() as folder:
        times, targets = moments(number, every, seed), urls(port, 1 + SUBSCRIBERS)
        return await _relayed(f"sqlite:///{folder}/relay.db", targets, times, crowds(number, rate, seed), seed)


async def _relayed(
    store: str, targets: Sequence[str], times: Sequence[float], crowded_at: Sequence[float], seed: int
) -> dict[str, Any]:
    more = {
        "exec": {"api_key": tick.KEY, "budget": tick.NEVER_SPENT},
        "polling": {"concurrency": AT_A_TIME, "tick": "1m"},
    }
    async with relay_on(store, AT_A_TIME, len(targets), **more) as relay:
        answered_at: dict[str, int] = {}
        relay.clients["default"] = client(answered_at)
        now = system_clock()
        others = await relay.store.write(lambda tx: fill(tx, targets, seed, times, now))
        sending = asyncio.create_task(relay.dispatcher.run())

        async def act(_: int) -> None:
            await relay.poller.tick()

        async def crowd(place: int) -> None:
            await relay.store.write(lambda tx: tell(tx, others, f"crowd{place}"))
            relay.dispatcher.wake()

        late = (now - system_clock()) / 1_000 + 0.001
        async with watchdog() as longest:
            beats = [at + late for at in sorted(set(times))]
            await asyncio.gather(at_each(beats, act), at_each(crowded_at, crowd))
            await finished(relay, len(times) + len(crowded_at) * len(others))
        sending.cancel()
    return {"began": answered_at, "still": longest[0]}


async def crowded(port: int, number: int) -> float:
    """Seconds in which the relay tells all of so many events, one after the other: as much load as it can bear."""
    targets = urls(port, SUBSCRIBERS)
    with tempfile.TemporaryDirectory() as folder:
        async with relay_on(f"sqlite:///{folder}/relay.db", AT_A_TIME, len(targets)) as relay:
            now = system_clock()
            others = await relay.store.write(lambda tx: [subscriber(tx, url, now) for url in targets])
            sending, began = asyncio.create_task(relay.dispatcher.run()), time.perf_counter()
            for place in range(number):
                await relay.store.write(lambda tx, id=f"crowd{place}": tell(tx, others, id))  # type: ignore[misc]
                relay.dispatcher.wake()
            await finished(relay, number * len(others))
            sending.cancel()
            return time.perf_counter() - began


async def finished(relay: Relay, number: int) -> None:
    """Returns when all is delivered; what fell between two beats is polled meanwhile."""
    while delivered(relay) < number:
        await relay.poller.tick()
        await asyncio.sleep(0.02)


def tell(tx: Tx, others: Sequence[Endpoint], job_id: str) -> None:
    """A job of the load ended: all others are notified."""
    now = system_clock()
    watch = Watch(workspace="default", job_id=job_id, state=WatchState.SETTLED, created_at=now)
    event = make_event(watch, EventType.COMPLETED, now, max_age=0)
    enqueue(tx, events.add(tx, event), [(endpoint, None) for endpoint in others], now, 0)


def client(answered_at: dict[str, int]) -> exec_client.ExecClient:
    """Exec, where every job has ended when it is asked for."""

    def answer(request: httpx.Request) -> httpx.Response:
        id = request.url.path.rpartition("/")[2]
        body = ended(id, system_clock())
        answered_at[event_id("default", id, EventType.COMPLETED)] = time.monotonic_ns()
        return httpx.Response(200, content=tick.streamed(body))

    return tick.client(httpx.AsyncClient(transport=httpx.MockTransport(answer)))


def ended(id: str, now: Instant) -> str:
    """A job that took a minute."""
    began = to_rfc3339(now - MINUTE)
    job = ScenarioJob(id=id, status="completed", created_at=began, started_at=began, completed_at=to_rfc3339(now))
    return job.model_dump_json()


def fill(tx: Tx, targets: Sequence[str], seed: int, times: Sequence[float], now: Instant) -> list[Endpoint]:
    """A standing endpoint, a watch that is due at each moment, and the load's subscribers, which are returned."""
    first, *others = [subscriber(tx, url, now) for url in targets]
    tx.execute(
        endpoints.update().where(endpoints.c.id == first.id).values(kind=EndpointKind.STANDING.value, name="all")
    )
    rows = []
    for place, at in enumerate(times):
        key = {"workspace": "default", "job_id": f"j{seed}x{place:07d}", "state": "active", "created_at": now - MINUTE}
        due = {"next_poll_at": now + round(at * 1_000), "next_poll_reason": "", "leased": False}
        rows.append(key | due | {"polls": 0, "last_poll_at": None})
    tx.execute(insert(watches), rows)
    return others
