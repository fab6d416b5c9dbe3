"""The relay's whole path, for measuring: every delivery claimed, signed, guarded, posted, judged and written down.

The store is on a disk and commits durably, its secrets are sealed, no host gets more than its share, and the log has a
line for each attempt, though nobody reads it.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import insert

from benchmarks import tick
from benchmarks.growth.filling import SECRET
from benchmarks.speed.subjects import BODY
from relay import config
from relay.model import Endpoint, EndpointKind, EventType, Instant, Secret, new_id, to_rfc3339
from relay.process import system_clock
from relay.service import Relay
from relay.store.engine.database import Tx
from relay.store.engine.schema import deliveries
from relay.store.tables import endpoints
from relay.telemetry import set_up_logging

PER_HOST = 4
"""The relay's default; where there are fewer hosts than attempts under way, each has its part of them."""
_AT_ONCE = 5_000


@asynccontextmanager
async def relay_on(store: str, concurrency: int, hosts: int, **more: Any) -> AsyncIterator[Relay]:
    """A relay with nothing to do, that may call this machine."""
    of_one = max(PER_HOST, concurrency // hosts)
    wish: dict[str, Any] = {
        "exec": {"api_key": "exec_live_" + "0" * 40},
        "storage": {"url": store},
        "security": {"secret_key": "k" * 43, "allow_http": True, "allow_networks": ["127.0.0.0/8"]},
        "delivery": {"concurrency": concurrency, "per_host": of_one, "per_endpoint": of_one},
    }
    with Path(os.devnull).open("w") as log:  # noqa: ASYNC230 (nothing waits for it)
        set_up_logging("json", "info", log)
        relay = await Relay.open(config.from_mapping(wish | more))
        try:
            yield relay
        finally:
            await relay.stop()


async def relayed(store: str, targets: Sequence[str], number: int, concurrency: int) -> tuple[float, float]:
    """(wall, CPU) seconds in which a relay with `number` due deliveries makes them and writes them down."""
    async with relay_on(store, concurrency, len(targets)) as relay:
        await fill(relay, targets, number)
        return await emptied(relay, number)


async def fanned_out(store: str, targets: Sequence[str], number: int, concurrency: int) -> tuple[float, float]:
    """(wall, CPU) seconds in which jobs end, one after the other, and each ending is delivered to all targets: from the
    answer of Exec, which is a function here, to the last record. They are `number` deliveries."""
    more = {
        "exec": {"api_key": tick.KEY, "budget": tick.NEVER_SPENT},
        "polling": {"concurrency": 1, "tick": "1m"},
    }
    async with relay_on(store, concurrency, len(targets), **more) as relay:
        relay.clients["default"] = tick.client(httpx.AsyncClient(transport=httpx.MockTransport(_ended)))
        now = system_clock()
        await relay.store.write(lambda tx: [subscriber(tx, url, now, EndpointKind.STANDING) for url in targets])
        began, used = time.perf_counter(), time.process_time()
        sending = asyncio.create_task(relay.dispatcher.run())
        for place in range(number // len(targets)):
            await relay.store.write(lambda tx, place=place: tick.fill(tx, place, 1, now, due=True))  # type: ignore[misc]
            await relay.poller.tick()
            await relay.poller.idle()
        while delivered(relay) < number:  # noqa: ASYNC110 (as above)
            await asyncio.sleep(0.02)
        took = time.perf_counter() - began, time.process_time() - used
        sending.cancel()
        return took


def _ended(request: httpx.Request) -> httpx.Response:
    """Exec's answer: the job ended a moment ago, after a minute."""
    id, now = request.url.path.rpartition("/")[2], system_clock()
    job = tick.job(id, now).model_copy(update={"status": "completed", "completed_at": to_rfc3339(now)})
    return httpx.Response(200, content=tick.streamed(job.model_dump_json()))


async def fill(relay: Relay, targets: Sequence[str], number: int) -> list[Endpoint]:
    """So many due deliveries, to an endpoint for each target in turn; the endpoints."""
    now = system_clock()
    owners = await relay.store.write(lambda tx: [subscriber(tx, url, now) for url in targets])
    for first in range(0, number, _AT_ONCE):
        some = range(first, min(number, first + _AT_ONCE))
        await relay.store.write(lambda tx, some=some: _add(tx, owners, some, now))  # type: ignore[misc]
    return owners


async def emptied(relay: Relay, number: int) -> tuple[float, float]:
    """(wall, CPU) seconds in which so many due deliveries are made and written down."""
    began, used = time.perf_counter(), time.process_time()
    sending = asyncio.create_task(relay.dispatcher.run())
    relay.dispatcher.wake()
    while delivered(relay) < number:  # noqa: ASYNC110 (the relay has nothing to tell it by: it is never done)
        await asyncio.sleep(0.02)
    took = time.perf_counter() - began, time.process_time() - used
    sending.cancel()
    return took


def delivered(relay: Relay) -> float:
    """How many deliveries are written down as made."""
    name = "relay_delivery_attempts_total"
    counted = (
        one
        for metric in relay.telemetry.metrics.registry.restricted_registry([name]).collect()
        for one in metric.samples
    )
    return sum(one.value for one in counted if one.labels["outcome"] == "delivered")


def subscriber(tx: Tx, url: str, now: Instant, kind: EndpointKind = EndpointKind.AD_HOC) -> Endpoint:
    """An endpoint for what is measured."""
    made = Endpoint(
        id=new_id("ep", now),
        kind=kind,
        name=None,
        url=url,
        host=urlsplit(url).netloc,
        format="standard",
        events=(EventType.COMPLETED,),
        secrets=(Secret(SECRET),),
        headers={},
        created_at=now,
    )
    endpoints.add(tx, made)
    return made


def _add(tx: Tx, owners: Sequence[Endpoint], some: range, now: Instant) -> None:
    rows = []
    for place in some:
        owner = owners[place % len(owners)]
        fact = {"event_id": f"evt_{place:032d}", "event_type": "job.completed", "job_id": f"j{place}"}
        due = {"status": "pending", "trigger": "schedule", "created_at": now, "next_attempt_at": now}
        whose = {"workspace": "default", "endpoint_id": owner.id, "host": owner.host}
        rows.append(fact | due | whose | {"id": new_id("dlv", now), "body": BODY})
    tx.execute(insert(deliveries), rows)
