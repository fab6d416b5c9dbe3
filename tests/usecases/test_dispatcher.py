"""The dispatcher: a leased delivery begins at once, within the concurrency limits, and never too late for its lease."""

import asyncio
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

import pytest

from relay.config import DeliverySection
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.enqueue import enqueue
from relay.egress import HttpResponse, RequestFailed, SendResult
from relay.model import SECOND, DeliveryStatus, Endpoint, EndpointKind, Instant
from relay.polling.poll_recorder import Reservation
from relay.store.engine.database import Store, Tx
from relay.store.engine.paging import Page
from relay.store.tables import deliveries, due_deliveries, endpoints
from relay.store.tables.filters import DeliveryFilter
from relay.store.tables.outbox import Leased, LeasedDelivery
from relay.telemetry import Telemetry
from tests.conftest import Clock
from tests.make import NOON, claim_due, make_endpoint, make_event

T = TypeVar("T")
CONCURRENCY = 4
LEASE = 40 * SECOND
"""Twice the timeout of a delivery, and ten seconds."""


class Wire:
    """An HTTP client that answers 200 at once."""

    def __init__(self) -> None:
        self.came: list[str] = []

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: int, per_address: int | None = None
    ) -> tuple[SendResult, int]:
        self.came.append(url)
        return HttpResponse(200, {}, b""), 3


class Silent(Wire):
    """An HTTP client that does not answer before `answers` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self._has_come = asyncio.Condition()

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: int, per_address: int | None = None
    ) -> tuple[SendResult, int]:
        done = await super().post(url, headers, body, timeout, per_address)
        async with self._has_come:
            self._has_come.notify_all()
        await self.answers.wait()
        return done

    async def has(self, number: int) -> None:
        """Returns when exactly this many POSTs have come."""
        async with self._has_come:
            await asyncio.wait_for(self._has_come.wait_for(lambda: len(self.came) >= number), 10)
        assert len(self.came) == number


def dispatcher(store: Store, wire: Wire, clock: Clock, concurrency: int = 64, owner: str = "own_1") -> Dispatcher:
    rules = DeliverySection.model_validate({"concurrency": concurrency, "per_host": 4, "per_endpoint": 3})
    return Dispatcher(store, wire, rules, clock, Telemetry(), owner, random.Random(1))


def make_subscribers(number: int) -> list[Endpoint]:
    return [make_endpoint(url=f"https://e{one}.example/", host=f"e{one}.example:443") for one in range(number)]


def insert(
    tx: Tx, subscribers: list[Endpoint], job: str = "j1", delay: int = 0, reservation: Reservation | None = None
) -> list[Leased]:
    """Enqueues the event of an ended job for these endpoints."""
    for endpoint in subscribers:
        endpoints.add(tx, endpoint)
    if reservation is not None:
        reservation.reset()
    subscribed = [(endpoint, None) for endpoint in subscribers]
    return enqueue(tx, make_event(job), subscribed, NOON, delay, leasing=reservation).leased


async def deliver(
    store: Store, sender: Dispatcher, subscribers: list[Endpoint], job: str = "j1", delay: int = 0
) -> int:
    """A job ends, and its deliveries begin as after a poll. Returns how many were leased as they were inserted."""
    with sender.reserve() as reservation:
        leased = await store.write(lambda tx: insert(tx, subscribers, job, delay, reservation))
        await reservation.start(leased)
    return len(leased)


async def due(store: Store, now: Instant = NOON) -> int:
    """The number of deliveries that are due and not leased."""
    return len(await store.read(lambda tx: due_deliveries.due(tx, now, 100)))


async def pending(store: Store) -> int:
    return await store.read(lambda tx: deliveries.count(tx, DeliveryFilter(status=DeliveryStatus.PENDING)))


async def idle(sender: Dispatcher) -> None:
    await asyncio.wait_for(sender.idle(), 10)


async def test_an_inserted_delivery_is_leased_and_begins_without_a_tick(store: Store, clock: Clock) -> None:
    """This relay holds it from the commit on, and its result is recorded."""
    wire, subscribers = Wire(), make_subscribers(3)
    sender = dispatcher(store, wire, clock)
    with sender.reserve() as reservation:
        leased = await store.write(lambda tx: insert(tx, subscribers, reservation=reservation))
        assert (len(leased), await due(store), wire.came) == (3, 0, [])
        await reservation.start(leased)
    await idle(sender)
    assert sorted(wire.came) == [one.url for one in subscribers]
    found, _ = await store.read(lambda tx: deliveries.page(tx, Page(10), DeliveryFilter()))
    assert {(one.status, one.attempts, one.attempts_in_run) for one in found} == {(DeliveryStatus.DELIVERED, 1, 1)}


class Counting:
    """A store that counts its reads, and the leases that its transactions give."""

    def __init__(self, store: Store) -> None:
        self._store, self.reads, self.leases = store, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read(self, work: Callable[[Tx], T]) -> T:
        self.reads += 1
        return await self._store.read(work)

    async def write(self, work: Callable[[Tx], T], *, at_end: bool = False) -> T:
        result = await self._store.write(work, at_end=at_end)
        match result:
            case [(LeasedDelivery(), Endpoint()), *_] as leased:  # as they are inserted
                self.leases += len(leased)
            case ([(LeasedDelivery(), Endpoint()), *_] as leased, set()):  # those that are due
                self.leases += len(leased)
        return result


async def test_no_lease_is_given_back(store: Store, clock: Clock) -> None:
    """Five events to 100 subscribers, and ten slots: each delivery is leased once, sent once and recorded once."""
    wire, subscribers, counting = Wire(), make_subscribers(100), Counting(store)
    sender = dispatcher(cast(Store, counting), wire, clock, 10)
    running = asyncio.create_task(sender.run())
    for number in range(5):
        await deliver(cast(Store, counting), sender, subscribers, f"j{number}")
        sender.wake()
    async with asyncio.timeout(30):
        while await pending(store):
            await asyncio.sleep(0)
    running.cancel()
    assert (counting.leases, len(wire.came)) == (500, 500)


async def test_nothing_is_looked_for_if_nothing_waits(store: Store, clock: Clock) -> None:
    """All of an event's deliveries begin as they are inserted: neither their ends nor their records cause a query."""
    counting = Counting(store)
    sender = dispatcher(cast(Store, counting), Wire(), clock)
    running = asyncio.create_task(sender.run())
    sender.wake()
    async with asyncio.timeout(30):
        while not counting.reads:
            await asyncio.sleep(0)
    assert await deliver(cast(Store, counting), sender, make_subscribers(30)) == 30
    await idle(sender)
    assert (await pending(store), counting.reads) == (0, 1)
    running.cancel()


async def test_a_retry_that_is_due_at_once_is_found_without_a_tick(store: Store, clock: Clock) -> None:
    """The end of a failed attempt causes a query, though nothing waited."""

    class Fails(Wire):
        async def post(
            self, url: str, headers: Mapping[str, str], body: bytes, timeout: int, per_address: int | None = None
        ) -> tuple[SendResult, int]:
            await super().post(url, headers, body, timeout, per_address)
            return HttpResponse(200 if len(self.came) > 1 else 500, {}, b""), 3

    rules = DeliverySection.model_validate({"schedule": ["0s", "0s"]})
    sender = Dispatcher(store, wire := Fails(), rules, clock, Telemetry(), "own_1", random.Random(1))
    await sender.tick()  # nothing waits
    running = asyncio.create_task(sender.run())
    assert await deliver(store, sender, make_subscribers(1)) == 1
    async with asyncio.timeout(30):
        while await pending(store):
            await asyncio.sleep(0)
    assert len(wire.came) == 2
    running.cancel()


async def test_no_more_deliveries_are_leased_than_begin(store: Store, clock: Clock) -> None:
    """100 subscribers and four slots: 96 stay due, for any relay, and follow as slots are freed."""
    wire, subscribers = Silent(), make_subscribers(100)
    sender = dispatcher(store, wire, clock, CONCURRENCY)
    assert await deliver(store, sender, subscribers) == CONCURRENCY
    await wire.has(CONCURRENCY)
    assert await due(store) == len(subscribers) - CONCURRENCY
    await sender.tick()
    assert await due(store) == len(subscribers) - CONCURRENCY
    wire.answers.set()
    running = asyncio.create_task(sender.run())
    sender.wake()
    async with asyncio.timeout(30):
        while await pending(store):
            await asyncio.sleep(0.01)
    running.cancel()
    assert sorted(wire.came) == sorted(one.url for one in subscribers), "none began twice"


async def test_concurrent_transactions_share_the_slots(store: Store, clock: Clock) -> None:
    """20 jobs end at once, each with two subscribers: all slots are used once, and no lease is released."""
    wire = Silent()
    sender = dispatcher(store, wire, clock, CONCURRENCY)
    ends = (deliver(store, sender, make_subscribers(2), f"j{job}") for job in range(20))
    assert sum(await asyncio.gather(*ends)) == CONCURRENCY
    await wire.has(CONCURRENCY)
    assert await due(store) == 40 - CONCURRENCY
    wire.answers.set()
    await idle(sender)
    assert len(wire.came) == CONCURRENCY


async def test_an_endpoint_never_exceeds_its_slots(store: Store, clock: Clock) -> None:
    """Deliveries that a poll inserted and deliveries that were due count together."""
    wire, [endpoint] = Silent(), make_subscribers(1)
    sender = dispatcher(store, wire, clock)
    for job in range(5):
        await deliver(store, sender, [endpoint], f"j{job}")
    await sender.tick()
    await wire.has(3)
    assert await due(store) == 2
    wire.answers.set()
    await idle(sender)
    await sender.tick()
    await idle(sender)
    assert await pending(store) == 0


async def test_a_delayed_first_attempt_does_not_begin_at_once(store: Store, clock: Clock) -> None:
    """A schedule whose first delay is not zero."""
    wire = Wire()
    sender = dispatcher(store, wire, clock)
    assert await deliver(store, sender, make_subscribers(1), delay=5_000) == 0
    await idle(sender)
    assert wire.came == []


async def test_a_failed_transaction_frees_its_slots(store: Store, clock: Clock) -> None:
    """And no attempt of it begins."""
    wire = Wire()
    sender = dispatcher(store, wire, clock, CONCURRENCY)

    def fail(tx: Tx, reservation: Reservation) -> None:
        insert(tx, make_subscribers(9), reservation=reservation)
        raise LookupError("ours")

    for _ in range(3):
        with pytest.raises(LookupError), sender.reserve() as reservation:
            await store.write(lambda tx, reservation=reservation: fail(tx, reservation))  # type: ignore[misc]
    assert await deliver(store, sender, make_subscribers(9), "j2") == CONCURRENCY
    await idle(sender)
    assert len(wire.came) == CONCURRENCY


async def test_a_delivery_inserted_twice_is_leased_once(store: Store, clock: Clock) -> None:
    """The event exists already: the slots are free again."""
    wire, subscribers = Silent(), make_subscribers(3)
    sender = dispatcher(store, wire, clock, CONCURRENCY)
    assert await deliver(store, sender, subscribers) == 3
    assert await deliver(store, sender, subscribers) == 0
    assert await deliver(store, sender, make_subscribers(3), "j2") == 1
    wire.answers.set()
    await idle(sender)
    assert len(wire.came) == CONCURRENCY


@pytest.mark.parametrize("late", [True, False], ids=["commits after the stop", "committed before"])
async def test_a_stopping_relay_starts_nothing_and_releases_its_leases(store: Store, clock: Clock, late: bool) -> None:
    """Leases that were taken in the last moment are released like all others."""
    wire = Wire()
    sender = dispatcher(store, wire, clock)
    if late:
        await sender.stop()
    with sender.reserve() as reservation:
        leased = await store.write(lambda tx: insert(tx, make_subscribers(3), reservation=reservation))
        if not late:
            await sender.stop()
        await reservation.start(leased)
    await idle(sender)
    assert wire.came == []
    assert await due(store) == 3


class SlowCommits:
    """A store whose commits take `ms` by the clock."""

    def __init__(self, store: Store, clock: Clock, ms: int) -> None:
        self._store, self._clock, self.ms = store, clock, ms

    async def write(self, work: Callable[[Tx], T], *, at_end: bool = False) -> T:
        done = await self._store.write(work, at_end=at_end)
        self._clock.advance(self.ms)
        return done

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self._store.read(work)


@pytest.mark.parametrize("ms", [600, 1_100, 3_000, LEASE - 17 * SECOND - 1])
@pytest.mark.parametrize("by", ["a poll", "a round"])
async def test_slow_commits_do_not_prevent_an_attempt(store: Store, clock: Clock, ms: int, by: str) -> None:
    """It begins as long as it ends two seconds before its lease does: the result has to be recorded too."""
    wire, slow = Wire(), SlowCommits(store, clock, ms)
    sender = dispatcher(slow, wire, clock)  # type: ignore[arg-type]
    if by == "a poll":
        await deliver(slow, sender, make_subscribers(3))  # type: ignore[arg-type]
    else:
        await store.write(lambda tx: insert(tx, make_subscribers(3)))
        await sender.tick()
    await idle(sender)
    assert (len(wire.came), await pending(store)) == (3, 0)


async def test_an_attempt_that_would_outlast_its_lease_is_not_made(store: Store, clock: Clock) -> None:
    """Another relay could make it too; the lease expires, and the delivery is leased again."""
    wire, slow = Wire(), SlowCommits(store, clock, LEASE - 17 * SECOND)
    sender = dispatcher(slow, wire, clock)  # type: ignore[arg-type]
    await store.write(lambda tx: insert(tx, make_subscribers(3)))
    await sender.tick()
    await idle(sender)
    assert (wire.came, await due(store, clock())) == ([], 0)
    slow.ms = 0
    clock.advance(17 * SECOND)
    await sender.tick()
    await idle(sender)
    assert (len(wire.came), await pending(store)) == (3, 0)


async def test_a_delivery_in_flight_is_not_leased_again_after_its_lease_expired(store: Store, clock: Clock) -> None:
    """The relay or its store stalled: the attempt is still in flight, so there is no second one."""
    wire = Silent()
    sender = dispatcher(store, wire, clock)
    await deliver(store, sender, make_subscribers(1))
    await wire.has(1)
    clock.advance(2 * LEASE)
    await sender.tick()
    await asyncio.sleep(0)
    await wire.has(1)
    wire.answers.set()
    await idle(sender)
    await sender.tick()
    await idle(sender)
    assert (len(wire.came), await pending(store)) == (1, 0)


async def test_a_locked_row_is_tried_once_a_second(store: Store, another: Store, clock: Clock) -> None:
    """A stalled relay holds rows locked: they do not keep the store busy, and others of the endpoint are sent."""
    if store.is_exclusive:
        pytest.skip("SQLite has one writer")
    [endpoint] = make_subscribers(1)
    held, go_on = threading.Event(), threading.Event()

    def hold(tx: Tx) -> None:
        claim_due(tx, NOON, NOON + LEASE, most=1)
        held.set()
        assert go_on.wait(30)

    for job in range(5):
        await store.write(lambda tx, job=job: insert(tx, [endpoint], f"j{job}"))  # type: ignore[misc]
        if job == 0:
            holding = asyncio.create_task(another.write(hold))
            assert await asyncio.to_thread(held.wait, 30)
    wire, writes = Wire(), 0
    counting = SlowCommits(store, clock, 0)
    sender = dispatcher(counting, wire, clock)  # type: ignore[arg-type]
    real = counting.write

    async def write(work: Callable[[Tx], T], *, at_end: bool = False) -> T:
        nonlocal writes
        writes += 1
        return await real(work, at_end=at_end)

    counting.write = write  # type: ignore[method-assign]
    try:
        for _ in range(50):
            await sender.tick()
            await idle(sender)
        assert len(wire.came) == 4
        assert writes <= 10
    finally:
        go_on.set()
        await holding


class Busy(Wire):
    """Sends nothing to endpoints with a limit for their address: enough others wait for it."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: int, per_address: int | None = None
    ) -> tuple[SendResult, int]:
        await super().post(url, headers, body, timeout, per_address)
        return (HttpResponse(200, {}, b"") if per_address is None else RequestFailed("busy", "others wait")), 3


async def test_a_delivery_to_a_busy_address_is_put_off_and_counts_no_attempt(store: Store, clock: Clock) -> None:
    """It is due again when those that wait have ended; an endpoint that succeeded before has no such limit."""
    wire, (fresh, known, standing) = Busy(), make_subscribers(3)
    ad_hoc = EndpointKind.AD_HOC
    some = [replace(fresh, kind=ad_hoc), replace(known, kind=ad_hoc, succeeded_at=NOON), standing]
    sender = dispatcher(store, wire, clock)
    assert await deliver(store, sender, some) == 3
    await idle(sender)
    found, _ = await store.read(lambda tx: deliveries.page(tx, Page(10), DeliveryFilter()))
    assert {one.endpoint_id: (one.status, one.attempts) for one in found} == {
        some[0].id: (DeliveryStatus.PENDING, 0),
        some[1].id: (DeliveryStatus.DELIVERED, 1),
        some[2].id: (DeliveryStatus.DELIVERED, 1),
    }
    assert (await due(store, NOON + 15 * SECOND - 1), await due(store, NOON + 15 * SECOND)) == (0, 1)
