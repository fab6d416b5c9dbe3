"""Whatever Exec answers: watches wait, nothing ends because of a wrong answer, and every ending is delivered."""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from relay.model import HOUR, MINUTE, SECOND, WatchState
from relay.model.poll_result import Poll
from relay.polling.exec_client import ExecClient
from relay.polling.exec_transport import make_http
from relay.sandbox.exec_server import SANDBOX_KEY, ExecSettings
from relay.sandbox.fault_injection import Fault, FaultConfig, FaultRule
from relay.sandbox.rate_limits import Limits
from tests.conftest import Clock
from tests.flows.conftest import Start, World
from tests.loopback import answer, answering, serving


def order(world: World, *kinds: str, lasts: int | None = None) -> None:
    """From now on (or for `lasts` milliseconds) every poll fails in this way; without a kind none does."""
    troubles = tuple(FaultRule(kind=kind, lasts=lasts) for kind in kinds)
    world.exec.faults.order(FaultConfig(faults=troubles), world.clock())


async def register_all(world: World, number: int, lasts: int) -> None:
    """So many new jobs, registered before the relay polls any of them."""
    for _ in range(number):
        await world.prepare(world.exec.add(lasts=lasts).id, world.receiver_url + "/callback")
    await world.settle()


def event_types(world: World) -> list[str | None]:
    return [one.event_type for one in world.received()]


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize(
    "kind",
    ["500", "502", "503", "closed", "not_json", "wrong_shape", "other_job", "huge", "truncated", "unknown_status"],
)
async def test_an_answer_that_is_not_a_job_ends_no_watch(start: Start, kind: str) -> None:
    """While Exec answers wrongly, an ended job is not delivered; once it answers well, the job is."""
    async with start() as world:
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        order(world, kind)
        await world.register(job.id)
        await world.advance(2 * MINUTE)
        assert event_types(world) == []
        watch = await world.watch(job.id)
        assert watch.state is WatchState.ACTIVE
        assert kind == "unknown_status" or watch.last_error
        order(world)
        await world.advance(10 * MINUTE)
        assert event_types(world) == ["job.completed"]


async def test_an_exec_that_hangs_costs_a_timeout(start: Start) -> None:
    """A poll that gets no answer ends at exec.timeout and is made again."""
    async with start(exec={"timeout": "1s"}) as world:
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        world.exec.faults.order(FaultConfig(jobs={job.id: (Fault(kind="timeout"),)}), world.clock())
        await world.register(job.id)
        assert "1" in ((await world.watch(job.id)).last_error or "")
        await world.advance(MINUTE)
        assert event_types(world) == ["job.completed"]


async def test_a_refused_key_stops_the_workspace_and_loses_nothing(start: Start) -> None:
    """401: one probe every few minutes for all jobs, /readyz says why, and all endings are delivered when the key works
    again."""
    async with start() as world:
        jobs = [world.exec.add(lasts=1_000) for _ in range(10)]
        world.clock.advance(5 * SECOND)
        order(world, "401")
        for job in jobs:
            await world.register(job.id)
        await world.advance(HOUR)
        assert len(world.exec.records.requests) <= 15
        readiness = await world.relay.readiness()
        [check] = [check for check in readiness.checks if check.name == "exec:default"]
        assert not readiness.ready
        assert "check exec.api_key" in check.text
        assert event_types(world) == []
        order(world)
        await world.advance(10 * MINUTE)
        assert event_types(world) == ["job.completed"] * 10
        assert (await world.relay.readiness()).ready


async def test_a_429_of_exec_pauses_the_workspace(start: Start) -> None:
    """Exec's retry_after holds for every job of the workspace."""
    async with start() as world:
        jobs = [world.exec.add(lasts=1_000) for _ in range(5)]
        world.clock.advance(5 * SECOND)
        world.exec.faults.order(FaultConfig(jobs={jobs[0].id: (Fault(kind="429", wait=120_000),)}), world.clock())
        for job in jobs:
            await world.register(job.id)
        polls = len(world.exec.records.requests)
        await world.advance(119 * SECOND)
        assert len(world.exec.records.requests) == polls
        await world.advance(3 * MINUTE)
        assert event_types(world) == ["job.completed"] * 5


async def test_polls_back_off_while_exec_is_down(start: Start) -> None:
    """With fifty jobs waiting and every poll failing, the breaker leaves about one probe every few minutes."""
    async with start() as world:
        await register_all(world, 50, lasts=1_000)
        before = len(world.exec.records.requests)
        order(world, "503")
        world.patience = 20 * SECOND
        await world.advance(HOUR)
        assert len(world.exec.records.requests) - before < 80
        order(world)
        await world.advance(10 * MINUTE)
        assert event_types(world) == ["job.completed"] * 50


async def test_a_job_that_exec_does_not_know_yet_is_polled_again(start: Start) -> None:
    """Two 404s at first are no end: the job is watched and delivered like any other."""
    async with start() as world:
        world.exec.faults.order(FaultConfig(missing_first=2), world.clock())
        job = world.exec.add(lasts=10_000)
        await world.register(job.id)
        await world.advance(5 * MINUTE)
        assert event_types(world) == ["job.completed"]


async def test_the_budget_is_never_overdrawn(start: Start) -> None:
    """With Exec's published limits and 100 jobs at once, the relay causes no 429, and each ending is delivered."""
    async with start(sandbox=ExecSettings(seed=2), polling={"interval": "60s"}) as world:
        await register_all(world, 100, lasts=30_000)
        await world.advance(20 * MINUTE)
        assert [asked for asked in world.exec.records.requests if asked.status == 429] == []
        assert len(event_types(world)) == 100


async def test_requests_of_other_tools_reduce_the_budget(start: Start) -> None:
    """If another tool uses up the minute, the relay waits for Retry-After, and still delivers every ending."""
    async with start(sandbox=ExecSettings(seed=2, limits=Limits(per_minute=20))) as world:
        await register_all(world, 30, lasts=10_000)
        await world.advance(30 * MINUTE)
        refused = [asked for asked in world.exec.records.requests if asked.status == 429]
        assert 0 < len(refused) < 30
        assert len(event_types(world)) == 30


async def test_a_restart_keeps_the_spent_budget(start: Start) -> None:
    """The budget is in the store: a restarted relay does not begin with a full minute."""
    async with start() as world:
        await register_all(world, 60, lasts=600_000)
        spent = len(world.exec.records.requests)
        assert spent == 48  # 60 a minute, and 0.8 of it the relay's
        await world.restart()
        await world.settle()
        assert len(world.exec.records.requests) == spent


@asynccontextmanager
async def gateway_in_place_of_exec(world: World, sent: bytes) -> AsyncIterator[None]:
    """A server that answers every poll with these bytes, in place of Exec."""
    client = world.relay.clients["default"]
    async with serving(answering(sent)) as served:
        http = make_http(5 * SECOND)
        world.relay.clients["default"] = ExecClient(
            "default", SANDBOX_KEY, served.url("/rest/v1"), timeout=5 * SECOND, clock=world.clock, http=http
        )
        try:
            yield
            assert served.connections > 0
        finally:
            world.relay.clients["default"] = client
            await http.aclose()


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("body", [b"default backend - 404", b'{"message": "no Route matched with those values"}'])
async def test_a_gateways_404_never_ends_a_job(start: Start, body: bytes, seen: bool) -> None:
    """A gateway answers 404 for 140 s while Exec is deployed: no job becomes not_found, and each ending
    is delivered."""
    async with start() as world:
        job = world.exec.add(lasts=MINUTE)
        if seen:
            await world.register(job.id)
            assert (await world.watch(job.id)).job is not None
        async with gateway_in_place_of_exec(world, answer(body, "404 Not Found", "Content-Type: text/plain")):
            if not seen:
                await world.register(job.id)
            for _ in range(28):
                await world.advance(5 * SECOND)
            assert event_types(world) == []
            watch = await world.watch(job.id)
            assert (watch.state, watch.not_found_count) == (WatchState.ACTIVE, 0)
            assert "404 without Exec's JSON error" in (watch.last_error or "")
        await world.advance(10 * MINUTE)
        assert event_types(world) == ["job.completed"]


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"error": "Out of credits"}, "Exec sent error with"),
        ({"scenario": {"url": 7}, "duration_seconds": "40"}, "Exec sent scenario.url, duration_seconds with"),
        ({"error": {"code": "out_of_credits"}}, None),
    ],
)
async def test_mistyped_fields_of_an_ended_job_are_logged_once(
    start: Start, caplog: pytest.LogCaptureFixture, fields: dict[str, Any], named: str | None
) -> None:
    """The ending is delivered all the same; one warning names the fields and the job, none says their values."""
    caplog.set_level(logging.WARNING)
    async with start() as world:
        job = world.exec.add(lasts=HOUR)
        sent = {"id": job.id, "status": "failed", **fields}
        async with gateway_in_place_of_exec(world, answer(json.dumps(sent).encode())):
            await world.register(job.id)
            await world.advance(10 * MINUTE)
        assert event_types(world) == ["job.failed"]
        warnings = [record.getMessage() for record in caplog.records if "another type" in record.getMessage()]
        assert len(warnings) == (named is not None)
        for warning in warnings:
            assert named is not None
            assert named in warning
            assert job.id in warning
            assert "Out of credits" not in warning


async def test_fields_left_out_of_a_long_job_are_logged_once(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """An answer of 900 KiB: the ending is delivered without the long field, which one warning names."""
    caplog.set_level(logging.WARNING)
    async with start() as world:
        job = world.exec.add(lasts=HOUR)
        sent = {"id": job.id, "status": "completed", "transcript": "x" * 900_000}
        async with gateway_in_place_of_exec(world, answer(json.dumps(sent).encode())):
            await world.register(job.id)
            await world.advance(10 * MINUTE)
        [request] = world.received()
        assert json.loads(request.body)["data"]["job"] == {"id": job.id, "status": "completed"}
        [warning] = [record.getMessage() for record in caplog.records if "longer than 128 KiB" in record.getMessage()]
        assert job.id in warning
        assert warning.endswith("leave out transcript")


class SetBack:
    """A client of Exec's; while it polls, somebody sets the clock back by an hour."""

    def __init__(self, client: ExecClient, clock: Clock) -> None:
        self._client, self._clock = client, clock

    async def get_job(self, job_id: str, may_repeat: Callable[[], Awaitable[bool]]) -> Poll:
        poll = await self._client.get_job(job_id, may_repeat)
        self._clock.at -= HOUR
        return poll


async def test_a_poll_in_flight_while_the_clock_is_set_back_delays_no_other(start: Start) -> None:
    """The result counts as seen now, so the next poll comes as soon as usual, not an hour later."""
    async with start() as world:
        job = world.exec.add(lasts=HOUR)
        await world.prepare(job.id, world.receiver_url + "/callback")
        client = world.relay.clients["default"]
        world.relay.clients["default"] = cast(ExecClient, SetBack(client, world.clock))
        await world.relay.poller.tick()
        await world.relay.poller.idle()
        watch = await world.watch(job.id)
        assert watch.polls == 1
        assert (watch.next_poll_at or 0) - world.clock() <= 15 * SECOND
