"""The operator's endpoints get news about the relay itself: once, signed, retried, and no more than so many an hour."""

import asyncio
import json

import pytest

from relay.model import DAY, HOUR, MINUTE, OPERATOR_WORKSPACE, SECOND, OperatorEventType
from relay.operations.retention import RetentionJob
from relay.sandbox.fault_injection import FaultConfig, FaultRule
from relay.sandbox.receiver import Received, Respond
from relay.store.tables import events
from tests.flows.conftest import Start, World
from tests.loopback import answer, answering, serving
from tests.make import SECRET

OPS = {"name": "ops", "secret": SECRET, "events": []}


def inject(world: World, *kinds: str) -> None:
    world.exec.faults.order(FaultConfig(faults=tuple(FaultRule(kind=kind) for kind in kinds)), world.clock())


async def configure(world: World, max_per_hour: int = 10, **endpoint: object) -> None:
    """Restarts the relay with an endpoint for the operator."""
    ops = {**OPS, "url": f"{world.receiver_url}/ops", **endpoint}
    url = world.relay.config.storage.url
    await world.relay.stop()
    settings = world.config(url, [ops], operator={"endpoints": ["ops"], "max_per_hour": max_per_hour})
    world.relay = await type(world.relay).open(settings, world.clock, seed=1)
    await world.relay._apply_config(settings.endpoints, [])


async def deliver(world: World) -> list[Received]:
    """What the operator's endpoint has received so far."""
    await world.relay.operator.flush()
    await world.settle()
    return world.received("/ops")


def types(received: list[Received]) -> list[str]:
    return [json.loads(one.body)["type"] for one in received]


async def test_a_refused_key_and_its_end_are_sent_once_each_and_signed(start: Start) -> None:
    """Ten jobs get 401 for an hour: one notification. The key works again: one more. The operator's endpoint gets no
    job events."""
    async with start() as world:
        await configure(world)
        inject(world, "401")
        for _ in range(10):
            await world.register(world.exec.add(lasts=1_000).id)
        await deliver(world)
        await world.advance(HOUR)
        [refused] = await deliver(world)
        assert refused.verified, refused.error
        body = json.loads(refused.body)
        assert body["type"] == "exec.key_refused"
        assert body["data"]["workspace"] == "default"
        assert "check" in body["data"]["message"].lower()
        inject(world)
        await world.advance(10 * MINUTE)
        assert types(await deliver(world)) == ["exec.key_refused", "relay.recovered"]
        assert len(world.received("/callback")) == 10


async def test_slack_gets_the_news_as_text(start: Start) -> None:
    """Any format works, a chat's too."""
    async with start() as world:
        await configure(world, format="slack")
        inject(world, "closed")
        for _ in range(4):
            await world.register(world.exec.add(lasts=1_000).id)
        [one] = await deliver(world)
        assert "Exec is unreachable" in json.loads(one.body)["text"]


async def test_a_disabled_endpoint_and_a_failed_delivery_are_sent(start: Start) -> None:
    """After a 410 the delivery has failed for good and the endpoint is disabled; when it is enabled, it
    has recovered."""
    async with start() as world:
        await configure(world)
        world.receiver.script(Respond(status=410))
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        made = await world.register(job.id)
        assert made.endpoint is not None
        received = await deliver(world)
        assert sorted(types(received)) == ["delivery.failed", "endpoint.disabled"]
        for one in received:
            assert json.loads(one.body)["data"]["endpoint"]["id"] == made.endpoint.id
            assert world.receiver_url not in one.body.decode()
        await world.relay.enable_endpoint(made.endpoint.id, world.clock())
        assert types(await deliver(world))[2:] == ["relay.recovered"]


async def test_news_is_retried_until_the_operator_has_it(start: Start) -> None:
    """The operator's own endpoint is down for a while."""
    async with start() as world:
        await configure(world)
        inject(world, "401")
        world.receiver.script(Respond(status=500), Respond(status=200))
        await world.register(world.exec.add(lasts=1_000).id)
        first = await deliver(world)
        await world.advance(HOUR)
        received = world.received("/ops")
        assert len(first) == 1
        assert len({one.webhook_id for one in received}) == 1
        assert len(received) == 2


async def crash_and_start(world: World) -> None:
    """A new run on the same store, without the memory of the first one."""
    world.relay.operator._news = asyncio.Queue()
    settings = world.relay.config
    await world.relay.stop()
    world.relay = await type(world.relay).open(settings, world.clock, seed=1)
    await world.relay.store.read(world.relay._restore_states)


async def test_news_about_endpoints_is_stored_with_the_change_and_survives_a_crash(start: Start) -> None:
    """An endpoint is disabled, a delivery fails, a person enables it: a crash right after each change loses no news."""
    async with start() as world:
        await configure(world)
        world.receiver.script(Respond(status=410))
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        await world.prepare(job.id, f"{world.receiver_url}/callback")
        await world.relay.tick()
        await world.relay.poller.idle()
        await world.relay.dispatcher.idle()
        await crash_and_start(world)
        assert sorted(types(await deliver(world))) == ["delivery.failed", "endpoint.disabled"]
        [failed] = [one for one in await world.deliveries() if one.job_id == job.id]
        await world.relay.enable_endpoint(failed.endpoint_id, world.clock())
        await crash_and_start(world)
        assert types(await deliver(world))[2:] == ["relay.recovered"]
        await world.relay.disable_endpoint(failed.endpoint_id, world.clock())
        await crash_and_start(world)
        assert types(await deliver(world))[3:] == ["endpoint.disabled"]


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize(
    ("kind", "type"), [("401", "exec.key_refused"), ("closed", "exec.unreachable"), ("429", "budget.exhausted")]
)
async def test_news_about_exec_is_stored_with_the_poll_and_survives_a_crash(start: Start, kind: str, type: str) -> None:
    """The relay crashes right after the poll, and Exec has recovered when the next run polls: both events are sent."""
    async with start() as world:
        await configure(world)
        inject(world, kind)
        jobs = [world.exec.add(lasts=1_000) for _ in range(4)]
        for job in jobs:
            await world.prepare(job.id, f"{world.receiver_url}/callback")
        await world.relay.tick()
        await world.relay.poller.idle()
        await crash_and_start(world)
        inject(world)
        await world.advance(HOUR)
        assert types(await deliver(world)) == [type, "relay.recovered"]
        assert [one.event_type for one in world.received("/callback")] == ["job.completed"] * 4


async def test_trouble_at_exec_is_sent_once_though_the_relay_restarts(start: Start) -> None:
    """The next run finds Exec still unreachable and sends nothing more; then it sends the recovery."""
    async with start() as world:
        await configure(world)
        inject(world, "closed")
        job = world.exec.add(lasts=1_000)
        await world.register(job.id)
        await world.advance(MINUTE)
        await crash_and_start(world)
        assert types(await deliver(world)) == ["exec.unreachable"]
        await world.advance(10 * MINUTE)
        await crash_and_start(world)
        inject(world)
        await world.advance(10 * MINUTE)
        assert types(await deliver(world)) == ["exec.unreachable", "relay.recovered"]
        assert [one.event_type for one in world.received("/callback")] == ["job.completed"]


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize(("kind", "type"), [("401", "exec.key_refused"), ("429", "budget.exhausted")])
async def test_the_end_of_trouble_is_sent_by_whichever_run_sees_it(start: Start, kind: str, type: str) -> None:
    """The relay restarts while Exec is unreachable."""
    async with start() as world:
        await configure(world)
        inject(world, kind)
        await world.register(world.exec.add(lasts=1_000).id)
        assert types(await deliver(world)) == [type]
        await crash_and_start(world)
        inject(world)
        await world.advance(HOUR)
        assert types(await deliver(world)) == [type, "relay.recovered"]


async def test_news_per_hour_is_limited(start: Start) -> None:
    """Many receivers fail for good at once: the operator's chat is not flooded."""
    async with start() as world, serving(answering(answer(b"", "410 Gone"))) as gone:
        await configure(world, max_per_hour=3)
        jobs = [world.exec.add(lasts=1_000) for _ in range(10)]
        world.clock.advance(5 * SECOND)
        for number, job in enumerate(jobs):
            await world.prepare(job.id, gone.url(f"/r{number}"))
        await world.settle()
        assert len(await deliver(world)) == 3


async def test_without_an_operator_nothing_is_stored(start: Start) -> None:
    """The default: news is in the log only."""
    async with start() as world:
        inject(world, "401")
        await world.register(world.exec.add(lasts=1_000).id)
        await world.relay.operator.flush()
        assert await world.relay.store.read(lambda tx: events.count_since(tx, OPERATOR_WORKSPACE, 0)) == 0


async def test_old_news_is_deleted_with_everything_about_it(start: Start) -> None:
    """`storage.retention` holds for operator events as for jobs."""
    async with start() as world:
        await configure(world)
        inject(world, "401")
        await world.register(world.exec.add(lasts=1_000).id)
        await deliver(world)
        stored = await world.relay.store.read(lambda tx: events.for_job(tx, OPERATOR_WORKSPACE, "exec:default"))
        assert [event.type for event in stored] == [OperatorEventType.KEY_REFUSED]
        world.clock.advance(2 * DAY)
        await RetentionJob(world.relay.store, DAY, world.clock, "own_test").tick()
        assert await world.relay.store.read(lambda tx: events.for_job(tx, OPERATOR_WORKSPACE, "exec:default")) == []
        assert await world.deliveries() == []
