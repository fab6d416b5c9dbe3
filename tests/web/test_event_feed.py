"""The feed of events over HTTP, pulled and streamed: every event once and in order, signed on request."""

import asyncio
import http.client
import random
import time
from typing import Any

import httpx
import psycopg
import pytest

from relay import verify
from relay.client import verify as verify_stored
from relay.model import DAY, SECOND, EventType
from relay.model import feed_cursor as cursors
from relay.model.feed_cursor import FeedCursor, FeedPosition
from relay.store.tables import pruning
from relay.verify import BadSignature, TimestampTooOld
from relay.web.core import event_stream
from tests.web.conftest import SECRET, Api, assert_refused
from tests.web.waiting import (
    Message,
    Served,
    end,
    messages,
    next_event,
    open_relay,
    served_relay,
    serving,
    soonest,
    started,
    streaming,
)


async def ended(served: Served, *job_ids: str) -> None:
    """Jobs that are registered and end, one after the other."""
    await served.register(*job_ids)
    for job_id in job_ids:
        await end_alone(served, job_id)


async def end_alone(served: Served, job_id: str) -> None:
    """A job ends, in a millisecond of its own: events of the same one have no order."""
    ended_at = served.relay.clock()
    await end(served.relay, job_id)
    while served.relay.clock() == ended_at:
        await asyncio.sleep(0)


def jobs_of(page: Any) -> list[str]:
    return [event["job_id"] for event in page["data"]]


# --- pulled ------------------------------------------------------------------------------------------------------


async def test_the_feed_has_every_event_once_and_in_order(store_url: str) -> None:
    """In pages of any size, each page after the cursor of the one before."""
    async with served_relay(store_url) as served:
        names = [f"j{number}" for number in range(25)]
        await ended(served, *names)
        for limit in (1, 7, 100):
            seen, cursor = [], "0"
            while page := await served.pull(cursor, limit=limit):
                seen += jobs_of(page)
                cursor = page["next_cursor"]
                if not page["data"]:
                    break
            assert seen == names


async def test_a_pull_waits_for_the_next_event(store_url: str) -> None:
    """And has it as soon as it is committed; `now` leaves out what was before."""
    async with served_relay(store_url) as served:
        await ended(served, "old")
        await served.register("new")
        waiting = asyncio.create_task(served.pull("now", wait=60))
        await served.waits_open(1)
        began = time.monotonic()
        await end(served.relay, "new")
        page = await waiting
        assert time.monotonic() - began < 30, "it waited for its time to be over"
        assert jobs_of(page) == ["new"]
        assert page["data"][0]["cursor"] == page["next_cursor"]
        assert page["wait"] == 60


async def test_an_empty_pull_gives_a_cursor_that_goes_on(store_url: str) -> None:
    """Also before the first event there ever was."""
    async with served_relay(store_url) as served:
        first = await served.pull("now")
        assert first["data"] == []
        await ended(served, "j1")
        assert jobs_of(await served.pull(first["next_cursor"])) == ["j1"]

        async def ask() -> float:
            began = time.monotonic()
            nothing = await served.pull("now", wait=1)
            assert nothing["data"] == []
            return time.monotonic() - began

        assert 0.2 < await soonest(ask, 1) <= 1


async def test_filters_pass_over_the_rest(store_url: str) -> None:
    """Types, job and workspace; the cursor moves on past what was left out."""
    async with served_relay(store_url) as served:
        await served.register("a", "b")
        await started(served.relay, "a")
        await end(served.relay, "a")
        await end(served.relay, "b", EventType.FAILED)
        kinds = {"type": "job.completed,job.failed"}
        assert jobs_of(await served.pull("0", **kinds)) == ["a", "b"]
        assert jobs_of(await served.pull("0", type="job.started")) == ["a"]
        assert jobs_of(await served.pull("0", job_id="b")) == ["b"]
        assert jobs_of(await served.pull("0", workspace="default")) == ["a", "a", "b"]
        page = await served.pull("0", type="job.expired")
        assert page["data"] == []
        assert jobs_of(await served.pull(page["next_cursor"])) == []


async def test_events_around_the_deadline_come_once(store_url: str) -> None:
    """A reader whose waits end as events commit sees each exactly once over its consecutive reads."""
    async with served_relay(store_url) as served:
        names = [f"j{number}" for number in range(60)]
        await served.register(*names)
        rng, done = random.Random(5), asyncio.Event()

        async def write() -> None:
            for name in names:
                await asyncio.sleep(rng.random() * 0.03)
                await end_alone(served, name)
            done.set()

        cursor, seen = (
            (await served.pull("now"))["next_cursor"],
            list[str](),
        )  # before the first event, which it would skip
        writing = asyncio.create_task(write())
        while True:
            last = done.is_set()
            page = await served.pull(cursor, wait=1)
            seen += jobs_of(page)
            cursor = page["next_cursor"]
            if last and not page["data"]:
                break
        await writing
        assert seen == names


async def test_two_relays_write_and_readers_of_both_see_all(postgres_url: str) -> None:
    """200 events by two relays at once: four readers, two at each relay, see the same order without a gap."""
    async with (
        open_relay(postgres_url) as one,
        open_relay(postgres_url) as other,
        serving(one) as here,
        serving(other) as there,
    ):
        running = [asyncio.create_task(relay.notifier.run()) for relay in (one, other)]
        names = [f"j{number}" for number in range(200)]
        await here.register(*names)

        async def read(served: Served) -> list[str]:
            seen: list[str] = []
            cursor = "0"
            while len(seen) < 200:
                page = await served.pull(cursor, wait=25)
                seen += jobs_of(page)
                cursor = page["next_cursor"]
            return seen

        readers = [asyncio.create_task(read(served)) for served in (here, there, here, there)]
        await asyncio.gather(*(end(one if number % 2 else other, name) for number, name in enumerate(names)))
        orders = await asyncio.wait_for(asyncio.gather(*readers), 60)
        assert all(order == orders[0] for order in orders)
        assert sorted(orders[0]) == sorted(names)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.parametrize(
    ("params", "code", "field"),
    [
        ({"after": "nonsense"}, "invalid_cursor", "after"),
        ({"after": "0", "cursor": "AAAA"}, "two_cursors", "cursor"),
        ({"wait": "5"}, "wait_without_after", "wait"),
        ({"after": "0", "wait": "-1"}, "invalid_field", "wait"),
        ({"after": "0", "type": "job.completed,job.ended"}, "invalid_field", "type"),
        ({"after": "0", "endpoint": "nobody"}, "unknown_endpoint", "endpoint"),
        ({"after": "0", "workspace": "other"}, "unknown_workspace", "workspace"),
    ],
)
async def test_a_wrong_pull_is_refused(api: Api, params: dict[str, str], code: str, field: str) -> None:
    """At once, naming what is wrong."""
    assert_refused(await api.http.get("/v1/events", params=params), 400, code, field)


# --- cursors that are not to be continued from -----------------------------------------------------------------


def gone(answer: httpx.Response) -> tuple[str, str]:
    """The refusal of a cursor: its oldest and newest usable cursors."""
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (410, "cursor_gone", "after")
    return error["oldest_cursor"], error["newest_cursor"]


async def test_a_cursor_of_elsewhere_is_gone(store_url: str) -> None:
    """Of another database, ahead of the newest event, or naming another event: 410 at once, also with a wait."""
    async with served_relay(store_url) as served:
        await ended(served, "j1", "j2")
        page = await served.pull("0")
        known = cursors.decode(page["next_cursor"])
        assert known is not None
        wrong = [
            FeedCursor("0" * 16, known.at),
            FeedCursor(known.identity, FeedPosition(99, "00000000")),
            FeedCursor(known.identity, FeedPosition(1, "00000000")),
        ]
        for cursor in wrong:
            params = {"after": cursor.encode(), "wait": "60"}
            answer = await asyncio.wait_for(served.http.get("/v1/events", params=params), 5)
            oldest, newest = gone(answer)
            assert jobs_of(await served.pull(oldest)) == ["j1", "j2"]
            assert jobs_of(await served.pull(newest)) == []


async def test_a_cursor_older_than_the_retention_is_gone(store_url: str) -> None:
    """Events after it were deleted: the reader gets an error, not the remaining events."""
    async with served_relay(store_url) as served:
        start = (await served.pull("now"))["next_cursor"]
        await ended(served, "j1", "j2")
        middle = (await served.pull("0", limit=1))["next_cursor"]
        later = served.relay.clock() + DAY
        await served.relay.store.write(lambda tx: pruning.delete_jobs(tx, [("default", "j1")], later, 100))
        oldest, _ = gone(await served.http.get("/v1/events", params={"after": start}))
        assert jobs_of(await served.pull(oldest)) == ["j2"]
        assert jobs_of(await served.pull(middle)) == ["j2"]
        assert jobs_of(await served.pull("0")) == ["j2"]


async def test_a_stream_with_a_cursor_that_is_gone_says_so_and_ends(store_url: str) -> None:
    """One message of type `error`, then the end."""
    async with served_relay(store_url) as served:
        await ended(served, "j1")
        wrong = FeedCursor("0" * 16, FeedPosition(1)).encode()
        async with streaming(served.http, wrong) as stream:
            found = [message async for message in stream]
        assert [message.type for message in found] == ["", "error"]
        assert found[-1].data["code"] == "cursor_gone"
        assert found[-1].data["oldest_cursor"]


# --- streamed ----------------------------------------------------------------------------------------------------


async def test_a_stream_begins_at_once_and_has_the_headers_it_needs(store_url: str) -> None:
    """Status, headers, `retry` and `hello` before any event; never compressed, never held back by a proxy."""
    async with served_relay(store_url) as served:
        began = time.monotonic()
        async with served.http.stream("GET", "/v1/events/stream", headers={"accept-encoding": "gzip, br"}) as response:
            assert response.status_code == 200
            first = messages(response)
            assert (await anext(first)).type == ""
            hello = await anext(first)
            assert (hello.type, hello.id) == ("hello", hello.data["cursor"])
            assert time.monotonic() - began < event_stream.HEARTBEAT, "nothing was said before it had to be"
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-store, no-transform"
            assert response.headers["x-accel-buffering"] == "no"
            assert "content-encoding" not in response.headers
            assert "content-length" not in response.headers


async def test_a_head_request_for_a_stream_ends_with_its_head(store_url: str) -> None:
    """A monitor asks so. Its connection takes the next request, and no place for streams is held."""
    async with served_relay(store_url) as served:
        connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=10)

        def ask(method: str, path: str) -> int:
            connection.request(method, path, headers={"authorization": served.http.headers["authorization"]})
            with connection.getresponse() as response:
                response.read()
                return response.status

        try:
            assert await asyncio.to_thread(ask, "HEAD", "/v1/events/stream") == 200
            assert await asyncio.to_thread(ask, "GET", "/healthz") == 200
        finally:
            connection.close()
        assert served.relay.waiters.number == 0


async def test_events_are_streamed_as_they_come(store_url: str) -> None:
    """Each with its type, its cursor as id, and the event as the list shows it."""
    async with served_relay(store_url) as served:
        await served.register("j1", "j2")
        async with streaming(served.http) as stream:
            assert (await anext(stream)).type == ""
            assert (await anext(stream)).type == "hello"
            await started(served.relay, "j1")
            first = await next_event(stream)
            await end(served.relay, "j2")
            second = await next_event(stream)
        assert (first.type, first.data["job_id"]) == ("job.started", "j1")
        assert (second.type, second.data["job_id"]) == ("job.completed", "j2")
        assert second.data["cursor"] == second.id
        listed = (await served.http.get("/v1/events", params={"job_id": "j2"})).json()["data"][0]
        assert {name: second.data[name] for name in listed} == listed


@pytest.mark.parametrize("by_header", [True, False])
async def test_a_reconnect_goes_on_where_it_broke_off(store_url: str, by_header: bool) -> None:
    """By Last-Event-ID, or by `after`; from the beginning, the middle and the newest event."""
    async with served_relay(store_url) as served:
        names = [f"j{number}" for number in range(6)]
        await ended(served, *names)
        page = await served.pull("0")
        ids = ["0", *(event["cursor"] for event in page["data"])]
        await served.register("last")
        for seen, cursor in enumerate(ids):
            params = {} if by_header else {"after": cursor}
            async with streaming(served.http, cursor if by_header else "", **params) as stream:
                assert [(await next_event(stream)).data["job_id"] for _ in names[seen:]] == names[seen:]


async def test_streams_that_reconnect_at_random_see_every_event_once(store_url: str) -> None:
    """20 streams break off and go on while 150 events are written: each sees all of them, ascending."""
    async with served_relay(store_url) as served:
        names = [f"j{number}" for number in range(150)]
        await served.register(*names)
        rng = random.Random(11)

        async def read() -> list[str]:
            seen: list[str] = []
            last = (await served.pull("now"))["next_cursor"]
            ready.release()
            while len(seen) < len(names):
                async with streaming(served.http, last) as stream:
                    for _ in range(rng.randint(1, 40)):
                        if len(seen) == len(names):
                            break
                        message = await next_event(stream)
                        seen.append(message.data["job_id"])
                        last = message.id
            return seen

        ready = asyncio.Semaphore(0)
        readers = [asyncio.create_task(read()) for _ in range(20)]
        for _ in readers:
            await ready.acquire()
        for name in names:
            await end_alone(served, name)
        assert all(seen == names for seen in await asyncio.wait_for(asyncio.gather(*readers), 90))


async def test_the_stream_of_one_job_ends_with_it(store_url: str) -> None:
    """With `end`; a reconnect with its id gets 204, which lets a browser stop."""
    async with served_relay(store_url) as served:
        await served.register("j1", "j2")
        async with streaming(served.http, job_id="j1") as stream:
            await anext(stream)
            assert (await anext(stream)).type == "hello"
            await end(served.relay, "j2")
            await started(served.relay, "j1")
            await end(served.relay, "j1")
            found = [message async for message in stream if message.type not in ("", "hello")]
        assert [message.type for message in found] == ["job.started", "job.completed", "end"]
        params, headers = {"job_id": "j1"}, {"last-event-id": found[-1].id}
        again = await served.http.get("/v1/events/stream", params=params, headers=headers)
        assert (again.status_code, again.content) == (204, b"")
        async with streaming(served.http, job_id="j1", after="0") as stream:
            found = [message async for message in stream if message.type not in ("", "hello")]
        assert [message.type for message in found] == ["job.started", "job.completed", "end"]


async def test_a_quiet_stream_has_heartbeats(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments, so that no proxy takes it for dead."""
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.3)
    async with served_relay(sqlite_url) as served, streaming(served.http) as stream:
        found = [await asyncio.wait_for(anext(stream), 10) for _ in range(4)]
        assert [message.is_comment for message in found] == [False, False, True, True]


async def test_a_revoked_key_ends_its_stream(store_url: str) -> None:
    """With a message that says why; no event comes after it."""
    async with served_relay(store_url) as served:
        await served.register("j1")
        async with streaming(served.http) as stream:
            await anext(stream)
            await anext(stream)
            await served.waits_open(1)
            served.revoke_key()
            rest: list[Message] = [message async for message in stream if not message.is_comment]
        assert [(message.type, message.data["code"]) for message in rest] == [("error", "invalid_api_key")]


async def test_a_stop_ends_streams(store_url: str) -> None:
    """At once and without an error: their clients reconnect."""
    async with served_relay(store_url) as served, streaming(served.http) as stream:
        await anext(stream)
        await anext(stream)
        await served.waits_open(1)
        served.relay.waiters.stop()
        assert [message async for message in stream] == []


async def test_one_stream_too_many_gets_429(sqlite_url: str) -> None:
    """Waits and streams of a key have one limit."""
    async with served_relay(sqlite_url, waits_per_key=1) as served, streaming(served.http) as stream:
        await anext(stream)
        assert_refused(await served.http.get("/v1/events/stream"), 429, "too_many_waits")


# --- signed ------------------------------------------------------------------------------------------------------


async def test_signed_events_verify_as_notifications_do(store_url: str) -> None:
    """As an endpoint: its events, in its format, with the signature of its secret; the same by pull and stream."""
    async with served_relay(store_url) as served:
        body = {"name": "ops", "url": "https://example.com/ops", "secret": SECRET, "events": ["job.completed"]}
        assert (await served.http.post("/v1/endpoints", json=body)).status_code == 201
        await served.register("j1", "j2")
        await started(served.relay, "j1")
        await end(served.relay, "j1")
        await end(served.relay, "j2", EventType.FAILED)
        [pulled] = (await served.pull("0", endpoint="ops"))["data"]
        signed = pulled["signed"]
        event = verify(signed["headers"], signed["body"], SECRET)
        assert event == pulled["body"]
        assert signed["headers"]["webhook-id"] == pulled["id"]
        delivery = (await served.http.get("/v1/deliveries", params={"job_id": "j1"})).json()["data"]
        assert {row["event_id"] for row in delivery} <= {pulled["id"]}
        async with streaming(served.http, after="0", endpoint="ops") as stream:
            streamed = (await next_event(stream)).data
        assert streamed["id"] == pulled["id"]
        assert verify(streamed["signed"]["headers"], streamed["signed"]["body"], SECRET) == event


async def test_a_stored_event_verifies_later(sqlite_url: str) -> None:
    """After 30 days as of when it was received, or at any age; one flipped byte fails, and so does the default."""
    async with served_relay(sqlite_url) as served:
        body = {"name": "ops", "url": "https://example.com/ops", "secret": SECRET}
        await served.http.post("/v1/endpoints", json=body)
        await ended(served, "j1")
        [event] = (await served.pull("0", endpoint="ops"))["data"]
    headers, text = event["signed"]["headers"], event["signed"]["body"]
    received = int(headers["webhook-timestamp"]) * SECOND
    assert verify_stored(headers, text, SECRET, received_at=received)["type"] == "job.completed"
    assert verify_stored(headers, text, SECRET, tolerance=None)["type"] == "job.completed"
    with pytest.raises(TimestampTooOld):
        verify(headers, text, SECRET, now=received + 30 * DAY)
    with pytest.raises(BadSignature):
        verify_stored(headers, text.replace("j1", "j2"), SECRET, tolerance=None)


# --- when something fails ----------------------------------------------------------------------------------------


async def test_a_forgotten_lock_is_reported_and_jobs_are_answered(postgres_url: str) -> None:
    """Somebody holds the feed: waits for jobs are answered at once, the log names the cause, and then all comes."""
    async with served_relay(postgres_url) as served:
        await ended(served, "j0")
        assert jobs_of(await served.pull("0")) == ["j0"]
        with psycopg.connect(postgres_url) as other:
            other.execute("SELECT * FROM event_feed FOR UPDATE")
            await served.register("j1")
            waiting = asyncio.create_task(served.wait())
            await served.waits_open(1)
            await end(served.relay)
            assert (await asyncio.wait_for(waiting, 10)).json()["ended"] is True
            assert jobs_of(await served.pull("0")) == ["j0"]
        assert jobs_of(await served.pull("0")) == ["j0", "j1"]
