"""Several relays on one PostgreSQL: what each does, none does twice, and together they keep what one would keep."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from relay.delivery.endpoint_health import BREAKER_OPENS_AT
from relay.delivery.enqueue import enqueue
from relay.model import DAY, MINUTE, SECOND, Endpoint, Instant
from relay.process import monotonic_ms
from relay.sandbox.exec_server import ExecSettings
from relay.sandbox.fault_injection import Fault, FaultConfig
from relay.sandbox.rate_limits import UNLIMITED
from relay.sandbox.receiver import FINE, HANG, Received, Respond
from relay.service import Relay
from relay.store.engine.clock import DatabaseClock
from relay.store.engine.database import Tx
from relay.store.tables import endpoints
from tests.flows.replicas import Replicas, replicas
from tests.loopback import Wire, answer, serving
from tests.make import make_endpoint, make_event


def busiest(times: list[Instant], span: int) -> int:
    """The maximum in any `span` milliseconds."""
    times = sorted(times)
    return max(sum(1 for one in times[place:] if one < at + span) for place, at in enumerate(times))


def polls_of(world: Replicas) -> list[Instant]:
    return [asked.at for asked in world.exec.records.requests if asked.call == "poll"]


def sent_by(relay: Relay) -> int:
    """The deliveries that this relay has made."""
    counted = relay.telemetry.metrics.registry.collect()
    return int(
        sum(
            one.value
            for metric in counted
            for one in metric.samples
            if one.name == "relay_delivery_attempts_total" and one.labels["outcome"] == "delivered"
        )
    )


async def until(condition: Callable[[], bool], within: float = 30) -> None:
    """Returns when the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.02)


async def test_three_relays_together_keep_execs_limits(postgres_url: str) -> None:
    """At full load no rolling minute has more than 60 requests, and no rolling day more than its limit."""
    budget = {"per_minute": 60, "per_day": 240, "share": 1.0}
    sandbox = ExecSettings(seed=1, limits=UNLIMITED)
    async with replicas(postgres_url, 3, sandbox, exec={"budget": budget}, polling={"concurrency": 200}) as world:
        for job in [world.exec.add(lasts=3 * DAY) for _ in range(90)]:
            await world.prepare(job.id, world.receiver_url + "/x")
        for _ in range(40):
            world.clock.advance(10 * SECOND)
            await world.settle()
        assert len(polls_of(world)) == 240
        world.clock.advance(DAY - 7 * MINUTE)
        for _ in range(60):  # what was spent a day ago comes free by the clock's five minutes
            world.clock.advance(10 * SECOND)
            await world.settle()
        polls = polls_of(world)
        assert len(polls) > 250
        assert busiest(polls, MINUTE) <= 60
        assert busiest(polls, DAY) <= 240


async def test_three_relays_share_deliveries_and_send_each_once(postgres_url: str) -> None:
    """Each relay sends a part; nothing is sent twice, and nothing is left."""
    at_once, all_send = 2, asyncio.Event()

    async def behave(wire: Wire) -> None:
        while True:
            await wire.read()
            if min(len(one.dispatcher._attempts) for one in world.relays) >= at_once:
                all_send.set()
            await all_send.wait()  # no relay sends all of it before the others begin
            await wire.send(answer())

    limits = {"concurrency": 4, "per_host": 4, "per_endpoint": 4}  # half of them for endpoints that are new
    async with replicas(postgres_url, 3, delivery=limits) as world, serving(behave) as server:
        job = world.exec.add(lasts=1)
        world.clock.advance(SECOND)
        for number in range(60):
            await world.prepare(job.id, server.url(f"/{number}"))
        async with asyncio.timeout(60):
            while sum(sent_by(one) for one in world.relays) < 60:  # `settle` sees no progress at this receiver
                await world.settle()
        await world.settle()
        assert Counter(one.target for one in server.requests) == {f"/{number}": 1 for number in range(60)}
        assert sum(sent_by(one) for one in world.relays) == 60
        assert min(sent_by(one) for one in world.relays) >= at_once


async def claim_and_hang(world: Replicas, relay: Relay) -> tuple[Received, str]:
    """One relay hangs in an attempt and in a poll of another job: the received request, and that job's id."""
    delivered, asked = world.exec.add(lasts=1), world.exec.add(lasts=MINUTE)
    world.clock.advance(SECOND)
    await world.prepare(delivered.id, world.receiver_url + "/delivered")
    world.receiver.always(HANG)
    await relay.tick()
    await relay.poller.idle()
    await relay.dispatcher.tick()
    [first] = await world.receiver.wait_for(1)
    hangs = FaultConfig(jobs={asked.id: (Fault(kind="timeout", wait=10 * MINUTE),)})
    world.exec.faults.order(hangs, world.clock())
    await world.prepare(asked.id, world.receiver_url + "/asked")
    await relay.poller.tick()
    await until(lambda: asked.id in {one.job_id for one in world.exec.records.requests})
    world.receiver.always(FINE)
    return first, asked.id


async def test_leases_of_a_dead_relay_are_taken_over(postgres_url: str) -> None:
    """Another relay makes its poll and its attempt when the leases expire, not sooner; the webhook-id stays."""
    async with replicas(postgres_url, 2) as world:
        dead, alive = world.relays
        first, asked = await claim_and_hang(world, dead)
        await world.kill(dead)
        world.relay = alive
        for wait, times, polls in ((29 * SECOND, 1, 0), (11 * SECOND, 2, 1)):
            world.clock.advance(wait)
            await world.settle()
            assert [one.path for one in world.received()] == ["/delivered"] * times
            assert (await world.watch(asked)).polls == polls
        second = world.received()[1]
        assert (second.webhook_id, second.body) == (first.webhook_id, first.body)


async def test_a_stopping_relay_releases_its_leases(postgres_url: str) -> None:
    """Another relay makes at once the poll and the attempt that the stop interrupts."""
    async with replicas(postgres_url, 2) as world:
        leaving, staying = world.relays
        first, asked = await claim_and_hang(world, leaving)
        world.relay, world.relays = staying, [staying]
        await leaving.stop()
        await world.settle()
        assert [one.webhook_id for one in world.received()] == [first.webhook_id] * 2
        assert (await world.watch(asked)).polls == 1


async def queue(world: Replicas, endpoint: Endpoint, length: int) -> None:
    """Adds so many due deliveries for the endpoint."""

    def work(tx: Tx) -> None:
        endpoints.add(tx, endpoint)
        for number in range(length):
            enqueue(tx, make_event(f"q{number}", now=world.clock()), [(endpoint, None)], world.clock(), 0)

    await world.relay.store.write(work)


async def test_three_relays_together_keep_slacks_rate_limit(postgres_url: str) -> None:
    """Three relays with a queue for one channel: never two messages within a second, and no second is wasted."""
    async with replicas(postgres_url, 3) as world:
        url = world.receiver_url
        await queue(world, make_endpoint(url=f"{url}/slack", host=url.removeprefix("http://"), format="slack"), 8)
        began = world.clock()
        while world.clock() < began + 10 * SECOND:
            await world.settle()
            world.clock.advance(250)
        assert [one.at - began for one in world.received()] == [number * SECOND for number in range(8)]
        assert min(sent_by(one) for one in world.relays) < 8


async def test_a_failing_endpoint_is_probed_by_one_relay_at_a_time(postgres_url: str) -> None:
    """This holds while the breaker is open, even if a probe takes long; when it closes, no relay waits for another."""
    may_answer, answers = asyncio.Event(), [answer(status="500 Sorry")]

    async def behave(wire: Wire) -> None:
        while True:
            await wire.read()
            await may_answer.wait()
            await wire.send(answers.pop() if answers else answer())

    async with replicas(postgres_url, 3) as world, serving(behave) as server:
        host = f"127.0.0.1:{server.port}"
        await queue(world, make_endpoint(url=server.url("/x"), host=host, failures=BREAKER_OPENS_AT), 12)
        for probes in (1, 2):
            may_answer.clear()
            for _ in range(6):
                await world.each(lambda one: one.dispatcher.tick())
                world.clock.advance(2 * SECOND)
            await until(lambda: len(server.requests) > 0)
            assert len(server.requests) == probes
            may_answer.set()
            await world.each(lambda one: one.dispatcher.idle())
            world.clock.advance(MINUTE)
        await world.settle()
        await world.advance(MINUTE)
        assert len(server.requests) == 12 + 1


async def test_an_idle_relay_starts_work_of_another_at_once(postgres_url: str) -> None:
    """With a tick a minute, one relay registers jobs that it can't poll or send; another does it meanwhile."""
    few: dict[str, Any] = {"polling": {"tick": "60s", "concurrency": 1}, "delivery": {"concurrency": 1, "per_host": 1}}
    async with replicas(postgres_url, 2, clocks=[None, None], **few) as world:
        busy, free = world.relays
        await busy.start()
        hangs, ends, waits, seen = (world.exec.add(lasts=1) for _ in range(4))
        world.clock.advance(SECOND)
        world.receiver.always(HANG, "/hangs")
        await world.prepare(hangs.id, world.receiver_url + "/hangs")
        busy.wake()
        await world.receiver.wait_for(1, path="/hangs")
        await free.start()
        await world.prepare(ends.id, world.receiver_url + "/sent-by-the-other")
        busy.wake()
        await world.receiver.wait_for(1, path="/sent-by-the-other")
        await until(lambda: sent_by(free) == 1)
        slow = FaultConfig(jobs={waits.id: (Fault(kind="timeout", wait=5 * SECOND),)})
        world.exec.faults.order(slow, world.clock())
        await world.prepare(waits.id, world.receiver_url + "/slow")
        await world.prepare(seen.id, world.receiver_url + "/seen-by-the-other")
        busy.wake()
        await world.receiver.wait_for(1, path="/seen-by-the-other")


async def test_relays_with_different_clocks_use_the_databases_clock(postgres_url: str) -> None:
    """One clock is minutes ahead, one behind: nothing is sent twice, no budget is overdrawn, nothing is forgotten."""

    def apart(ms: int) -> DatabaseClock:
        return DatabaseClock(lambda: monotonic_ms() + ms)

    sections: dict[str, Any] = {
        "exec": {"budget": {"per_minute": 20, "per_day": 1_000, "share": 1.0}},
        "polling": {"tick": "100ms", "interval": "1s"},
    }
    sandbox, clocks = ExecSettings(seed=1, limits=UNLIMITED), [apart(7 * MINUTE), apart(-7 * MINUTE), None]
    async with replicas(postgres_url, 3, sandbox, clocks=clocks, **sections) as world:
        world.receiver.always(Respond(delay=SECOND))
        for number in range(9):
            await world.prepare(world.exec.add(lasts=1).id, f"{world.receiver_url}/{number}")
        for _ in range(20):
            await world.prepare(world.exec.add(lasts=DAY).id, f"{world.receiver_url}/later")
        world.clock.advance(SECOND)
        await world.each(Relay.start)
        await until(lambda: sum(sent_by(one) for one in world.relays) == 9)
        await until(lambda: len(polls_of(world)) == 20)
        await asyncio.sleep(0.5)
        assert Counter(one.path for one in world.received()) == {f"/{number}": 1 for number in range(9)}
        assert len(polls_of(world)) == 20
        now = [one.clock() for one in world.relays]
        assert max(now) - min(now) < SECOND
