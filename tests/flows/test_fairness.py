"""A dead, slow or flooding endpoint never delays another, whatever its queue, and is not flooded when it comes back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest
from sqlalchemy import func, select, update

from relay import formats
from relay.delivery.enqueue import enqueue
from relay.model import MINUTE, SECOND, Delivery, DeliveryStatus, Endpoint
from relay.process import bind_socket
from relay.sandbox.receiver import FINE, HANG, Respond
from relay.store.engine import schema
from relay.store.engine.database import Tx, new_row_id
from relay.store.tables import deliveries, endpoints, outbox
from relay.store.tables.filters import DeliveryFilter
from tests import rude
from tests.flows.conftest import Start, World
from tests.loopback import Behaviour, Wire, serving
from tests.make import make_endpoint, make_event
from tests.rude import RudeServer, Script

GOOD = 50
QUEUE = 600
"""More than twice what one look at the queue takes."""
SLOW = {"timeout": "20s"}
"""Longer than a test takes: what hangs is unanswered until its server is closed."""

Bad = Callable[[], AbstractAsyncContextManager[str]]


def raw(behave: Behaviour, scheme: str = "http") -> Bad:
    """An endpoint that is a plain socket."""

    @asynccontextmanager
    async def started() -> AsyncIterator[str]:
        async with serving(behave) as served:
            yield served.url("/bad", scheme=scheme)

    return started


def rudely(script: Script) -> Bad:
    @asynccontextmanager
    async def started() -> AsyncIterator[str]:
        async with RudeServer(script) as server:
            yield f"{server.url}/bad"

    return started


@asynccontextmanager
async def refused() -> AsyncIterator[str]:
    """A port on which nothing listens."""
    closed = bind_socket("127.0.0.1", 0, "any")
    port = closed.getsockname()[1]
    closed.close()
    yield f"http://127.0.0.1:{port}/bad"


async def drip(wire: Wire) -> None:
    """An endless answer, one byte at a time."""
    await wire.read()
    await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        await wire.send(b".")
        await asyncio.sleep(0.05)


async def flood(wire: Wire) -> None:
    """An endless answer, as fast as the client reads it."""
    await wire.read()
    await wire.send(b"HTTP/1.1 500 Sorry\r\ntransfer-encoding: chunked\r\n\r\n")
    with suppress(OSError):
        while True:
            await wire.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n")


async def no_tls(wire: Wire) -> None:
    """Bytes that are no handshake, then silence."""
    await wire.send(b"\x16\x03\x03\x00\x05 no TLS at all" + bytes(range(256)))
    await wire.hang()


KINDS: dict[str, Bad] = {
    "black hole": rudely(rude.SILENCE),
    "refused": refused,
    "dripped head": rudely(rude.DRIPPED_HEAD),
    "endless head": rudely(rude.ENDLESS_HEAD),
    "dripped body": raw(drip),
    "endless body": raw(flood),
    "TLS garbage": raw(no_tls, "https"),
    "silent TLS": raw(Wire.hang, "https"),
    "resets": rudely(rude.RESET_UNANSWERED),
}


async def queue_up(world: World, endpoint: Endpoint, length: int) -> None:
    """Adds so many due deliveries for the endpoint."""

    now = world.clock()
    events = [make_event(f"q{number}", now=now) for number in range(length)]
    body = formats.render(endpoint.format, events[0], None)

    def work(tx: Tx) -> None:
        endpoints.add(tx, endpoint)
        queued = [
            Delivery.of(event, endpoint.id, id=new_row_id(tx, "dlv", now), body=body, now=now, due_at=now)
            for event in events
        ]
        outbox.insert(tx, [(delivery, endpoint) for delivery in queued])

    await world.relay.store.write(work)


async def of(world: World, endpoint: Endpoint, status: DeliveryStatus | None = None) -> int:
    which = DeliveryFilter(status=status, endpoint_id=endpoint.id)
    return await world.relay.store.read(lambda tx: deliveries.count(tx, which))


async def attempts(world: World) -> int:
    """The recorded attempts."""
    query = select(func.count()).select_from(schema.attempts)
    return await world.relay.store.read(lambda tx: int(tx.execute(query).scalar_one()))


async def all_good_hear(world: World) -> None:
    """The running dispatcher notifies 50 good endpoints of an ended job; returns when all are notified."""
    job = world.exec.add(lasts=1_000)
    world.clock.advance(5 * SECOND)
    for number in range(GOOD):
        await world.prepare(job.id, f"{world.receiver_url}/good{number}")
    running = asyncio.create_task(world.relay.dispatcher.run())
    world.relay.dispatcher.wake()
    try:
        await world.relay.poller.tick()
        await world.relay.poller.idle()
        paths: set[str] = set()
        while len(paths) < GOOD:
            came = await world.receiver.wait_for(len(world.receiver.received) + 1, within=15 * SECOND)
            paths = {one.path for one in came if one.path.startswith("/good")}
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize("kind", KINDS)
async def test_one_bad_endpoint_does_not_delay_fifty_others(start: Start, kind: str) -> None:
    """600 older deliveries wait for the bad endpoint; the good ones are notified after few attempts of those."""
    async with start(delivery=SLOW) as world, KINDS[kind]() as url:
        bad = make_endpoint(name="bad", url=url, host=url.split("/")[2])
        await queue_up(world, bad, QUEUE)
        await all_good_hear(world)
        assert await of(world, bad, DeliveryStatus.PENDING) >= QUEUE
        assert await attempts(world) <= GOOD + 20, "the breaker lets few of the bad one's try"


async def test_a_hanging_endpoint_does_not_delay_others_of_its_host(start: Start) -> None:
    """Of the host's four connections one stays free for the other endpoints."""
    async with start(delivery=SLOW) as world:
        world.receiver.always(HANG, path="/bad")
        url = f"{world.receiver_url}/bad"
        bad = make_endpoint(name="bad", url=url, host=url.split("/")[2])
        await queue_up(world, bad, QUEUE)
        await all_good_hear(world)
        assert await attempts(world) <= GOOD, "none of the bad one's is over"
        await world.relay.egress.aclose()


async def test_a_long_queue_of_one_slack_channel_does_not_delay_another(start: Start) -> None:
    """One channel has 600 messages to send at one a second: another channel of the same host gets its own at once."""
    async with start() as world:
        url = f"{world.receiver_url}/services"
        crowded = make_endpoint(name="a", url=f"{url}/a", host=url.split("/")[2], format="slack")
        quiet = make_endpoint(name="b", url=f"{url}/b", host=url.split("/")[2], format="slack")
        await queue_up(world, crowded, QUEUE)
        await queue_up(world, quiet, 2)
        for second in range(1, 4):
            await world.settle()
            assert len(world.received("/services/a")) == second
            assert len(world.received("/services/b")) == min(second, 2)
            world.clock.advance(SECOND)


async def test_new_events_do_not_wait_behind_a_bulk_resend(start: Start) -> None:
    """1,000 failed deliveries are resent at one a second: new events are delivered without delay."""
    async with start(delivery={"schedule": ["0s"]}) as world:
        url = f"{world.receiver_url}/channel"
        channel = make_endpoint(name="channel", url=url, host=url.split("/")[2], format="slack")
        await queue_up(world, channel, 1_000)
        ended = {"status": "failed", "next_attempt_at": None, "ended_at": world.clock()}
        failed = DeliveryFilter(status=DeliveryStatus.FAILED)
        store = world.relay.store
        await store.write(lambda tx: tx.execute(update(schema.deliveries), ended))
        assert (
            await store.write(lambda tx: deliveries.resend_batch(tx, failed, world.clock(), 600, formats.min_interval))
        )[0] == 600
        assert (
            await store.write(lambda tx: deliveries.resend_batch(tx, failed, world.clock(), 600, formats.min_interval))
        )[0] == 400
        for _ in range(20):
            await world.settle()
            world.clock.advance(SECOND)
        assert 15 <= len(world.received()) <= 17, "four fifths of what Slack takes"
        new = make_event("new", now=world.clock())
        await store.write(lambda tx: enqueue(tx, new, [(channel, None)], world.clock(), 0))
        for _ in range(2):
            await world.settle()
            world.clock.advance(SECOND)
        assert new.id in [one.webhook_id for one in world.received()]


async def test_an_endpoint_that_recovers_gets_few_attempts_at_once(start: Start) -> None:
    """200 deliveries fail together. When the receiver recovers, one probe comes first, then the others, spread over
    time."""
    async with start() as world:
        url = f"{world.receiver_url}/down"
        down = make_endpoint(name="down", url=url, host=url.split("/")[2])
        world.receiver.always(Respond(status=500))
        await queue_up(world, down, 200)
        await world.settle()
        world.patience = 20 * SECOND
        await world.advance(15 * MINUTE)
        world.patience = 5 * SECOND
        during = len(world.received())
        assert during < 40, "behind the open breaker only probes are sent"
        world.receiver.always(FINE)
        await world.advance(15 * MINUTE)
        assert await of(world, down, DeliveryStatus.DELIVERED) == 200
        after = [one.at for one in world.received()][during:]
        assert after.count(after[0]) == 1, "the probe comes alone"
        a_second = Counter(at // SECOND for at in after)
        assert max(a_second.values()) <= 20
        assert after[-10] - after[0] >= 30 * SECOND
