"""What a transaction makes due is leased in it, and begins without another round through the store."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import pytest

from relay.config import DeliveryRules
from relay.dispatcher import Dispatcher
from relay.model import DeliveryStatus, Endpoint
from relay.outcome import Answer, Outcome
from relay.store import deliveries, endpoints, outbox, waiting
from relay.store.database import Store, Tx
from relay.store.deliveries import Filter
from relay.store.paging import Page
from relay.telemetry import Telemetry
from relay.turns import KEPT
from tests.conftest import Clock
from tests.make import NOON, make_endpoint, make_event

CONCURRENCY = 4
ROOM = CONCURRENCY + 2 * CONCURRENCY
"""On the wire, and claimed ahead."""


class Wire:
    """Takes every POST at once."""

    def __init__(self) -> None:
        self.came: list[str] = []

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: int) -> tuple[Outcome, int]:
        self.came.append(url)
        return Answer(200, {}, b""), 3


class Silent(Wire):
    """Answers nothing until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self._has_come = asyncio.Condition()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: int) -> tuple[Outcome, int]:
        done = await super().post(url, headers, body, timeout)
        async with self._has_come:
            self._has_come.notify_all()
        await self.answers.wait()
        return done

    async def has(self, number: int) -> None:
        """Returns when so many POSTs have come, and no more."""
        async with self._has_come:
            await asyncio.wait_for(self._has_come.wait_for(lambda: len(self.came) >= number), 30)
        assert len(self.came) == number


def dispatcher(store: Store, wire: Wire, clock: Clock, concurrency: int = 64) -> Dispatcher:
    rules = DeliveryRules.model_validate({"concurrency": concurrency, "per_host": 4, "per_endpoint": 4})
    return Dispatcher(store, wire, rules, clock, Telemetry(), "own_1", random.Random(1))


def told(number: int) -> list[Endpoint]:
    return [make_endpoint(url=f"https://e{one}.example/", host=f"e{one}.example:443") for one in range(number)]


def event_of(
    sender: Dispatcher, tx: Tx, some: list[Endpoint], job: str = "j1", delay: int = 0
) -> Callable[[], Awaitable[None]]:
    """A job ended of which all these endpoints hear."""
    for endpoint in some:
        endpoints.add(tx, endpoint)
    event = make_event(job)
    outbox.enqueue(tx, event, [(endpoint, None) for endpoint in some], NOON, delay)
    return sender.seize(tx, [event], NOON)


async def left(store: Store) -> int:
    """How many deliveries are due for whoever asks."""
    return len(await store.read(lambda tx: waiting.due(tx, NOON, 100)))


async def pending(store: Store) -> int:
    return await store.read(lambda tx: deliveries.count(tx, Filter(status=DeliveryStatus.PENDING)))


async def test_it_is_sent_without_being_looked_for(store: Store, clock: Clock) -> None:
    """From the commit on it is this relay's, and is sent as soon as it hears of the commit."""
    wire, some = Wire(), told(3)
    sender = dispatcher(store, wire, clock)
    begin = await store.write(lambda tx: event_of(sender, tx, some))
    assert await left(store) == 0
    assert wire.came == []
    await begin()
    await asyncio.wait_for(sender.idle(), 30)
    assert sorted(wire.came) == [one.url for one in some]
    assert await pending(store) == 0


async def test_the_first_is_sent_in_the_turn_that_hears_of_the_commit(store: Store, clock: Clock) -> None:
    """The loop may be busy with much else before its next one."""
    wire, some = Wire(), told(3)
    sender = dispatcher(store, wire, clock)
    begin = await store.write(lambda tx: event_of(sender, tx, some))
    began = asyncio.ensure_future(begin())
    await asyncio.sleep(0)
    assert len(wire.came) == 1
    await began
    await asyncio.wait_for(sender.idle(), 30)
    assert len(wire.came) == 3


async def test_it_does_not_wait_behind_a_backlog(store: Store, clock: Clock) -> None:
    """Receivers that do not answer hold all that the relay has claimed; an eighth of its attempts is kept."""
    wire, backlog, fresh = Silent(), told(40), make_endpoint(url="https://fresh.example/", host="fresh.example:443")
    sender = dispatcher(store, wire, clock, concurrency=2 * KEPT)

    def late(tx: Tx) -> None:
        for endpoint in backlog:
            endpoints.add(tx, endpoint)
        outbox.enqueue(tx, make_event("old"), [(endpoint, None) for endpoint in backlog], NOON, 0)

    await store.write(late)
    await sender.tick()
    await wire.has(2 * KEPT - 2)
    begin = await store.write(lambda tx: event_of(sender, tx, [fresh]))
    began = asyncio.ensure_future(begin())
    await wire.has(2 * KEPT - 1)
    assert wire.came[-1] == fresh.url
    wire.answers.set()
    await began
    await asyncio.wait_for(sender.idle(), 30)


async def test_there_is_no_more_of_it_than_there_is_room(store: Store, clock: Clock) -> None:
    """What has no room is due as ever."""
    wire, some = Wire(), told(20)
    sender = dispatcher(store, wire, clock, concurrency=CONCURRENCY)
    begin = await store.write(lambda tx: event_of(sender, tx, some))
    assert await left(store) == len(some) - ROOM
    await begin()
    await asyncio.wait_for(sender.idle(), 30)
    assert await left(store) == len(some) - ROOM
    await sender.tick()
    await asyncio.wait_for(sender.idle(), 30)
    assert await pending(store) == 0


async def test_what_finds_its_room_taken_is_due_again(store: Store, clock: Clock) -> None:
    """Two transactions saw the same room: the second one's deliveries are given back, and sent in their turn."""
    wire, some = Silent(), told(2 * ROOM)
    sender = dispatcher(store, wire, clock, concurrency=CONCURRENCY)
    first = await store.write(lambda tx: event_of(sender, tx, some[:ROOM]))
    second = await store.write(lambda tx: event_of(sender, tx, some[ROOM:], "j2"))
    assert await left(store) == 0
    began = asyncio.gather(first(), second())
    await wire.has(CONCURRENCY)
    wire.answers.set()
    await began
    await asyncio.wait_for(sender.idle(), 30)
    assert await left(store) == ROOM
    await sender.tick()
    await asyncio.wait_for(sender.idle(), 30)
    assert sorted(wire.came) == sorted(one.url for one in some)
    assert await pending(store) == 0


@pytest.mark.parametrize(
    "unwell", [{"failures": 1}, {"paused_until": NOON + 1}, {"disabled_at": NOON}, {"format": "slack"}]
)
async def test_what_has_to_wait_for_its_turn_does(store: Store, clock: Clock, unwell: dict[str, object]) -> None:
    """An endpoint that fails, is paused or disabled, or is called at a rate, is left to the dispatcher's own round."""
    wire, [endpoint] = Wire(), told(1)
    sender = dispatcher(store, wire, clock)
    endpoint = replace(endpoint, **unwell)  # type: ignore[arg-type]
    await (await store.write(lambda tx: event_of(sender, tx, [endpoint])))()
    await asyncio.wait_for(sender.idle(), 30)
    assert wire.came == []
    assert await pending(store) == 1


async def test_what_is_to_wait_first_waits(store: Store, clock: Clock) -> None:
    """A schedule whose first attempt is not at once."""
    wire = Wire()
    sender = dispatcher(store, wire, clock)
    await (await store.write(lambda tx: event_of(sender, tx, told(1), delay=5_000)))()
    await asyncio.wait_for(sender.idle(), 30)
    assert wire.came == []


@pytest.mark.parametrize("late", [True, False], ids=["commits after the stop", "committed before"])
async def test_a_relay_that_stops_begins_nothing_and_keeps_nothing(store: Store, clock: Clock, late: bool) -> None:
    """Leases taken in the last moment are given back with all others."""
    wire = Wire()
    sender = dispatcher(store, wire, clock)
    if late:
        await sender.stop()
    begin = await store.write(lambda tx: event_of(sender, tx, told(3)))
    if not late:
        await sender.stop()
    await begin()
    await asyncio.wait_for(sender.idle(), 30)
    assert wire.came == []
    assert await left(store) == 3


async def test_an_answer_that_comes_of_it_is_kept(store: Store, clock: Clock) -> None:
    """The lease is this relay's, so that what came is written down as of any other delivery."""
    sender = dispatcher(store, Wire(), clock)
    await (await store.write(lambda tx: event_of(sender, tx, told(1))))()
    await asyncio.wait_for(sender.idle(), 30)
    [one], _ = await store.read(lambda tx: deliveries.page(tx, Page(10), Filter()))
    assert (one.status, one.attempts) == (DeliveryStatus.DELIVERED, 1)
