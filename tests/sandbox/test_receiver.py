"""The verifying receiver over a real socket; requests are signed by the relay's own code."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate

import httpx
import pytest

from relay.errors import ValidationFailed
from relay.model import DAY, MINUTE, Instant, Secret
from relay.sandbox.local_server import serve
from relay.sandbox.receiver import (
    ABORT,
    DISABLE,
    GONE,
    HANG,
    HugeBody,
    Received,
    Receiver,
    Respond,
    SlowBody,
    redirect,
    retry_later,
)
from relay.signing import standard_webhooks
from tests.sandbox.standin import NO_TLS, Clock

NEW, OLD = standard_webhooks.new_secret(bytes(range(32))), standard_webhooks.new_secret(bytes(range(32, 64)))
BODY = b'{"type":"job.completed","data":{"job":{"id":"abc","scenario":{"name":"Caf\xc3\xa9"}}}}'


def now() -> Instant:
    """The library reads the machine's clock; no other can be injected."""
    return time.time_ns() // 1_000_000


def signed(body: bytes = BODY, secrets: Sequence[str] = (NEW,), at: Instant | None = None) -> dict[str, str]:
    return standard_webhooks.headers("evt_1", body, [Secret(secret) for secret in secrets], now() if at is None else at)


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serve(receiver.app) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, verify=NO_TLS, timeout=5) as http,
    ):
        yield http


async def judged(receiver: Receiver, headers: Mapping[str, str], body: bytes = BODY, path: str = "/x") -> Received:
    async with receiving(receiver) as http:
        assert (await http.post(path, content=body, headers=headers)).status_code == 204
    [came] = receiver.received
    return came


async def test_signed_request_is_verified_and_stored() -> None:
    """The whole request is stored, with the time of the receiver."""
    clock = Clock()
    came = await judged(Receiver(NEW, clock), signed(), path="/any/path?query=1")
    assert (came.verified, came.error) == (True, "")
    assert (came.at, came.path, came.webhook_id, came.event_type) == (clock.now, "/any/path", "evt_1", "job.completed")
    assert came.body == BODY
    assert came.headers["webhook-id"] == "evt_1"


def _tampered(name: str, value: str) -> Callable[[], tuple[dict[str, str], bytes]]:
    return lambda: (signed() | {name: value}, BODY)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (lambda: (signed(), BODY + b" "), "no signature matches"),
        (lambda: (signed(secrets=[OLD]), BODY), "no signature matches"),
        (lambda: (signed(at=now() - 6 * MINUTE), BODY), "more than 5 minutes ago"),
        (lambda: (signed(at=now() + 6 * MINUTE), BODY), "in the future"),
        (lambda: ({}, BODY), "not signed"),
        (_tampered("webhook-id", "evt_2"), "no signature matches"),
        (_tampered("webhook-id", ""), "not signed"),
        (_tampered("webhook-timestamp", "soon"), "not a number of seconds"),
        (_tampered("webhook-timestamp", "nan"), "not a number of seconds"),
        (_tampered("webhook-timestamp", "1" * 400), "not a number of seconds"),
        (_tampered("webhook-signature", "garbage"), "malformed"),
        (_tampered("webhook-signature", "v1,!!!,x"), "malformed"),
        (_tampered("webhook-signature", "v2,AAAA"), "no signature matches"),
        (_tampered("webhook-signature", "v1,YQ="), "malformed"),
        (lambda: (signed(), b"\xff\xfe"), "malformed"),
    ],
)
async def test_unverified_request_is_stored_with_the_reason(
    request_: Callable[[], tuple[dict[str, str], bytes]], why: str
) -> None:
    """Tampered, stale, unsigned or malformed requests get the usual response and are marked as not verified, with
    the reason."""
    headers, body = request_()
    came = await judged(Receiver(NEW, Clock()), headers, body)
    assert not came.verified
    assert why in came.error


async def test_rotated_request_verifies_with_either_secret() -> None:
    """With two signatures a receiver with either secret accepts; a receiver with both accepts one signature of
    either."""
    both = standard_webhooks.headers("evt_1", BODY, [Secret(NEW), Secret(OLD, until=now() + DAY)], now())
    for secrets in ([NEW], [OLD], [NEW, OLD]):
        assert (await judged(Receiver(secrets, Clock()), both)).verified
    for secret in (NEW, OLD):
        assert (await judged(Receiver([OLD, NEW], Clock()), signed(secrets=[secret]))).verified


async def test_each_path_can_have_its_own_secrets() -> None:
    """A secret is valid for its path only, `*` for every other path; a path without secrets verifies nothing."""
    receiver = Receiver({"/old": [OLD], "*": [NEW], "/none": []}, Clock())
    async with receiving(receiver) as http:
        for path in ("/old", "/else", "/none"):
            await http.post(path, content=BODY, headers=signed())
        receiver.set_secrets(NEW, "/old")
        await http.post("/old", content=BODY, headers=signed())
    assert [one.verified for one in receiver.received] == [False, True, False, True]
    assert "no secret is known" in receiver.received[2].error


async def test_any_signed_body_is_verified() -> None:
    """Chat messages and plain text are verified too; they have no event type."""
    for body in (b'{"text":"Scenario ready"}', b"plain text", b"[1]", b'{"type":7}'):
        came = await judged(Receiver(NEW, Clock()), signed(body), body)
        assert (came.verified, came.event_type) == (True, None)
    flat = b'{"event":"job.failed","event_id":"evt_1"}'
    assert (await judged(Receiver(NEW, Clock()), signed(flat), flat)).event_type == "job.failed"


def test_invalid_secret_is_refused() -> None:
    """A receiver with an invalid secret is not created."""
    with pytest.raises(ValidationFailed, match="base64"):
        Receiver("whsec_no!", Clock())


async def test_listeners_are_called_for_each_request() -> None:
    """Functions and coroutines both work."""
    heard: list[str] = []

    async def slowly(one: Received) -> None:
        await asyncio.sleep(0)
        heard.append(one.path)

    await judged(Receiver(NEW, Clock(), listener=lambda one: heard.append(one.path)), {}, path="/plain")
    await judged(Receiver(NEW, Clock(), listener=slowly), {}, path="/coroutine")
    assert heard == ["/plain", "/coroutine"]


async def test_only_the_last_requests_are_stored() -> None:
    """A long-running receiver uses bounded memory."""
    receiver = Receiver(NEW, Clock(), keep=3)
    async with receiving(receiver) as http:
        for number in range(5):
            await http.post(f"/{number}")
    assert [one.path for one in receiver.received] == ["/2", "/3", "/4"]


async def test_wait_for_ends_at_the_count_or_the_timeout() -> None:
    """`wait_for` counts by path, and raises TimeoutError."""
    receiver = Receiver(NEW, Clock())
    async with receiving(receiver) as http:
        waiting = asyncio.create_task(receiver.wait_for(2, path="/b"))
        for path in ("/a", "/b", "/b"):
            await http.post(path)
        assert [one.path for one in await waiting] == ["/b", "/b"]
        with pytest.raises(TimeoutError):
            await receiver.wait_for(4, within=20)


async def test_responses_follow_the_script_of_the_path() -> None:
    """The path's own script first, then the common script, then the permanent response; 204 by default."""
    receiver = Receiver(NEW, Clock())
    receiver.script(Respond(status=500, body=b"oops"), Respond(status=503), path="/a")
    receiver.script(Respond(status=502))
    receiver.always(Respond(status=202, headers={"x-mine": "1"}), "/b")
    async with receiving(receiver) as http:
        answers = [await http.post(path) for path in ("/a", "/a", "/a", "/a", "/b")]
    assert [answer.status_code for answer in answers] == [500, 503, 502, 204, 202]
    assert answers[0].content == b"oops"
    assert answers[4].headers["x-mine"] == "1"


async def test_predefined_responses() -> None:
    """Redirects, Retry-After of every kind, 410, and the headers that disable or abort."""
    receiver = Receiver(NEW, Clock())
    date = formatdate(usegmt=True)
    receiver.script(redirect("http://127.0.0.1:1/"), retry_later(7), retry_later(date, 503), GONE, DISABLE, ABORT)
    async with receiving(receiver) as http:
        answers = [await http.post("/") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [307, 429, 503, 410, 200, 400]
    assert answers[0].headers["location"] == "http://127.0.0.1:1/"
    assert [answer.headers["retry-after"] for answer in answers[1:3]] == ["7", date]
    assert [answer.headers["webhook-delivery"] for answer in answers[4:]] == ["disable", "abort-message"]


async def test_hanging_response() -> None:
    """No response is sent, the request is stored, and stopping is not delayed."""
    receiver = Receiver(NEW, Clock())
    receiver.script(HANG)
    async with receiving(receiver) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/", timeout=0.05)
        assert len(receiver.received) == 1


async def test_slow_body() -> None:
    """One byte at a time with a wait before each, so that no read timeout fires."""
    receiver = Receiver(NEW, Clock())
    receiver.script(SlowBody(body=b"abc", every=5), SlowBody())
    async with receiving(receiver) as http:
        assert (await http.post("/")).content == b"abc"
        async with http.stream("POST", "/") as answer:
            assert answer.status_code == 200


async def test_huge_body() -> None:
    """A body of any size is sent without holding it in memory; a client may disconnect early."""
    receiver = Receiver(NEW, Clock())
    receiver.script(HugeBody(bytes=200_001), HugeBody())
    async with receiving(receiver) as http:
        assert len((await http.post("/")).content) == 200_001
        async with http.stream("POST", "/") as answer:
            assert answer.headers["content-length"] == "1000000000"
            async for chunk in answer.aiter_raw():
                assert chunk
                break


async def test_other_methods_are_refused() -> None:
    """A GET of a browser gets an error and is not stored."""
    receiver = Receiver(NEW, Clock())
    async with receiving(receiver) as http:
        assert (await http.get("/")).status_code == 405
    assert not receiver.received
