"""Services that ask to slow down, and one that refuses the machine: nothing is lost, and nobody is hammered."""

import json
import random
from typing import Any

import pytest

from relay.config import DeliverySection
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.enqueue import enqueue
from relay.delivery.retry_policy import ADDRESS_PAUSE
from relay.egress.result import HttpResponse, SendResult
from relay.model import MINUTE, SECOND, DeliveryStatus, Endpoint
from relay.store import Store, Tx
from relay.store.tables import deliveries, endpoints, events
from relay.store.tables.filters import DeliveryFilter
from relay.telemetry import Telemetry
from tests.conftest import Clock
from tests.make import make_endpoint, make_event

BAN = HttpResponse(429, {}, b"<html>error 1015</html>")
LIMIT = HttpResponse(429, {}, json.dumps({"message": "slow down", "retry_after": 0.4}).encode())


class Service:
    """An HTTP client whose service takes `pace` ms between two messages at one URL, or gives one answer to all."""

    def __init__(self, clock: Clock, pace: int = 0) -> None:
        self.clock, self.pace = clock, pace
        self.answer: HttpResponse | None = None
        self.last: dict[str, int] = {}
        self.asked: list[int] = []
        self.refused = 0

    async def post(
        self, url: str, headers: Any, body: bytes, timeout: int, per_address: int | None = None
    ) -> tuple[SendResult, int]:
        self.asked.append(self.clock())
        if self.answer is not None:
            return self.answer, 1
        if self.clock() < self.last.get(url, 0) + self.pace:
            self.refused += 1
            return HttpResponse(429, {"retry-after": "1"}, b""), 1
        self.last[url] = self.clock()
        return HttpResponse(200, {}, b"ok"), 1


def relays(store: Store, service: Service, clock: Clock, number: int = 2) -> list[Dispatcher]:
    return [
        Dispatcher(store, service, DeliverySection(), clock, Telemetry(), f"own_{id}", random.Random(id))
        for id in range(number)
    ]


async def run(some: list[Dispatcher]) -> None:
    for relay in some:
        await relay.tick()
        await relay.idle()


async def end(store: Store, clock: Clock, endpoint: Endpoint, *jobs: str) -> None:
    def work(tx: Tx) -> None:
        for job in jobs:
            enqueue(tx, events.add(tx, make_event(job, now=clock())), [(endpoint, None)], clock(), 0)

    await store.write(work)


async def delivered(store: Store) -> int:
    return await store.read(lambda tx: deliveries.count(tx, DeliveryFilter(status=DeliveryStatus.DELIVERED)))


async def test_a_burst_goes_at_the_service_s_pace(store: Store, clock: Clock) -> None:
    """Two relays share the pace of a Slack channel: no 429, and every ending is shown."""
    chat = make_endpoint(format="slack")
    await store.write(lambda tx: endpoints.add(tx, chat))
    service = Service(clock, pace=SECOND)
    await end(store, clock, chat, *(f"j{number}" for number in range(30)))
    some = relays(store, service, clock)
    for _ in range(31):
        await run(some)
        clock.advance(SECOND)
    assert service.refused == 0
    assert await delivered(store) == 30


async def test_a_machine_that_discord_refuses_asks_once_a_pause(store: Store, clock: Clock) -> None:
    """A 429 without a time is for the address: all its endpoints at all relays wait, longer each time."""
    chats = [
        make_endpoint(id=f"ep_{number}", format="discord", url=f"https://discord.com/{number}") for number in range(3)
    ]
    other = make_endpoint(id="ep_other", url="https://crm.test/", host="crm.test:443")
    await store.write(lambda tx: [endpoints.add(tx, one) for one in (*chats, other)])
    service = Service(clock)
    service.answer, some = BAN, relays(store, service, clock)
    await end(store, clock, chats[0], "j0")
    await run(some)
    for number, chat in enumerate(chats):
        await end(store, clock, chat, f"k{number}")
    for _ in range(78):
        await run(some)
        clock.advance(10 * SECOND)
    first, *probes = service.asked
    assert len(probes) == 1  # 13 minutes, two relays, three endpoints
    assert probes[0] >= first + ADDRESS_PAUSE
    service.answer = None
    await end(store, clock, other, "j9")
    await run(some)
    assert await delivered(store) == 1  # other hosts do not wait
    for _ in range(40):
        await run(some)
        clock.advance(MINUTE)
    assert await delivered(store) == 5


@pytest.mark.parametrize("format", ["discord", "telegram"])
async def test_a_limit_in_the_body_pauses_the_endpoint_alone(store: Store, clock: Clock, format: str) -> None:
    """For the time that it says, rounded up; other endpoints at the host go on."""
    chats = [make_endpoint(id=f"ep_{number}", format=format, url=f"https://chat.test/{number}") for number in range(2)]
    await store.write(lambda tx: [endpoints.add(tx, one) for one in chats])
    service = Service(clock)
    service.answer, some = LIMIT, relays(store, service, clock)
    await end(store, clock, chats[0], "j0")
    await run(some)
    service.answer = None
    paused = await store.read(lambda tx: [endpoints.get(tx, one.id) for one in chats])
    assert [one and one.paused_until for one in paused] == [clock() + 400, None]
    await end(store, clock, chats[1], "j1")
    await run(some)
    assert await delivered(store) == 1
