"""The verifying receiver over a real socket; what it gets is signed by the relay's own signing."""

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
    """The library polls the machine's clock and takes no other."""
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


async def test_what_the_relay_signs_is_verified_and_kept() -> None:
    """Everything of the request is there afterwards, at the receiver's own time."""
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
async def test_what_can_not_be_trusted_is_kept_with_the_reason(
    request_: Callable[[], tuple[dict[str, str], bytes]], why: str
) -> None:
    """Tampered, stale, unsigned or malformed: answered as ever, marked as not verified, and why."""
    headers, body = request_()
    came = await judged(Receiver(NEW, Clock()), headers, body)
    assert not came.verified
    assert why in came.error


async def test_while_a_secret_rotates_either_holder_verifies() -> None:
    """Two signatures come: a holder of either secret accepts; a holder of both accepts one signature of either."""
    both = standard_webhooks.headers("evt_1", BODY, [Secret(NEW), Secret(OLD, until=now() + DAY)], now())
    for secrets in ([NEW], [OLD], [NEW, OLD]):
        assert (await judged(Receiver(secrets, Clock()), both)).verified
    for secret in (NEW, OLD):
        assert (await judged(Receiver([OLD, NEW], Clock()), signed(secrets=[secret]))).verified


async def test_each_path_can_have_secrets_of_its_own() -> None:
    """A secret holds for its path alone, `*` for every other; a path with none verifies nothing."""
    receiver = Receiver({"/old": [OLD], "*": [NEW], "/none": []}, Clock())
    async with receiving(receiver) as http:
        for path in ("/old", "/else", "/none"):
            await http.post(path, content=BODY, headers=signed())
        receiver.set_secrets(NEW, "/old")
        await http.post("/old", content=BODY, headers=signed())
    assert [one.verified for one in receiver.received] == [False, True, False, True]
    assert "no secret is known" in receiver.received[2].error


async def test_a_signed_body_need_not_be_the_standard_one() -> None:
    """Chat messages and even plain text are verified alike; they just have no event type."""
    for body in (b'{"text":"Scenario ready"}', b"plain text", b"[1]", b'{"type":7}'):
        came = await judged(Receiver(NEW, Clock()), signed(body), body)
        assert (came.verified, came.event_type) == (True, None)
    flat = b'{"event":"job.failed","event_id":"evt_1"}'
    assert (await judged(Receiver(NEW, Clock()), signed(flat), flat)).event_type == "job.failed"


def test_a_secret_that_is_none_is_refused() -> None:
    """A receiver that could verify nothing is not made."""
    with pytest.raises(ValidationFailed, match="base64"):
        Receiver("whsec_no!", Clock())


async def test_listeners_hear_of_each_one() -> None:
    """Functions and coroutines alike."""
    heard: list[str] = []

    async def slowly(one: Received) -> None:
        await asyncio.sleep(0)
        heard.append(one.path)

    await judged(Receiver(NEW, Clock(), listener=lambda one: heard.append(one.path)), {}, path="/plain")
    await judged(Receiver(NEW, Clock(), listener=slowly), {}, path="/coroutine")
    assert heard == ["/plain", "/coroutine"]


async def test_only_the_last_ones_are_kept() -> None:
    """A receiver that runs for ever does not grow for ever."""
    receiver = Receiver(NEW, Clock(), keep=3)
    async with receiving(receiver) as http:
        for number in range(5):
            await http.post(f"/{number}")
    assert [one.path for one in receiver.received] == ["/2", "/3", "/4"]


async def test_waiting_ends_when_enough_came_or_time_is_over() -> None:
    """`arrived` counts by path, and gives up loudly."""
    receiver = Receiver(NEW, Clock())
    async with receiving(receiver) as http:
        waiting = asyncio.create_task(receiver.wait_for(2, path="/b"))
        for path in ("/a", "/b", "/b"):
            await http.post(path)
        assert [one.path for one in await waiting] == ["/b", "/b"]
        with pytest.raises(TimeoutError):
            await receiver.wait_for(4, within=20)


async def test_answers_follow_the_script_of_the_path() -> None:
    """A path's own script first, then the common one, then what is always answered; 204 unless told."""
    receiver = Receiver(NEW, Clock())
    receiver.script(Respond(status=500, body=b"oops"), Respond(status=503), path="/a")
    receiver.script(Respond(status=502))
    receiver.always(Respond(status=202, headers={"x-mine": "1"}), "/b")
    async with receiving(receiver) as http:
        answers = [await http.post(path) for path in ("/a", "/a", "/a", "/a", "/b")]
    assert [answer.status_code for answer in answers] == [500, 503, 502, 204, 202]
    assert answers[0].content == b"oops"
    assert answers[4].headers["x-mine"] == "1"


async def test_ready_made_answers() -> None:
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


async def test_it_can_hang() -> None:
    """No answer comes, the request is kept, and stopping is not held up."""
    receiver = Receiver(NEW, Clock())
    receiver.script(HANG)
    async with receiving(receiver) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/", timeout=0.05)
        assert len(receiver.received) == 1


async def test_it_can_drip() -> None:
    """Byte after byte with a wait before each, so that no timeout of a single read ever strikes."""
    receiver = Receiver(NEW, Clock())
    receiver.script(SlowBody(body=b"abc", every=5), SlowBody())
    async with receiving(receiver) as http:
        assert (await http.post("/")).content == b"abc"
        async with http.stream("POST", "/") as answer:
            assert answer.status_code == 200


async def test_it_can_flood() -> None:
    """A body of any size comes without being held in memory; whoever hangs up early is let go."""
    receiver = Receiver(NEW, Clock())
    receiver.script(HugeBody(bytes=200_001), HugeBody())
    async with receiving(receiver) as http:
        assert len((await http.post("/")).content) == 200_001
        async with http.stream("POST", "/") as answer:
            assert answer.headers["content-length"] == "1000000000"
            async for chunk in answer.aiter_raw():
                assert chunk
                break


async def test_it_takes_posts_only() -> None:
    """A poll with a browser is told so and not kept."""
    receiver = Receiver(NEW, Clock())
    async with receiving(receiver) as http:
        assert (await http.get("/")).status_code == 405
    assert not receiver.received
