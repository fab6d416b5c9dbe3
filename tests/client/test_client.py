"""The Python client, against a real relay: what it asks for, what it survives, and what it says no to."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.client import (
    ApiError,
    AsyncRelay,
    CursorGone,
    Event,
    Job,
    Registration,
    Relay,
    Unreachable,
    WaitTimeout,
    verify,
)
from relay.client.retries import ASK_AGAIN, MAX_DELAY, Answer, Patience, Retry, read_answer
from relay.client.waiting import JobWait
from relay.model import EventType
from relay.model.feed_cursor import FeedCursor, FeedPosition
from relay.sandbox.exec_server import ExecSettings
from tests.client.standins import Proxy, losing_answers
from tests.e2e.conftest import API_KEY, Stage, stage
from tests.flows.conftest import World, api_of, world_on
from tests.integrations import test_javascript as javascript
from tests.loopback import http_client
from tests.web.conftest import SECRET
from tests.web.waiting import KEY, Served, end, served_relay

__all__ = ["stage"]

SOON = 0.2
"""Seconds of a request that waits in these tests, in place of 25."""


@pytest.fixture
async def served(sqlite_url: str) -> AsyncIterator[Served]:
    async with served_relay(sqlite_url) as one:
        yield one


async def wait_for(relay: Relay, job_id: str = "j1", timeout: float | None = 60) -> Job:
    """The synchronous client waits, on a thread."""
    return await asyncio.to_thread(relay.wait, job_id, timeout=timeout)


async def test_a_scenario_is_created_and_waited_for(store_url: str) -> None:
    """The five lines of the documentation, against sandbox and relay: they end with the scenario's URL."""
    async with (
        world_on(store_url, ExecSettings(seed=1)) as world,
        api_of(world) as http,
        AsyncRelay(str(http.base_url), slice=2) as relay,
    ):
        created = await relay.create(user_email="jane@acme.com", prompt="A discovery call")
        waiting = asyncio.create_task(relay.wait(created.job_id))
        await pass_time(world, waiting)
        job = await waiting
        assert (job.completed, job.status, job.state) == (True, "completed", "settled")
        assert job.scenario_url
        assert job.scenario_url.startswith("https://")


async def pass_time(world: World, waiting: "asyncio.Task[Job]") -> None:
    """Lets the world go on until the client has its answer."""
    async with asyncio.timeout(60):
        while not waiting.done():
            await world.advance(15_000)
            await asyncio.sleep(0.01)


async def test_both_clients_wait(served: Served) -> None:
    """Until the job ends, whichever way; a failed one has Exec's reason."""
    await served.register("j1", "j2")
    with Relay(served.url, KEY) as relay:
        async with AsyncRelay(served.url, KEY) as other:
            one = asyncio.create_task(wait_for(relay))
            two = asyncio.create_task(other.wait("j2"))
            await served.waits_open(2)
            await end(served.relay, "j1")
            await end(served.relay, "j2", EventType.FAILED)
            assert (await one).completed
            failed = await two
            assert (failed.ended, failed.completed, failed.status) == (True, False, "failed")


async def test_a_wait_is_sliced(served: Served) -> None:
    """No request asks for more than 25 seconds, however long the whole wait is."""
    await served.register("j1")
    proxy = Proxy(served.url)
    async with proxy.served() as url, AsyncRelay(url, KEY) as relay:
        waiting = asyncio.create_task(relay.wait("j1", timeout=3_600))
        await served.waits_open(1)
        await end(served.relay)
        assert (await waiting).completed
    assert [target for _, target in proxy.asked] == ["/v1/jobs/j1", "/v1/jobs/j1?wait=25"]


async def test_time_over_is_an_error_of_its_own(served: Served) -> None:
    """With what is known of the job."""
    await served.register("j1")
    async with AsyncRelay(served.url, KEY) as relay:
        began = time.monotonic()
        with pytest.raises(WaitTimeout) as raised:
            await relay.wait("j1", timeout=1)
        assert time.monotonic() - began < 20, "a slice is 25 s"
        assert raised.value.job is not None
        assert raised.value.job.ended is False


@pytest.mark.parametrize("trouble", [*sorted(ASK_AGAIN), "html"])
async def test_answers_of_others_are_asked_again(served: Served, trouble: int | str) -> None:
    """A proxy's page is no end of the job, whatever its status."""
    await served.register("j1")
    await end(served.relay)
    proxy = Proxy(served.url, troubles=[trouble, trouble])
    async with proxy.served() as url, AsyncRelay(url, KEY) as relay:
        assert (await relay.wait("j1", timeout=60)).completed
    assert len(proxy.asked) == 3


async def test_a_proxy_that_cuts_requests_off(served: Served) -> None:
    """504 as HTML in the middle of each wait: the client goes on until the job has ended."""
    await served.register("j1")
    proxy = Proxy(served.url, cut_after=SOON)
    async with proxy.served() as url, AsyncRelay(url, KEY) as relay:
        waiting = asyncio.create_task(relay.wait("j1", timeout=60))
        async with asyncio.timeout(30):
            while len(proxy.asked) < 4:
                await asyncio.sleep(0.02)
        await end(served.relay)
        assert (await waiting).completed


@pytest.mark.parametrize("call", ["register", "create"])
async def test_a_lost_answer_is_asked_for_with_the_same_key(store_url: str, call: str) -> None:
    """The relay works and the connection closes without a byte, three times: one job, and the caller gets its id."""
    async with (
        world_on(store_url) as world,
        api_of(world) as http,
        losing_answers(str(http.base_url), 3) as (url, keys),
    ):
        async with AsyncRelay(url) as relay:
            if call == "create":
                made = (await relay.create(user_email="jane@acme.com", prompt="p")).job_id
                assert len([one for one in world.exec.records.requests if one.call == "create"]) == 1
            else:
                made = (await relay.register("j1")).job_id
        assert (await http.get("/v1/registrations")).json()["data"][0]["job_id"] == made
        assert len((await http.get("/v1/registrations")).json()["data"]) == 1
        assert len(keys) == 4
        assert len(set(keys)) == 1


async def test_a_key_of_the_caller_holds_over_runs(store_url: str) -> None:
    """The same key in another run of the program is the same job."""
    async with world_on(store_url) as world, api_of(world) as http:
        ids = set()
        for _ in range(2):
            async with AsyncRelay(str(http.base_url)) as relay:
                job = await relay.create(user_email="jane@acme.com", prompt="p", idempotency_key="build-17")
                ids.add(job.job_id)
        assert len(ids) == 1


async def test_a_refusal_is_an_error_at_once(served: Served) -> None:
    """With the relay's status, code and words: nothing is asked again."""
    proxy = Proxy(served.url)
    async with proxy.served() as url, AsyncRelay(url, KEY) as relay:
        with pytest.raises(ApiError) as raised:
            await relay.wait("unknown")
        assert (raised.value.status, raised.value.code) == (404, "job_not_found")
        with pytest.raises(ApiError) as raised:
            await relay.register("not an id")
        assert (raised.value.status, raised.value.field) == (400, "job_id")
    async with AsyncRelay(served.url, KEY) as relay:
        with pytest.raises(ApiError) as raised:
            await relay.job("../workspaces")  # what is given as an id is never another path
        assert raised.value.status == 404
    async with AsyncRelay(served.url, "relay_wrong") as relay:
        with pytest.raises(ApiError) as raised:
            await relay.job("j1")
        assert raised.value.status == 401
    assert len(proxy.asked) == 2


async def test_a_wrong_address_is_given_up() -> None:
    """After `retry_for` seconds, although the wait itself may take for ever."""
    async with AsyncRelay("http://127.0.0.1:9", retry_for=SOON) as relay:
        with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:9"):
            await relay.wait("j1")


async def test_events_are_followed(served: Served) -> None:
    """Each once and in order, by both clients; `follow=False` ends with the newest."""
    names = [f"j{number}" for number in range(5)]
    await served.register(*names, "late")
    async with AsyncRelay(served.url, KEY) as relay:
        found: list[Event] = []

        async def follow() -> None:
            async for event in relay.events("0"):
                found.append(event)
                if event.job_id == "late":
                    return

        following = asyncio.create_task(follow())
        for name in (*names, "late"):
            await end(served.relay, name)
        await asyncio.wait_for(following, 30)
        assert [event.job_id for event in found] == [*names, "late"]
        rest = [event async for event in relay.events(found[2].cursor, follow=False)]
        assert [event.job_id for event in rest] == ["j3", "j4", "late"]
    with Relay(served.url, KEY) as again:

        def read() -> Iterator[Event]:
            return again.events("0", follow=False, types=["job.completed"], job_id="j1")

        [one] = await asyncio.to_thread(lambda: list(read()))
        assert (one.type, one.job_id, one.body["type"]) == ("job.completed", "j1", "job.completed")


async def test_a_cursor_that_is_gone_is_an_error_of_its_own(served: Served) -> None:
    """The client never restarts the feed by itself."""
    await served.register("j1")
    await end(served.relay)
    async with AsyncRelay(served.url, KEY) as relay:
        wrong = FeedCursor("0" * 16, FeedPosition(1)).encode()
        with pytest.raises(CursorGone) as raised:
            await anext(aiter(relay.events(wrong)))
        found = [event async for event in relay.events(raised.value.oldest_cursor, follow=False)]
        assert [event.job_id for event in found] == ["j1"]


async def test_signed_events_verify(served: Served) -> None:
    """With the client's own `verify`."""
    body = {"name": "ops", "url": "https://example.com/ops", "secret": SECRET}
    await served.http.post("/v1/endpoints", json=body)
    await served.register("j1")
    await end(served.relay)
    async with AsyncRelay(served.url, KEY) as relay:
        [event] = [event async for event in relay.events("0", endpoint="ops", follow=False)]
    assert event.signed_headers is not None
    assert event.signed_body is not None
    assert verify(event.signed_headers, event.signed_body, SECRET) == event.body


async def test_a_restart_in_the_middle_of_a_wait(stage: Stage) -> None:
    """`relay serve` is killed and started again while clients wait and follow, in Python and in node: they get all, and
    never notice."""
    relay = stage.serve()
    await relay.start()
    async with AsyncRelay(relay.url, API_KEY) as client:
        created = await client.create(user_email="jane@acme.com", prompt="p")
        waiting = asyncio.create_task(client.wait(created.job_id, timeout=100))

        async def first_event() -> Event:
            async for event in client.events("0", types=["job.cancelled"]):
                return event
            raise AssertionError("the events ended")

        following = asyncio.create_task(first_event())
        key = {"authorization": f"Bearer {API_KEY}"}
        in_node = asyncio.create_task(javascript.run("wait", relay.url, API_KEY, created.job_id))
        async with asyncio.timeout(60), http_client(headers=key, trust_env=False) as http:
            while 'relay_waits_open{kind="job"} 2.0' not in (await http.get(f"{relay.url}/metrics")).text:
                await asyncio.sleep(0.05)
        await relay.kill()
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await relay.start()
        stage.exec.cancel(created.job_id)
        assert (await asyncio.wait_for(waiting, 90)).ended
        assert await in_node == {"ended": True}
        assert (await asyncio.wait_for(following, 60)).job_id == created.job_id


# --- pure decisions --------------------------------------------------------------------------------------------


@given(st.integers(100, 599), st.binary(max_size=60), st.dictionaries(st.just("x-request-id"), st.just("r")))
def test_every_answer_is_decided(status: int, body: bytes, headers: dict[str, str]) -> None:
    """A JSON object, another try, or a refusal: no answer raises anything else."""
    try:
        answer = read_answer(status, headers, body)
    except ApiError:
        return
    assert isinstance(answer, Answer | Retry)


@given(st.integers(0, 50), st.floats(0, 0.999), st.one_of(st.none(), st.floats(0, 60)))
def test_delays_are_bounded(tries: int, jitter: float, asked: float | None) -> None:
    """Never negative, never shorter than the relay asks for, never longer than the longest."""
    patience = Patience("http://x", float("inf"), tries)
    delay = patience.delay(Retry("x", asked), 0, jitter)
    assert (asked or 0) <= delay <= max(MAX_DELAY, asked or 0)


@given(st.floats(0, 1e6), st.one_of(st.none(), st.floats(0, 1e6)), st.floats(1, 300))
def test_slices_end_with_the_time(elapsed: float, timeout: float | None, slice: float) -> None:
    """No slice is longer than asked for, or goes on after the time is over."""
    wait = JobWait("http://x", 0, timeout, slice, 60)
    seconds = wait.next_slice(elapsed)
    if timeout is not None and elapsed >= timeout:
        assert seconds is None
    else:
        assert seconds is not None
        assert 1 <= seconds <= max(1, slice)


def test_the_import_is_light() -> None:
    """A script that waits for a job loads neither server, database nor models."""
    heavy = {"starlette", "uvicorn", "sqlalchemy", "alembic", "pydantic", "aiohttp", "apscheduler", "jinja2"}
    program = f"import sys, relay.client; print(sorted({heavy!r} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"


def test_results_hide_secrets() -> None:
    """No repr of a result shows a signing secret or the whole answer."""
    shown = {one.name for one in fields(Registration) if one.repr}
    assert shown == {"id", "job_id", "workspace", "is_new"}
