"""Where the CPU time of a delivery goes: each stage by itself, on the relay's own parts, beside the whole.

What a stage takes is the difference between two loops that are the same but for it; the store's are run as the
dispatcher runs them, so many at a time.
"""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from benchmarks.speed import deliveries
from benchmarks.speed.cores import THEIRS
from benchmarks.speed.receiver import Receiver
from benchmarks.speed.runs import run
from benchmarks.speed.subjects import HEADERS, rush, urls
from benchmarks.speed.whole import emptied, fill, relay_on
from benchmarks.tables import Report, Table
from relay.delivery.attempt import CompletedAttempt, send, to_delivery_update
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.retry_policy import classify_attempt
from relay.egress.result import HttpResponse, SendResult
from relay.model import ID_BYTES, MINUTE, Endpoint
from relay.process import system_clock
from relay.service import Relay
from relay.store.engine.database import Tx, random_bytes
from relay.store.tables import due_deliveries, endpoints, outbox

NUMBER, ROUNDS = 10_000, 5
AT_ONCE = 100
_ANSWER = HttpResponse(204, {}, b"")

Found = Mapping[str, float]
"""CPU microseconds of one delivery, by what was run."""


class AtOnce:
    """A wire to somebody who has answered already."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: int, per_address: int | None = None
    ) -> tuple[SendResult, int]:
        """Takes no time, but lets the others go on."""
        await asyncio.sleep(0)
        return _ANSWER, 1


def measure(quick: bool) -> Found:
    """All in turns: the medians."""
    number = NUMBER // (20 if quick else 1)
    found: dict[str, list[float]] = {}
    with Receiver(THEIRS) as receiver:
        wish = {"port": receiver.port, "hosts": 1, "concurrency": AT_ONCE, "number": number}
        for _ in range(1 if quick else ROUNDS):
            took = {"posted": run(deliveries.loop, who=deliveries.BARE, **wish)["cpu"]}
            took["whole"] = run(deliveries.relay, url=None, **wish)["cpu"]
            for stage in (guarded, signed, stored, told, unsent):
                took[stage.__name__] = run(stage, port=receiver.port, number=number)
            for name, cpu in took.items():
                found.setdefault(name, []).append(1e6 * cpu / number)
    return {name: statistics.median(some) for name, some in found.items()}


async def guarded(port: int, number: int) -> float:
    """CPU seconds of POSTs through the relay's egress."""

    async def work(relay: Relay, _: Endpoint) -> float:
        async def post(url: str, body: bytes) -> None:
            outcome, _took = await relay.egress.post(url, HEADERS, body, 15_000)
            assert isinstance(outcome, HttpResponse)

        return await used(rush(post, urls(port, 1), number, AT_ONCE))

    return await with_relay(port, 0, work)


async def signed(port: int, number: int) -> float:
    """CPU seconds of POSTs that are signed too."""

    async def work(relay: Relay, endpoint: Endpoint) -> float:
        async def post(_: str, body: bytes) -> None:
            outcome, _took = await send(relay.egress, endpoint, HEADERS["webhook-id"], body, 15_000, system_clock())
            assert isinstance(outcome, HttpResponse)

        return await used(rush(post, urls(port, 1), number, AT_ONCE))

    return await with_relay(port, 0, work)


async def stored(port: int, number: int) -> float:
    """CPU seconds of finding, leasing and settling, as nothing else happens."""

    async def work(relay: Relay, endpoint: Endpoint) -> float:
        now = system_clock()

        def find(tx: Tx) -> list[str]:
            assert due_deliveries.has_at_least_due(tx, now, AT_ONCE)
            return [due.id for due in due_deliveries.due_round_robin(tx, now, "", AT_ONCE, AT_ONCE)[0]]

        def lease(tx: Tx, ids: list[str]) -> list[outbox.LeasedDelivery]:
            endpoints.get_many(tx, [endpoint.id])
            return outbox.lease(tx, ids, now, outbox.Lease("bench.1", now + MINUTE))

        def settle(tx: Tx, claims: list[outbox.LeasedDelivery]) -> None:
            verdict = classify_attempt(_ANSWER, "standard", 1, [0], now, 0.5)
            sents = [CompletedAttempt(claim, endpoint, _ANSWER, now, 1) for claim in claims]
            outbox.record_results(
                tx, [to_delivery_update(sent, verdict, now, random_bytes(tx, ID_BYTES), 1) for sent in sents]
            )

        async def batches() -> None:
            for _ in range(0, number, AT_ONCE):
                ids = await relay.store.read(find)
                claims = await relay.store.write(lambda tx, ids=ids: lease(tx, ids))  # type: ignore[misc]
                await relay.store.write(lambda tx, claims=claims: settle(tx, claims))  # type: ignore[misc]

        return await used(batches())

    return await with_relay(port, number, work)


async def told(port: int, number: int) -> float:
    """CPU seconds of metrics and log lines."""

    async def work(relay: Relay, _: Endpoint) -> float:
        now = system_clock()
        [due] = await relay.store.read(lambda tx: due_deliveries.due(tx, now, 1))
        [claim] = await relay.store.write(
            lambda tx: outbox.lease(tx, [due.id], now, outbox.Lease("bench.1", now + MINUTE))
        )

        async def tell() -> None:
            for _ in range(number):
                relay.telemetry.attempt_done(claim.delivery, "delivered", 1, now, lambda: "answered 204")

        return await used(tell())

    return await with_relay(port, 1, work)


async def unsent(port: int, number: int) -> float:
    """CPU seconds of the whole path, but that the POST is answered at once."""

    async def work(relay: Relay, _: Endpoint) -> float:
        rules, rng = relay.config.delivery, random.Random(1)
        relay.dispatcher = Dispatcher(relay.store, AtOnce(), rules, relay.clock, relay.telemetry, "bench", rng)
        return (await emptied(relay, number))[1]

    return await with_relay(port, number, work)


async def with_relay(port: int, number: int, work: Callable[[Relay, Endpoint], Awaitable[float]]) -> float:
    """What `work` gives with a relay that has so many due deliveries, to one endpoint."""
    with tempfile.TemporaryDirectory() as folder:
        async with relay_on(f"sqlite:///{folder}/relay.db", AT_ONCE, 1) as relay:
            [endpoint] = await fill(relay, urls(port, 1), number)
            return await work(relay, endpoint)


async def used(work: Awaitable[Any]) -> float:
    """CPU seconds of the whole process meanwhile."""
    before = time.process_time()
    await work
    return time.process_time() - before


def report(found: Found) -> Report:
    """The stages, which add up to the whole."""
    stages = {
        "POST: aiohttp alone": found["posted"],
        "egress: URL and address checked, a deadline, the answer read within limits": found["guarded"]
        - found["posted"],
        "signature and headers": found["signed"] - found["guarded"],
        "store: select, lease, record, sync": found["stored"],
        "metrics and a log line": found["told"],
        "dispatcher: admission, a task, the decision": found["unsent"] - found["stored"] - found["told"],
        "interaction of the stages": found["whole"] - found["unsent"] - found["signed"],
        "the whole path": found["whole"],
    }
    rows = [[name, f"{cost:.0f}", f"{cost / found['whole']:.0%}"] for name, cost in stages.items()]
    title = f"Where the CPU time of a delivery goes, SQLite, {AT_ONCE} at a time"
    return Report([Table(title, ("", "microseconds", "share"), rows)])
