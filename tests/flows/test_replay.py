"""Replays: what was delivered to one endpoint is sent to it again."""

import pytest

from relay.delivery import enqueue
from relay.endpoints import admin
from relay.errors import Conflict
from relay.model import MINUTE, SECOND, Actor, DeliveryStatus, Endpoint, Replay, Via
from relay.sandbox.receiver import Respond
from relay.store.engine.database import Tx
from relay.store.tables import deliveries, endpoints, events, outbox, replays
from relay.verify import Unverified, verify
from tests.flows.conftest import Start, World
from tests.make import make_endpoint, make_event

NUMBER = 24


async def delivered(world: World, number: int = NUMBER) -> Endpoint:
    """An endpoint with so many deliveries, a second apart, all delivered."""
    endpoint = make_endpoint(name="crm", url=f"{world.receiver_url}/crm", host=world.receiver_url.split("/")[2])
    await world.relay.store.write(lambda tx: endpoints.add(tx, endpoint))
    for index in range(number):
        await happen(world, endpoint, f"j{index}")
        await world.relay.dispatcher.tick()
        await world.relay.dispatcher.idle()
        world.clock.advance(SECOND)
    assert len(world.received("/crm")) == number
    return endpoint


async def happen(world: World, endpoint: Endpoint, job_id: str) -> None:
    """The job ends, and the endpoint is to be notified."""

    def work(tx: Tx) -> None:
        event = events.add(tx, make_event(job_id, now=world.clock()))
        enqueue(tx, event, [(endpoint, None)], world.clock(), 0)

    await world.relay.store.write(work)


async def replay(world: World, endpoint: Endpoint, since: int) -> Replay:
    now = world.clock()
    return await world.relay.replay_endpoint(endpoint.id, since, now, now, Actor(via=Via.API, key="anna"))


async def finish(world: World, endpoint: Endpoint) -> Replay:
    """Lets time pass until the replay has ended."""
    while True:
        world.clock.advance(SECOND)
        await world.settle()
        [found] = await world.relay.store.read(lambda tx: replays.of_endpoint(tx, endpoint.id, 1))
        if found.ended_at is not None:
            await world.settle()
            return found


async def current(world: World, endpoint: Endpoint) -> Endpoint:
    found = await world.relay.store.read(lambda tx: endpoints.get(tx, endpoint.id))
    assert found is not None
    return found


async def test_what_was_delivered_since_is_sent_again(start: Start) -> None:
    """Only that, with the same ids and bodies; each attempt says by whom, and delivered it stays."""
    async with start() as world:
        endpoint = await delivered(world)
        first = world.received("/crm")
        since = world.clock() - 15 * SECOND
        await replay(world, endpoint, since)
        ended = await finish(world, endpoint)
        again = world.received("/crm")[NUMBER:]
        assert ended.reason is None
        assert ended.sent == len(again) == 15
        assert {one.webhook_id: one.body for one in again} == {one.webhook_id: one.body for one in first[-15:]}
        rows = await world.deliveries()
        assert {row.status for row in rows} == {DeliveryStatus.DELIVERED}
        [last] = await world.relay.store.read(lambda tx: [deliveries.attempts_of(tx, rows[-1].id)[-1]])
        assert (last.trigger, last.triggered_by, last.number) == ("replay", "anna", 2)


async def test_a_replay_signs_anew_with_todays_secret(start: Start) -> None:
    """Not with the secret of the first attempt; the timestamp is of now."""
    async with start() as world:
        endpoint = await delivered(world, 1)
        await world.relay.store.write(lambda tx: admin.rotate(tx, endpoint, None, world.clock(), ()))
        secret = (await current(world, endpoint)).secrets[0].value
        await replay(world, endpoint, 0)
        await finish(world, endpoint)
        first, again = world.received("/crm")
        verify(again.headers, again.body, secret, now=world.clock())
        with pytest.raises(Unverified):
            verify(first.headers, first.body, secret, now=world.clock())
        assert abs(int(again.headers["webhook-timestamp"]) - world.clock() // 1_000) <= 5


async def test_live_deliveries_go_before_a_replay(start: Start) -> None:
    """However many are replayed, and however slowly the receiver answers, a live event waits for ten at most."""
    async with start() as world:
        endpoint = await delivered(world)
        await replay(world, endpoint, 0)
        await world.relay.tick()
        pending = [row for row in await world.deliveries() if row.status is DeliveryStatus.PENDING]
        assert len(pending) == 10
        await happen(world, endpoint, "live")
        await world.relay.tick()
        assert len([row for row in await world.deliveries() if row.status is DeliveryStatus.PENDING]) == 11
        await world.settle()
        replayed = world.received("/crm")[NUMBER:]
        assert next(place for place, one in enumerate(replayed) if b'"live"' in one.body) < 20
        await finish(world, endpoint)
        assert len(world.received("/crm")) == 2 * NUMBER + 1


async def test_a_failed_replay_counts_neither_for_nor_against_the_endpoint(start: Start) -> None:
    """One attempt each; the failure streak stays as it is, by successes too; what failed can be resent."""
    async with start() as world:
        endpoint = await delivered(world, 12)
        world.receiver.always(Respond(status=500), path="/crm")
        await replay(world, endpoint, 0)
        await finish(world, endpoint)
        assert len(world.received("/crm")) == 24
        assert {row.status for row in await world.deliveries()} == {DeliveryStatus.FAILED}
        assert (await current(world, endpoint)).failures == 0
        await happen(world, endpoint, "live")
        await world.settle()
        assert (await current(world, endpoint)).failures == 1
        world.receiver.always(Respond(status=200), path="/crm")
        [live] = [row for row in await world.deliveries() if row.job_id == "live"]
        await world.relay.store.write(lambda tx: outbox.cancel_some(tx, endpoint.id, world.clock(), "test", 10))
        assert live.status is DeliveryStatus.PENDING
        for row in await world.deliveries():
            await world.relay.store.write(lambda tx, id=row.id: deliveries.resend(tx, id, world.clock()))
        await world.settle()
        before = await current(world, endpoint)
        assert before.failures == 0


async def test_a_busy_receiver_gets_its_replay_later(start: Start) -> None:
    """After a 429 the endpoint pauses as long as it asked for, and nothing is lost."""
    async with start() as world:
        endpoint = await delivered(world, 3)
        world.receiver.script(Respond(status=429, headers={"retry-after": "60"}), path="/crm")
        await replay(world, endpoint, 0)
        await finish(world, endpoint)
        await world.advance(10 * MINUTE)
        assert {row.status for row in await world.deliveries()} == {DeliveryStatus.DELIVERED}


async def test_a_disabled_endpoint_gets_no_replay(start: Start) -> None:
    """It is refused with the endpoint's name; one that is disabled meanwhile ends the replay, with the reason."""
    async with start() as world:
        endpoint = await delivered(world)
        await replay(world, endpoint, 0)
        with pytest.raises(Conflict, match="a replay to the endpoint crm goes on"):
            await replay(world, endpoint, 0)
        await world.relay.disable_endpoint(endpoint.id, world.clock())
        ended = await finish(world, endpoint)
        assert ended.reason == "the endpoint was disabled: disabled by hand"
        with pytest.raises(Conflict, match="the endpoint crm is disabled: disabled by hand"):
            await replay(world, endpoint, 0)


async def test_a_replay_goes_on_after_a_restart(start: Start) -> None:
    """Where it was, and nothing is sent twice."""
    async with start() as world:
        endpoint = await delivered(world)
        await replay(world, endpoint, 0)
        await world.relay.tick()
        await world.restart()
        await finish(world, endpoint)
        assert len(world.received("/crm")) == 2 * NUMBER


async def test_a_suspended_relay_replays_nothing(start: Start) -> None:
    """Until a person resumes; after a discard, as of a restored store, the replay has ended."""
    async with start() as world:
        endpoint, person = await delivered(world), Actor(via=Via.API, key="anna")
        await world.relay.sending.suspend(person, world.clock())
        await replay(world, endpoint, 0)
        await world.settle()
        assert len(world.received("/crm")) == NUMBER
        await world.relay.sending.discard(person, world.clock())
        world.clock.advance(MINUTE)
        await world.settle()
        [found] = await world.relay.store.read(lambda tx: replays.of_endpoint(tx, endpoint.id, 1))
        assert (found.sent, found.ended_at is not None) == (0, True)
        assert len(world.received("/crm")) == NUMBER
