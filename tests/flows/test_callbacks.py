"""Exec's own callback, from the fake Exec to the relay over a real socket: a hint, worth one poll and no more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import httpx

from relay.model import HOUR, MINUTE, SECOND, WatchState
from relay.registration import exec_callback_tokens
from relay.sandbox.fault_injection import FaultConfig
from relay.sandbox.job_callbacks import Callback
from relay.sandbox.job_simulation import Job
from relay.sandbox.local_server import serve
from relay.store.tables import endpoints
from relay.web.app import create_app
from tests.flows.conftest import Start, World
from tests.loopback import http_client
from tests.make import make_endpoint


@asynccontextmanager
async def open_to_exec(world: World) -> AsyncIterator[str]:
    """Serves the relay's API on a socket; returns the URL for Exec's callbacks."""
    async with serve(create_app(world.relay, owns_relay=False)) as url:
        token = await world.relay.store.write(lambda tx: exec_callback_tokens.get_or_create_token(tx, "default"))
        yield exec_callback_tokens.url_of(token, url) or ""


async def until_ended(world: World, job: Job) -> None:
    """Moves time to the job's end, and waits until the relay has received Exec's callback."""
    assert job.ended_at is not None
    await world.advance(job.ended_at - world.clock())
    async with asyncio.timeout(30):
        while job.id not in world.exec.callbacks.called:
            await asyncio.sleep(0.01)
    assert world.exec.callbacks.called[job.id].status == 202
    await world.settle()


async def listen_always(world: World) -> None:
    """A standing endpoint, at the receiver."""
    url = f"{world.receiver_url}/standing"
    host = world.receiver_url.partition("://")[2]
    endpoint = make_endpoint(world.clock(), url=url, host=host)
    await world.relay.store.write(lambda tx: endpoints.add(tx, endpoint, "standing"))


async def hint(http: httpx.AsyncClient, url: str, job_id: str) -> int:
    return (await http.post(url, json={"id": job_id, "status": "completed"})).status_code


async def test_a_job_with_a_callback_costs_one_poll(start: Start) -> None:
    """Eight jobs of 2 to 12 minutes: delivered as soon as Exec calls back, for 1.2 polls a job at most."""
    async with start(polling={"strategy": "adaptive"}) as world, open_to_exec(world) as url:
        jobs = [
            world.exec.add(queued=2_000, lasts=(120 + 75 * number) * SECOND, callback=Callback(url, {}))
            for number in range(8)
        ]
        for job in jobs:
            await world.register(job.id, path=f"/{job.id}", exec_callback=True)
        assert not world.exec.records.requests
        for job in jobs:
            await until_ended(world, job)
            [came] = world.received(f"/{job.id}")
            assert (came.event_type, came.at) == ("job.completed", job.ended_at)
        polls = [one for one in world.exec.records.requests if one.call == "poll"]
        assert len(polls) <= 1.2 * len(jobs)
        assert len(polls) == len(jobs)


async def test_a_missing_callback_delays_the_notification_and_does_not_lose_it(start: Start) -> None:
    """Safety polls detect the end: the first after 15 minutes, then each after twice the time."""
    async with start(polling={"strategy": "adaptive"}) as world:
        short, long = world.exec.add(lasts=5 * MINUTE), world.exec.add(lasts=100 * MINUTE)
        for job in (short, long):
            await world.register(job.id, path=f"/{job.id}", exec_callback=True)
        began = world.clock()
        await world.advance(3 * HOUR)
        [came] = world.received(f"/{short.id}")
        assert came.at - began == 15 * MINUTE
        [came] = world.received(f"/{long.id}")
        assert came.at - began == 120 * MINUTE
        assert (await world.watch(short.id)).polls == 1
        assert (await world.watch(long.id)).polls == 4


async def test_a_callback_job_that_never_ends_expires(start: Start) -> None:
    """Exec never calls back and the job is stuck: job.expired comes after polling.max_age, with few polls."""
    async with start() as world:
        job = world.exec.add(lasts=None)
        await world.register(job.id, exec_callback=True)
        await world.advance(25 * HOUR)
        assert [one.event_type for one in world.received()] == ["job.expired"]
        assert (await world.watch(job.id)).polls <= 9


async def test_a_hint_alone_ends_no_watch(start: Start) -> None:
    """A false callback causes one poll; after it the job is planned like any other."""
    async with start() as world, open_to_exec(world) as url, http_client() as http:
        job = world.exec.add(lasts=60 * SECOND)
        await world.register(job.id, exec_callback=True)
        assert await hint(http, url, job.id) == 202
        await world.settle()
        watch = await world.watch(job.id)
        assert (watch.polls, watch.state) == (1, WatchState.ACTIVE)
        assert world.received() == []
        assert watch.next_poll_at == world.clock() + 15 * SECOND  # the interval of these tests
        await world.advance(65 * SECOND)
        assert [one.event_type for one in world.received()] == ["job.completed"]


async def test_a_flood_of_hints_costs_few_polls(start: Start) -> None:
    """A hint a second for a minute, for a running job: one poll at once, then at most one per 10 s."""
    async with start() as world, open_to_exec(world) as url, http_client() as http:
        job = world.exec.add(lasts=HOUR)
        await world.register(job.id, exec_callback=True)
        await world.restart(polling={"strategy": "interval", "interval": "1h"})
        async with open_to_exec(world) as url:
            for _ in range(60):
                assert await hint(http, url, job.id) == 202
                await world.advance(SECOND)
        at = [one.at for one in world.exec.records.requests if one.call == "poll"]
        assert 2 <= len(at) <= 6
        assert min(after - before for before, after in pairwise(at)) >= 10 * SECOND


async def test_hints_of_unknown_jobs_cost_little_budget_and_notify_nobody(start: Start) -> None:
    """A hundred hints cause fifty polls and fifty rows, and no notification."""
    async with start() as world, open_to_exec(world) as url, http_client() as http:
        await listen_always(world)
        statuses = [await hint(http, url, f"made-up-{number}") for number in range(100)]
        assert (statuses.count(202), statuses.count(429)) == (50, 50)
        await world.advance(10 * MINUTE)
        for number in range(50):  # those that were polled are not polled again
            assert await hint(http, url, f"made-up-{number}") == 202
        await world.advance(10 * MINUTE)
        assert len(world.exec.records.requests) == 50
        assert world.received() == []
        assert (await world.watch("made-up-0")).state is WatchState.NOT_FOUND


async def test_a_hint_of_an_unregistered_job_notifies_standing_endpoints(start: Start) -> None:
    """One poll confirms the job, and every standing endpoint is notified; also if there are more than fifty a day."""
    async with start(exec={"budget": {"per_minute": 1_000}}) as world, open_to_exec(world) as url:
        await listen_always(world)
        async with http_client() as http:
            for _ in range(52):
                job = world.exec.add(lasts=0)
                assert await hint(http, url, job.id) == 202
                await world.settle()
        assert len(world.received("/standing")) == 52
        assert all(one.verified for one in world.received())
        assert len(world.exec.records.requests) == 52


async def test_a_hint_goes_first_within_the_limit_per_minute(start: Start) -> None:
    """Thirty jobs wait for a budget of two polls a minute; the one with a hint is polled next."""
    budget = {"budget": {"per_minute": 2, "per_day": 1_000, "share": 1.0}}
    async with start(exec=budget) as world, open_to_exec(world) as url, http_client() as http:
        jobs = [world.exec.add(lasts=HOUR) for _ in range(30)]
        for job in jobs:
            await world.prepare(job.id, f"{world.receiver_url}/x")
        await world.settle()
        asked = world.exec.records.requests
        assert len(asked) == 2
        unlooked = [job.id for job in jobs if job.id not in {one.job_id for one in asked}]
        assert await hint(http, url, unlooked[-1]) == 202
        await world.settle()
        assert len(asked) == 2
        await world.advance(62 * SECOND)
        assert len(asked) == 4
        assert unlooked[-1] in {one.job_id for one in list(asked)[2:]}
        assert not any(one.status == 429 for one in asked)


async def test_a_poll_that_fails_does_not_lose_the_hint(start: Start) -> None:
    """Exec calls back and then answers 500: the poll is made again soon, not at the next safety poll."""
    async with start() as world, open_to_exec(world) as url, http_client() as http:
        job = world.exec.add(lasts=1_000)
        await world.register(job.id, exec_callback=True)
        world.clock.advance(2_000)
        world.exec.faults.order(FaultConfig.model_validate({"jobs": {job.id: ["500", "500"]}}), world.clock())
        assert await hint(http, url, job.id) == 202
        await world.settle()
        assert world.received() == []
        await world.advance(MINUTE)
        assert [one.event_type for one in world.received()] == ["job.completed"]
