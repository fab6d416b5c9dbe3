"""From registration to notification: every ending reaches every subscriber, signed, once."""

import json

import pytest

from relay import registration
from relay.model import (
    ENDINGS_AT_EXEC,
    HOUR,
    MINUTE,
    SECOND,
    DeliveryStatus,
    EventType,
    RegistrationStatus,
    WatchState,
)
from relay.model.poll_result import JobFound
from relay.registration import exec_callback_hints
from relay.sandbox.exec_server import ExecSettings
from relay.sandbox.fault_injection import FaultConfig, FaultRule
from relay.sandbox.job_simulation import Outcome
from relay.sandbox.receiver import Respond, retry_later
from tests.flows.conftest import Start, World


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize("outcome", list(Outcome))
async def test_every_ending_reaches_its_subscriber(start: Start, outcome: Outcome) -> None:
    """Completed, failed and cancelled jobs are delivered, signed, with Exec's job and the metadata."""
    async with start() as world:
        job = world.exec.add(queued=5_000, lasts=40_000, outcome=outcome, name="Discovery Call")
        made = await world.register(job.id, metadata={"team": "sales"})
        assert world.received() == []
        await world.advance(MINUTE)
        [one] = world.received()
        assert one.verified, one.error
        assert world.second_opinion.agreed == 1
        body = json.loads(one.body)
        assert body["type"] == one.event_type == f"job.{outcome.value}"
        assert body["data"]["registration"] == {"id": made.registration.id, "metadata": {"team": "sales"}}
        assert body["data"]["job"] == await ask(world, job.id)
        assert (await world.watch(job.id)).state is WatchState.SETTLED
        [delivery] = await world.deliveries()
        assert (delivery.status, delivery.attempts) == (DeliveryStatus.DELIVERED, 1)


async def ask(world: World, job_id: str) -> object:
    """Exec's answer for a job."""
    poll_result = (await world.relay.clients["default"].get_job(job_id)).result
    assert isinstance(poll_result, JobFound)
    return poll_result.job.raw()


async def test_a_job_that_already_ended_is_delivered_at_once(start: Start) -> None:
    """Registering an ended job notifies without waiting for anything."""
    async with start() as world:
        job = world.exec.add(lasts=10_000)
        world.clock.advance(HOUR)
        await world.register(job.id)
        assert [one.event_type for one in world.received()] == ["job.completed"]


async def test_one_poll_notifies_every_subscriber(start: Start) -> None:
    """Ten subscribers of one job: ten notifications with one webhook-id, and not one poll more."""
    async with start() as world:
        job = world.exec.add(lasts=20_000)
        for number in range(10):
            await world.register(job.id, path=f"/s{number}")
        await world.advance(30 * SECOND)
        assert len(world.received()) == 10
        assert len({one.webhook_id for one in world.received()}) == 1
        assert (await world.watch(job.id)).polls == 3


async def test_a_failing_receiver_is_retried_on_the_schedule(start: Start) -> None:
    """500, 500, then 200: three attempts, each with its own signature, with one webhook-id and one body."""
    async with start() as world:
        world.receiver.script(Respond(status=500), Respond(status=503))
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        began = world.clock()
        await world.register(job.id)
        await world.advance(2 * MINUTE)
        came = world.received()
        assert len(came) == 3
        assert len({(one.webhook_id, one.body) for one in came}) == 1
        gaps = [one.at - began for one in came]
        assert gaps[0] == 0
        assert 5 * SECOND <= gaps[1] <= 7 * SECOND
        assert 35 * SECOND <= gaps[2] <= 45 * SECOND
        [delivery] = await world.deliveries()
        assert (delivery.status, delivery.attempts) == (DeliveryStatus.DELIVERED, 3)


async def test_a_delivery_fails_after_the_last_attempt(start: Start) -> None:
    """After eleven attempts over three days the delivery failed, and says why."""
    async with start() as world:
        world.receiver.always(Respond(status=500))
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        await world.register(job.id)
        await world.advance(5 * 24 * HOUR)
        [delivery] = await world.deliveries()
        assert (delivery.status, delivery.attempts) == (DeliveryStatus.FAILED, 11)
        assert "answered 500" in (delivery.reason or "")
        assert len(world.received()) == 11


async def test_a_429_pauses_the_whole_endpoint(start: Start) -> None:
    """Every delivery of the endpoint waits for Retry-After."""
    async with start() as world:
        world.receiver.script(retry_later(90), path="/callback")
        jobs = [world.exec.add(lasts=1_000), world.exec.add(lasts=1_000)]
        world.clock.advance(5 * SECOND)
        await world.register(jobs[0].id)
        await world.register(jobs[1].id)
        assert len(world.received()) == 1
        await world.advance(89 * SECOND)
        assert len(world.received()) == 1
        await world.advance(2 * MINUTE)
        assert len(world.received()) == 3


async def test_a_410_disables_the_endpoint(start: Start) -> None:
    """410 disables the endpoint; later events are held, not lost."""
    async with start() as world:
        world.receiver.script(Respond(status=410))
        first, second = world.exec.add(lasts=1_000), world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        await world.register(first.id)
        world.clock.advance(SECOND)
        await world.register(second.id)
        await world.advance(HOUR)
        assert len(world.received()) == 1
        statuses = [delivery.status for delivery in await world.deliveries()]
        assert statuses == [DeliveryStatus.FAILED, DeliveryStatus.PENDING]


async def test_an_unknown_job_becomes_not_found(start: Start) -> None:
    """Three polls over two minutes, then job.not_found."""
    async with start() as world:
        await world.register("nosuchjob123")
        await world.advance(110 * SECOND)
        assert world.received() == []
        await world.advance(20 * SECOND)
        assert [one.event_type for one in world.received()] == ["job.not_found"]
        assert (await world.watch("nosuchjob123")).polls == 3


@pytest.mark.parametrize("gave_up", [EventType.NOT_FOUND, EventType.EXPIRED])
@pytest.mark.parametrize("by", ["registration", "callback"])
async def test_the_real_ending_of_a_given_up_job_reaches_every_notified_subscriber(
    start: Start, gave_up: EventType, by: str
) -> None:
    """One subscriber registers the job again, or Exec calls back: every subscriber gets the real ending, with what it
    replaces."""
    async with start(polling={"max_age": "1h", "interval": "5m"}) as world:
        job = world.exec.add(lasts=2 * HOUR)
        if gave_up is EventType.NOT_FOUND:
            world.exec.faults.order(FaultConfig(faults=(FaultRule(kind="404", lasts=HOUR),)), world.clock())
        chat = {"format": "slack", "events": (*ENDINGS_AT_EXEC,)}
        for path, fields in (("/one", {}), ("/two", {}), ("/chat", chat), ("/left", {})):
            made = await world.register(job.id, path=path, **fields)
        await world.advance(HOUR + 10 * MINUTE)
        assert [one.event_type for one in world.received("/two")] == [gave_up.value]
        given_up_event = world.received("/two")[0].webhook_id
        await world.relay.store.write(lambda tx: registration.withdraw(tx, made.registration.id, world.clock()))
        if by == "callback":
            hint = exec_callback_hints.handle_callback_hint
            await world.relay.store.write(lambda tx: hint(tx, "default", job.id, world.clock()))
        else:
            await world.register(job.id, path="/one")
        await world.advance(HOUR)
        for path in ("/one", "/two"):
            first, last = (json.loads(one.body) for one in world.received(path))
            assert (first["type"], first["data"]["replaces"]) == (gave_up.value, None)
            assert last["type"] == "job.completed"
            assert last["data"]["replaces"] == {"event_id": given_up_event, "type": gave_up.value}
        [message] = [json.loads(one.body) for one in world.received("/chat")]
        headline = {EventType.NOT_FOUND: "scenario job not found", EventType.EXPIRED: "scenario not finished in time"}
        assert message["text"].endswith(f"This replaces the earlier news: {headline[gave_up]}")
        assert [one.event_type for one in world.received("/left")] == [gave_up.value]
        late = await world.register(job.id, path="/late")
        assert late.registration.status is RegistrationStatus.SETTLED
        assert json.loads(world.received("/late")[-1].body)["data"]["replaces"]["event_id"] == given_up_event


async def test_a_job_given_up_twice_notifies_only_who_registered_again(start: Start) -> None:
    """If one subscriber registers a wrong id again, no other subscriber is notified again."""
    async with start() as world:
        await world.register("nosuchjob123", path="/one")
        await world.register("nosuchjob123", path="/two")
        await world.advance(5 * MINUTE)
        await world.register("nosuchjob123", path="/one")
        await world.advance(5 * MINUTE)
        assert [one.event_type for one in world.received("/one")] == ["job.not_found"] * 2
        assert [one.event_type for one in world.received("/two")] == ["job.not_found"]


async def test_a_stuck_job_expires(start: Start) -> None:
    """After max_age every endpoint gets job.expired."""
    async with start(polling={"max_age": "1h", "interval": "5m"}) as world:
        job = world.exec.add(lasts=None)
        await world.register(job.id)
        await world.advance(HOUR + MINUTE)
        assert [one.event_type for one in world.received()] == ["job.expired"]


async def test_started_is_delivered_only_to_its_subscribers(start: Start) -> None:
    """job.started is opt-in."""
    async with start() as world:
        job = world.exec.add(queued=20_000, lasts=60_000)
        both = (EventType.STARTED, EventType.COMPLETED)
        await world.register(job.id, path="/both", events=both)
        await world.register(job.id, path="/end")
        await world.advance(2 * MINUTE)
        assert [one.event_type for one in world.received("/both")] == ["job.started", "job.completed"]
        assert [one.event_type for one in world.received("/end")] == ["job.completed"]


async def test_a_dead_receiver_does_not_delay_the_others(start: Start) -> None:
    """One receiver refuses connections; the fifty good ones are notified at once."""
    async with start() as world:
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        good = [await world.register(job.id, path=f"/good{number}") for number in range(50)]
        assert len(good) == len(world.received()) == 50


async def test_adaptive_polling_detects_endings_soon_with_few_polls(start: Start) -> None:
    """With the learned distribution, sixteen jobs of about two minutes take few polls each, and are notified within
    seconds."""
    async with start(sandbox=ExecSettings(seed=3), polling={"strategy": "adaptive"}) as world:
        for _ in range(16):
            job = world.exec.add(queued=2_000, lasts=120_000)
            await world.register(job.id)
            await world.advance(6 * MINUTE)
        assert len(world.received()) == 16
        last = await world.watch(job.id)
        assert last.polls <= 5
        assert (last.ended_at or 0) - (last.job.ended_at_ms or 0) < 2 * SECOND
