"""Whatever a receiver does: the attempt ends in time, is logged, and the others hear at once."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from relay.endpoints import EndpointSpec
from relay.model import MINUTE, SECOND, Attempt, DeliveryStatus, Secret
from relay.sandbox.receiver import ABORT, DISABLE, HANG, Behaviour, HugeBody, SlowBody, redirect
from relay.store.tables import deliveries, endpoints
from tests import rude
from tests.flows.conftest import Start, World
from tests.make import SECRET, make_endpoint
from tests.rude import RudeServer, Script


async def attempts(world: World) -> list[Attempt]:
    [delivery] = await world.deliveries()
    return list(await world.relay.store.read(lambda tx: deliveries.attempts_of(tx, delivery.id)))


async def end_one(world: World, **fields: Any) -> None:
    """Registers a job that has ended: its delivery is due now."""
    job = world.exec.add(lasts=1_000)
    world.clock.advance(5 * SECOND)
    await world.register(job.id, **fields)


async def test_a_receiver_that_does_not_answer_ends_as_a_timeout(start: Start) -> None:
    """No answer: after delivery.timeout of wall clock the attempt has failed, and another one is planned."""
    async with start(delivery={"timeout": "1s"}) as world:
        world.receiver.script(HANG)
        await end_one(world)
        [first] = await attempts(world)
        assert first.outcome == "timeout"
        assert first.duration_ms < 3_000
        await world.advance(MINUTE)
        assert [attempt.outcome for attempt in await attempts(world)] == ["timeout", "delivered"]


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize("behaviour", [SlowBody(), SlowBody(every=100)])
async def test_a_slow_body_after_a_2xx_is_delivered_once(start: Start, behaviour: Behaviour) -> None:
    """The body comes at one byte a second. The delivery is not repeated, and the attempt names the fault."""
    async with start(delivery={"timeout": "1s"}) as world:
        world.receiver.script(behaviour)
        await end_one(world)
        [first] = await attempts(world)
        assert (first.outcome, first.status_code) == ("delivered", 200)
        assert "its body: no complete answer within 1 s" in (first.error or "")
        assert first.duration_ms < 3_000
        await world.advance(MINUTE)
        assert len(await attempts(world)) == 1


async def test_a_flood_is_cut_off_after_the_limit(start: Start) -> None:
    """The receiver answers with a gigabyte: the relay reads 16 KiB, keeps 4 KiB, and the 2xx counts as delivered."""
    async with start() as world:
        world.receiver.script(HugeBody())
        await end_one(world)
        [first] = await attempts(world)
        assert (first.outcome, len(first.response)) == ("delivered", 4_096)
        assert first.duration_ms < 5_000


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize(
    "script",
    [
        rude.CLOSE_UNANSWERED,
        rude.RESET_UNANSWERED,
        rude.CLOSE_MID_HEAD,
        rude.CLOSE_MID_BODY,
        rude.RESET_MID_BODY,
        rude.NOT_HTTP,
        rude.GARBAGE_HEADERS,
        rude.GARBAGE_STATUS,
        rude.TWO_LENGTHS,
        rude.BAD_RETRY_AFTER,
        rude.ENDLESS_HEAD,
        rude.ENDLESS_CONTINUE,
        rude.SILENCE,
    ],
    ids=lambda script: repr(script)[:40],
)
async def test_a_rude_receiver_is_one_failed_attempt(start: Start, script: Script) -> None:
    """The attempt ends, is logged as text without the URL's path, and is retried."""
    async with start(delivery={"timeout": "1s"}) as world, RudeServer(script) as server:
        await end_one(world, callback=EndpointSpec(f"{server.url}/secret-path", secret=SECRET))
        [first] = await attempts(world)
        assert first.outcome in ("timeout", "connection", "protocol", "status", "delivered")
        assert "secret-path" not in (first.error or "")
        [delivery] = await world.deliveries()
        assert (delivery.status is DeliveryStatus.PENDING) == (first.outcome != "delivered")


async def test_a_redirect_is_not_followed(start: Start) -> None:
    """A redirect is a failed attempt wherever it points; the log has its Location without the path."""
    async with start() as world:
        world.receiver.script(redirect(f"{world.receiver_url}/elsewhere"), path="/callback")
        await end_one(world)
        [first] = await attempts(world)
        assert first.outcome == "redirect"
        assert "127.0.0.1" in (first.error or "")
        assert "elsewhere" not in (first.error or "")
        assert world.received("/elsewhere") == []


async def test_a_receiver_can_disable_its_endpoint_by_header(start: Start) -> None:
    """`webhook-delivery: abort-message` gives up one delivery, `disable` the endpoint."""
    async with start() as world:
        world.receiver.script(ABORT)
        await end_one(world)
        [first] = await world.deliveries()
        assert first.status is DeliveryStatus.FAILED
        world.receiver.script(DISABLE)
        await end_one(world)
        await end_one(world)
        statuses = [delivery.status for delivery in await world.deliveries()]
        # A 2xx is delivered, whatever else it says; what comes after is held.
        assert statuses == [DeliveryStatus.FAILED, DeliveryStatus.DELIVERED, DeliveryStatus.PENDING]


async def test_a_private_address_is_blocked_at_the_connection(start: Start) -> None:
    """Networks closed after registering: the delivery is blocked for good, and nothing is sent."""
    async with start() as world:
        job = world.exec.add(lasts=60_000)
        await world.register(job.id)
        await world.restart(security={"allow_http": True, "allow_networks": []})
        await world.advance(2 * MINUTE)
        [delivery] = await world.deliveries()
        assert delivery.status is DeliveryStatus.FAILED
        assert [attempt.outcome for attempt in await attempts(world)] == ["blocked"]
        assert world.received() == []


async def test_one_bad_endpoint_among_fifty_slows_nobody(start: Start) -> None:
    """While twenty new endpoints hang until their timeout, fifty other new ones are notified."""
    async with start(delivery={"timeout": "2s", "per_host": 64}) as world, RudeServer(rude.SILENCE) as silent:
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        for number in range(50):
            await world.prepare(job.id, f"{world.receiver_url}/good{number}")
        for number in range(20):
            await world.prepare(job.id, f"{silent.url}/bad{number}")
        await world.relay.tick()
        await world.relay.poller.idle()
        running = asyncio.create_task(world.relay.dispatcher.run())
        world.relay.dispatcher.wake()
        received = await world.receiver.wait_for(50)
        assert len(received) == 50
        running.cancel()
        await world.settle()
        assert len(world.received()) == 50


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize(
    "text", ["<@here> & <b>", "שלום עולם", "🎭" * 300, 'quote " backslash \\ newline \n', "\u202e\x00"]
)
async def test_odd_scenario_names_arrive_unchanged(start: Start, text: str) -> None:
    """The subscriber gets the scenario's name letter by letter, signed."""
    async with start() as world:
        job = world.exec.add(lasts=1_000, name=text)
        world.clock.advance(5 * SECOND)
        await world.register(job.id)
        [one] = world.received()
        assert one.verified, one.error
        assert json.loads(one.body)["data"]["job"]["scenario"]["name"] == text


async def test_an_internal_error_is_recorded_as_a_failed_attempt(start: Start) -> None:
    """Signing fails because the endpoint's only secret has expired: the log shows it, the attempt is retried, nobody
    else waits."""
    async with start() as world:
        broken = make_endpoint(name="broken", url=f"{world.receiver_url}/broken", host="127.0.0.1:1")
        broken = replace(broken, secrets=(Secret(SECRET, until=1),))
        await world.relay.store.write(lambda tx: endpoints.add(tx, broken))
        await end_one(world)
        assert len(world.received("/callback")) == 1
        [one] = [delivery for delivery in await world.deliveries() if delivery.endpoint_id == broken.id]
        [first] = await world.relay.store.read(lambda tx: deliveries.attempts_of(tx, one.id))
        assert (one.status, first.outcome) == (DeliveryStatus.PENDING, "internal")
