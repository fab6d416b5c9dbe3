"""Waiting for the end of a job over HTTP: answered at once, together, on both databases; limited, and forgotten."""

import asyncio
import json
import logging
import random
import time
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from relay.model import EventType, ScenarioJob
from relay.store.engine.database import Tx
from relay.store.tables import watches
from relay.waiting.waiters import SWEEP_INTERVAL, SWEEPS_PER_KEY_CHECK
from relay.web.core.open_request import MAX_WAIT, GrantedWait
from relay.web.server.http_protocol import ConnectionLimits
from tests.web.conftest import Api, assert_refused
from tests.web.waiting import OTHER_KEY, end, open_relay, served_relay, serving, soonest, wait_request


async def test_a_wait_is_answered_when_the_job_ends(store_url: str) -> None:
    """With the whole job, as soon as its end is committed."""
    async with served_relay(store_url) as served:
        await served.register("j1")
        waiting = asyncio.create_task(served.wait())
        await served.waits_open(1)
        await end(served.relay)
        began = time.monotonic()
        answer = await waiting
        assert time.monotonic() - began < 30, "it waited for its time to be over"
        job = answer.json()
        assert (answer.status_code, job["ended"], job["wait"], job["state"]) == (200, True, 60, "settled")
        assert job["job"]["status"] == "completed"


async def test_a_wait_is_answered_when_its_job_is_withdrawn(store_url: str) -> None:
    """Nothing polls it any more, so it is not waited for until the time is over; another registration goes on."""
    async with served_relay(store_url) as served:
        ids = []
        for team in ("one", "two"):
            url = f"https://example.com/{team}"
            answer = await served.http.post("/v1/registrations", json={"job_id": "j1", "callback_url": url})
            ids.append(answer.json()["id"])
        waiting = asyncio.create_task(served.wait())
        await served.waits_open(1)
        await served.http.delete(f"/v1/registrations/{ids[0]}")
        assert (await served.http.get("/v1/jobs/j1")).json()["ended"] is False
        began = time.monotonic()
        await served.http.delete(f"/v1/registrations/{ids[1]}")
        job = (await waiting).json()
        assert time.monotonic() - began < 30, "it waited for its time to be over"
        assert (job["ended"], job["state"]) == (True, "withdrawn")


async def test_a_job_that_has_ended_is_answered_at_once(store_url: str) -> None:
    """However long ago, and reading it twice gives the same answer."""
    async with served_relay(store_url) as served:
        await served.register("j1")
        await end(served.relay)
        first, second = await served.wait(), await served.wait()
        assert first.json() == second.json()
        assert first.json()["ended"] is True


async def test_time_over_is_an_answer_too(store_url: str) -> None:
    """Status 200 with `ended` false, before the time is over and never after it."""
    async with served_relay(store_url) as served:
        await served.register("j1")

        async def ask(wait: int) -> float:
            began = time.monotonic()
            answer = await served.wait(wait=wait)
            assert (answer.status_code, answer.json()["ended"]) == (200, False)
            return time.monotonic() - began

        short, long = await asyncio.gather(*(soonest(partial(ask, wait), wait) for wait in (1, 2)))
        assert short <= 1
        assert 0.2 < long <= 2


@given(st.integers(1, MAX_WAIT))
def test_an_answer_comes_before_the_time_is_over(seconds: int) -> None:
    """At least half a second before, so that the answer is on its way in time, and at most two seconds."""
    answered_within = GrantedWait(seconds, {}).answered_within
    assert 0.5 <= seconds - answered_within <= 2
    assert seconds - (answered_within + SWEEP_INTERVAL) > 0.2


def test_revoked_keys_are_looked_for_often() -> None:
    """A wait or stream of a revoked key ends at most 15 s later; the tests that show it check more often."""
    assert SWEEP_INTERVAL * SWEEPS_PER_KEY_CHECK <= 15


@pytest.mark.parametrize(
    ("headers", "query", "granted", "applied"),
    [
        ({"prefer": "wait=1"}, {}, 1, "wait=1"),
        ({"prefer": 'respond-async, Wait = "1"; foo=bar'}, {}, 1, "wait=1"),
        ({"prefer": "wait=77"}, {"wait": "1"}, 1, None),  # the query wins
        ({"prefer": "wait=soon"}, {}, None, None),
        ({"prefer": "wait=-1"}, {}, None, None),
        ({"prefer": "wait=0"}, {}, None, "wait=0"),
        ({}, {"wait": "0"}, None, None),
    ],
)
async def test_preferences(
    sqlite_url: str, headers: dict[str, str], query: dict[str, str], granted: int | None, applied: str | None
) -> None:
    """`Prefer` is a hint: a malformed one is ignored, an applied one is named in the answer."""
    async with served_relay(sqlite_url) as served:
        await served.register("j1")
        answer = await served.http.get("/v1/jobs/j1", params=query, headers=headers)
        assert answer.status_code == 200
        assert answer.json().get("wait") == granted
        assert answer.headers.get("preference-applied") == applied
        assert answer.headers["vary"] == "Prefer"


@pytest.mark.parametrize("headers", [{}, {"prefer": "wait=1000000"}])
async def test_a_long_wait_is_capped(sqlite_url: str, headers: dict[str, str]) -> None:
    """More than 300 seconds count as 300."""
    async with served_relay(sqlite_url) as served:
        await served.register("j1")
        query = {} if headers else {"wait": "999999999"}
        waiting = asyncio.create_task(served.http.get("/v1/jobs/j1", params=query, headers=headers))
        await served.waits_open(1)
        await end(served.relay)
        assert (await waiting).json()["wait"] == 300


@pytest.mark.parametrize("wait", ["abc", "-1", "1e9", "1.5", "", "9999999999", "٣"])
async def test_a_wrong_wait_is_refused(api: Api, wait: str) -> None:
    """At once, naming the parameter."""
    await api.register()
    assert_refused(await api.http.get("/v1/jobs/j1", params={"wait": wait}), 400, "invalid_field", "wait")


async def test_an_unknown_job_is_not_waited_for(api: Api) -> None:
    """404, as without a wait."""
    assert_refused(await api.http.get("/v1/jobs/unknown", params={"wait": "60"}), 404, "job_not_found")
    assert api.relay.waiters.number == 0


async def test_an_unknown_status_keeps_the_client_waiting(store_url: str) -> None:
    """Exec's statuses are an open set: `ended` decides, not the status."""
    async with served_relay(store_url) as served:
        await served.register("j1")

        def polish(tx: Tx) -> None:
            watch = watches.get_for_update(tx, "default", "j1")
            assert watch is not None
            watches.save(tx, replace(watch, job=ScenarioJob.model_validate({"id": "j1", "status": "polishing"})))

        await served.relay.store.write(polish)
        assert (await served.wait(wait=1)).json()["ended"] is False


AT_LENGTH = pytest.param(5_000, marks=[pytest.mark.long, pytest.mark.timeout(1_200)])
MANY = [200, AT_LENGTH]


@pytest.mark.parametrize("number", MANY)
async def test_an_end_around_the_arrival_is_never_missed(store_url: str, number: int) -> None:
    """Jobs that end within 5 ms of the wait's arrival: none is answered late, or with "not ended"."""
    async with served_relay(store_url) as served:
        rng, jobs = random.Random(7), [f"j{one}" for one in range(number)]
        await served.register(*jobs)

        async def one(job_id: str) -> None:
            waiting = asyncio.create_task(served.wait(job_id))
            await asyncio.sleep(rng.random() * 0.005)
            await end(served.relay, job_id)
            began = time.monotonic()
            assert (await waiting).json()["ended"] is True
            assert time.monotonic() - began < 30, "it waited for its time to be over"

        for batch in range(0, len(jobs), 20):
            await asyncio.gather(*map(one, jobs[batch : batch + 20]))


@pytest.mark.parametrize("number", [80, AT_LENGTH])
async def test_an_end_around_the_deadline_is_never_denied(sqlite_url: str, number: int) -> None:
    """Jobs that end as the time is over: an answer that came after the commit says so."""
    async with served_relay(sqlite_url) as served:
        rng, jobs = random.Random(3), [f"j{one}" for one in range(number)]
        await served.register(*jobs)
        slowest, denied_after = 0.0, list[float]()

        async def measure() -> None:
            """How busy the machine is: an answer may be so long on its way."""
            nonlocal slowest
            while True:
                began = time.monotonic()
                await served.relay.store.read(lambda _: None)
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.02)

        async def answer(job_id: str) -> tuple[bool, float]:
            ended = (await served.wait(job_id, wait=1)).json()["ended"]
            return ended, time.monotonic()

        async def one(job_id: str) -> None:
            waiting = asyncio.create_task(answer(job_id))
            await asyncio.sleep(0.4 + rng.random() * 0.5)
            if waiting.done():
                return
            await end(served.relay, job_id)
            committed = time.monotonic()
            ended, answered = await waiting
            if not ended:
                denied_after.append(answered - committed)

        measuring = asyncio.create_task(measure())
        for batch in range(0, len(jobs), 100):
            await asyncio.gather(*map(one, jobs[batch : batch + 100]))
        measuring.cancel()
        assert max(denied_after, default=0) <= 0.2 + 3 * slowest


async def test_many_that_wait_for_one_job_cost_one_read(store_url: str) -> None:
    """500 waiters of one job: all answered, and the database reads the job a handful of times."""
    async with served_relay(store_url) as served:
        await served.register("j1")
        waiting = [asyncio.create_task(served.wait()) for _ in range(500)]
        await served.waits_open(500)
        reads = 0

        @event.listens_for(served.relay.store._reader, "begin")
        def _count(_: Any) -> None:
            nonlocal reads
            reads += 1

        await end(served.relay)
        answers = await asyncio.gather(*waiting)
        assert all(answer.json()["ended"] for answer in answers)
        assert reads <= 10


async def test_many_wait_for_many(store_url: str) -> None:
    """200 jobs end in any order: each waiter gets its own job and no other."""
    async with served_relay(store_url) as served:
        jobs = [f"j{number}" for number in range(200)]
        await served.register(*jobs)
        waiting = {job_id: asyncio.create_task(served.wait(job_id)) for job_id in jobs}
        await served.waits_open(200)
        for job_id in random.Random(1).sample(jobs, 100):
            await end(served.relay, job_id)
            answer = (await asyncio.wait_for(waiting.pop(job_id), 30)).json()
            assert (answer["job_id"], answer["ended"]) == (job_id, True)
        assert not any(task.done() for task in waiting.values())
        for task in waiting.values():
            task.cancel()


async def test_a_client_that_goes_is_forgotten(store_url: str) -> None:
    """Its slot is free again, its connection closed, and nothing of it remains."""
    async with served_relay(store_url) as served:
        await served.register("j1")
        parts = urlsplit(served.url)
        for _ in range(3):
            opened = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(20)]
            for _, writer in opened:
                writer.write(wait_request("j1", 60))
            await served.waits_open(20)
            for _, writer in opened:
                writer.close()
            await served.waits_open(0)
        assert served.relay.waiters.number == 0


async def test_one_key_over_its_limit_is_refused_at_once(store_url: str) -> None:
    """429 with both numbers and when to retry; other keys, other calls and health checks are not affected."""
    async with served_relay(store_url, waits_per_key=3) as served:
        await served.register("j1")
        waiting = [asyncio.create_task(served.wait()) for _ in range(3)]
        await served.waits_open(3)
        refused = await served.wait()
        message = assert_refused(refused, 429, "too_many_waits")
        assert "3 requests of this key wait already, and at most 3 may" in message
        assert int(refused.headers["retry-after"]) >= 1
        assert (await served.http.get("/v1/jobs/j1")).status_code == 200
        assert (await served.http.get("/healthz")).status_code == 200
        async with served.client(OTHER_KEY) as other:
            assert (await other.get("/v1/jobs/j1", params={"wait": 1})).status_code == 200
        await end(served.relay)
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
        assert (await served.wait()).status_code == 200


async def test_waits_in_all_are_limited(sqlite_url: str) -> None:
    """By what file descriptors there are: the rest gets 503, and nothing hangs."""
    async with served_relay(sqlite_url) as served:
        await served.register("j1")
        served.relay.waiters.total = 2
        waiting = [asyncio.create_task(served.wait()) for _ in range(2)]
        await served.waits_open(2)
        assert_refused(await served.wait(), 503, "too_many_waits")
        await end(served.relay)
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}


async def test_connections_that_wait_leave_room_for_others(sqlite_url: str) -> None:
    """Waiting connections have their own limit: those of an address that do not wait are counted without them."""
    limits = ConnectionLimits(connections=8, of_one_address=8, reserved_for_loopback=0)
    async with open_relay(sqlite_url) as relay, serving(relay, limits) as served:
        await served.register("j1")
        waiting = []
        for number in range(20):
            waiting.append(asyncio.create_task(served.wait()))
            await served.waits_open(number + 1)
        assert (await served.http.get("/healthz")).status_code == 200
        await end(relay)
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}


async def test_a_revoked_key_ends_its_waits(store_url: str) -> None:
    """401 within seconds; the waits of other keys go on."""
    async with served_relay(store_url) as served:
        await served.register("j1")
        mine = asyncio.create_task(served.wait())
        async with served.client(OTHER_KEY) as other:
            theirs = asyncio.create_task(other.get("/v1/jobs/j1", params={"wait": 60}))
            await served.waits_open(2)
            served.revoke_key()
            answer = await asyncio.wait_for(mine, 15)
            assert_refused(answer, 401, "invalid_api_key")
            assert not theirs.done()
            await end(served.relay)
            assert (await theirs).json()["ended"] is True


async def test_a_stop_answers_all_waits(store_url: str) -> None:
    """With what is known, at once; later waits are answered at once too."""
    async with served_relay(store_url) as served:
        await served.register("j1")
        waiting = [asyncio.create_task(served.wait()) for _ in range(50)]
        await served.waits_open(50)
        served.relay.waiters.stop()
        answers = await asyncio.wait_for(asyncio.gather(*waiting), 30)
        assert {(answer.status_code, answer.json()["ended"]) for answer in answers} == {(200, False)}
        assert (await asyncio.wait_for(served.wait(), 30)).json()["ended"] is False


async def test_another_relay_wakes_them(postgres_url: str) -> None:
    """A job that another relay on the store sees ending is answered here, within moments: the tick is not needed."""
    async with open_relay(postgres_url) as one, open_relay(postgres_url) as other, serving(one) as served:
        running = [asyncio.create_task(relay.notifier.run()) for relay in (one, other)]
        await served.register("j1", "j2")
        for job_id in ("j1", "j2"):
            waiting = asyncio.create_task(served.wait(job_id))
            await served.waits_open(1)
            await asyncio.sleep(0.2)  # the listener is up
            await end(other, job_id)
            assert (await asyncio.wait_for(waiting, 30)).json()["ended"] is True
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_a_lost_notification_costs_a_tick(postgres_url: str) -> None:
    """Nobody notifies: the next tick of this relay finds the end."""
    async with open_relay(postgres_url) as one, open_relay(postgres_url) as other, serving(one) as served:
        await served.register("j1")
        waiting = asyncio.create_task(served.wait())
        await served.waits_open(1)
        await end(other)
        await asyncio.sleep(0)
        assert not waiting.done()
        async with asyncio.timeout(20):
            while not waiting.done():
                await one.tick()
                await asyncio.sleep(0.05)
        assert (await waiting).json()["ended"] is True


async def test_waits_are_counted(sqlite_url: str) -> None:
    """By what they wait for and how that ended, apart from all other requests."""
    async with served_relay(sqlite_url) as served:
        await served.register("j1")
        await served.wait(wait=1)
        waiting = asyncio.create_task(served.wait())
        await served.waits_open(1)
        text = (await served.http.get("/metrics")).text
        assert 'relay_waits_open{kind="job"} 1.0' in text
        assert 'relay_waits_total{kind="job",outcome="timed_out"} 1.0' in text
        await end(served.relay)
        await waiting
        text = (await served.http.get("/metrics")).text
        assert 'relay_waits_total{kind="job",outcome="news"} 1.0' in text
        assert 'relay_wait_delay_seconds_count{kind="job"} 1.0' in text


async def test_no_connection_of_the_database_is_held(postgres_url: str) -> None:
    """300 waits are open: no session of the relay is in a transaction, and other requests are answered."""
    async with served_relay(postgres_url) as served:
        await served.register("j1")
        waiting = [asyncio.create_task(served.wait()) for _ in range(300)]
        await served.waits_open(300)
        with psycopg.connect(postgres_url) as other:
            held = "SELECT count(*), count(*) FILTER (WHERE state <> 'idle') FROM pg_stat_activity"
            where = "WHERE application_name = 'exec-relay' AND datname = current_database()"
            [(sessions, busy)] = other.execute(f"{held} {where}").fetchall()
        assert (sessions <= 6, busy) == (True, 0)
        assert (await served.http.get("/v1/jobs/j1")).status_code == 200
        await end(served.relay, "j1", EventType.FAILED)
        assert {json.loads(answer.text)["ended"] for answer in await asyncio.gather(*waiting)} == {True}


async def test_a_wait_is_answered_if_the_server_writes_an_access_log(sqlite_url: str) -> None:
    """The log's line names the request's path and query, which a waiting request keeps."""
    log, handler = logging.getLogger("uvicorn.access"), logging.NullHandler()
    log.addHandler(handler)
    try:
        async with served_relay(sqlite_url) as served:
            log.addHandler(handler)  # the server's configuration takes all handlers away
            await served.register("j1")
            waiting = asyncio.create_task(served.http.get("/v1/jobs/j1", params={"wait": "60"}))
            await served.waits_open(1)
            await end(served.relay, "j1")
            assert (await waiting).status_code == 200
    finally:
        log.removeHandler(handler)
