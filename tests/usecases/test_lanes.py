"""What is claimed ahead: it begins without the store, never beside too many others, and never when it is stale."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from relay.config import DeliveryRules
from relay.dispatcher import Dispatcher
from relay.dispatcher.dispatching import FRESH
from relay.dispatcher.lanes import Lanes
from relay.model import DeliveryStatus
from relay.outcome import Answer, Outcome
from relay.store import deliveries, endpoints, outbox, waiting
from relay.store.database import Store, Tx
from relay.store.deliveries import Filter
from relay.store.paging import Page
from relay.telemetry import Telemetry
from relay.turns import Due
from tests.conftest import Clock
from tests.make import NOON, make_endpoint, make_event

JOBS = [f"j{number}" for number in range(12)]
ON_THE_WIRE = 3


class Slow:
    """A wire on which every POST waits until it is let go."""

    def __init__(self) -> None:
        self.under_way: list[str] = []
        self.came = asyncio.Condition()
        self._go: dict[str, asyncio.Event] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: int) -> tuple[Outcome, int]:
        id = headers["webhook-id"]
        self._go[id] = asyncio.Event()
        self.under_way.append(id)
        async with self.came:
            self.came.notify_all()
        await self._go[id].wait()
        return Answer(200, {}, b""), 3

    async def has(self, number: int) -> None:
        """Returns when so many POSTs have come."""
        async with self.came:
            await asyncio.wait_for(self.came.wait_for(lambda: len(self.under_way) >= number), 30)

    def let_go(self, first: int, last: int) -> None:
        for id in self.under_way[first:last]:
            self._go[id].set()


async def begun(store: Store, wire: Slow, clock: Clock) -> Dispatcher:
    """A dispatcher that has claimed a queue of which three may be on the wire."""
    endpoint = make_endpoint()

    def due(tx: Tx) -> None:
        endpoints.add(tx, endpoint)
        for job in JOBS:
            outbox.enqueue(tx, make_event(job), [(endpoint, None)], NOON, 0)

    await store.write(due)
    rules = DeliveryRules.model_validate({"concurrency": 64, "per_host": 4, "per_endpoint": ON_THE_WIRE})
    sender = Dispatcher(store, wire, rules, clock, Telemetry(), "own_1", random.Random(1))
    await sender.tick()
    await wire.has(ON_THE_WIRE)
    return sender


async def statuses(store: Store) -> Counter[DeliveryStatus]:
    found, _ = await store.read(lambda tx: deliveries.page(tx, Page(50), Filter()))
    return Counter(one.status for one in found)


async def test_what_is_claimed_ahead_begins_without_the_store(store: Store, clock: Clock) -> None:
    """As soon as one attempt ends the next one of its endpoint is on the wire; never more than may be there."""
    wire = Slow()
    sender = await begun(store, wire, clock)
    assert len(wire.under_way) == ON_THE_WIRE
    wire.let_go(0, 2)
    await wire.has(ON_THE_WIRE + 2)
    assert len(wire.under_way) == ON_THE_WIRE + 2
    wire.let_go(0, ON_THE_WIRE + 2)
    while (await statuses(store))[DeliveryStatus.PENDING]:
        await sender.tick()
        wire.let_go(0, len(JOBS))
        await asyncio.sleep(0)
    await asyncio.wait_for(sender.idle(), 30)
    assert len(wire.under_way) == len(set(wire.under_way)) == len(JOBS)


async def test_what_waited_too_long_is_claimed_anew(store: Store, clock: Clock) -> None:
    """Its endpoint may be another by now: it is not sent but given back, due at once."""
    wire = Slow()
    sender = await begun(store, wire, clock)
    clock.advance(FRESH + 1)
    wire.let_go(0, ON_THE_WIRE)
    await asyncio.wait_for(sender.idle(), 30)
    assert len(wire.under_way) == ON_THE_WIRE
    assert await statuses(store) == {DeliveryStatus.DELIVERED: ON_THE_WIRE, DeliveryStatus.PENDING: 9}
    assert len(await store.read(lambda tx: waiting.due(tx, clock(), 50))) == len(JOBS) - ON_THE_WIRE


async def test_what_waits_for_what_does_not_end_is_left_to_others(store: Store, clock: Clock) -> None:
    """It is given back, and not claimed again while nothing ends: another relay may have room for it."""
    wire = Slow()
    sender = await begun(store, wire, clock)
    async with asyncio.timeout(30):
        while len(await store.read(lambda tx: waiting.due(tx, clock(), 50))) < len(JOBS) - ON_THE_WIRE:
            await asyncio.sleep(0.05)
    await sender.tick()
    assert len(await store.read(lambda tx: waiting.due(tx, clock(), 50))) == len(JOBS) - ON_THE_WIRE
    wire.let_go(0, ON_THE_WIRE)
    await asyncio.wait_for(sender.idle(), 30)
    assert len(wire.under_way) == ON_THE_WIRE


async def test_what_waits_when_the_relay_stops_is_not_sent(store: Store, clock: Clock) -> None:
    """Stopping waits for what is on the wire, begins nothing, and leaves the rest due."""
    wire = Slow()
    sender = await begun(store, wire, clock)
    stopping = asyncio.create_task(sender.stop())
    await asyncio.sleep(0)
    wire.let_go(0, ON_THE_WIRE)
    await asyncio.wait_for(stopping, 30)
    assert len(wire.under_way) == ON_THE_WIRE
    assert len(await store.read(lambda tx: waiting.due(tx, clock(), 50))) == len(JOBS) - ON_THE_WIRE


def due(host: int, endpoint: int) -> Due:
    """A due delivery of an endpoint of a host."""
    name = f"ep_{host}_{endpoint}"
    return Due(
        id=name,
        host=f"h{host}",
        endpoint_id=name,
        next_attempt_at=NOON,
        listens=True,
        format="standard",
        paused_until=None,
        failures=0,
    )


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=30),
    st.integers(1, 6),
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["leave", "cancel"]), st.integers(0, 30)), max_size=30),
)
def test_no_lane_is_ever_too_full(
    wanted: list[tuple[int, int]], concurrency: int, per_host: int, then: list[tuple[str, int]]
) -> None:
    """Whoever comes, leaves or gives up waiting: never more than allowed, nobody forgotten, no trace."""

    async def play() -> None:
        lanes = Lanes(concurrency, per_host, per_endpoint := max(1, per_host - 1))
        inside: list[Due] = []

        async def come(one: Due) -> Due:
            assert await lanes.enter(one, 60)
            inside.append(one)
            return one

        async def settle() -> None:
            for _ in range(8):
                await asyncio.sleep(0)
            assert len(inside) <= concurrency
            assert max(Counter(one.host for one in inside).values(), default=0) <= per_host
            assert max(Counter(one.endpoint_id for one in inside).values(), default=0) <= per_endpoint

        tasks = [asyncio.create_task(come(due(*one))) for one in wanted]
        await settle()
        for what, place in then:
            waiting = [task for task in tasks if not task.done()]
            if what == "leave" and inside:
                lanes.leave(inside.pop(place % len(inside)))
            elif what == "cancel" and waiting:
                waiting[place % len(waiting)].cancel()
            await settle()
        while inside:
            lanes.leave(inside.pop())
            await settle()
        assert all(task.done() for task in tasks)
        assert (lanes.waiting, lanes._lanes) == (0, {})

    asyncio.run(play())
