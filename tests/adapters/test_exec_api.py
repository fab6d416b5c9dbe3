"""Looking at Exec over real sockets: every answer, and none, becomes a value; the key goes nowhere else."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from relay.errors import ConfigError
from relay.exec_api import MOST_READ, ExecClient, make_http
from relay.looking import Faulty, KeyRefused, Limited, Look, Missing, Seen, Sighting
from relay.model import DAY, EventType
from tests.loopback import Behaviour, Served, Wire, answer, answering, serving

NOW = 1_709_287_200_000  # 2024-03-01T10:00:00Z
KEY = "exec_live_" + "k3y" * 13 + "k"
JOB = {
    "id": "j1o2b3i4d5x6",
    "status": "completed",
    "scenario": {"id": "s1", "name": "Café 🎭", "url": "https://acme.app.exec.com/scenarios/s1", "slug": "s1"},
    "error": None,
    "created_at": "2024-03-01T10:00:00Z",
    "started_at": "2024-03-01T10:00:05Z",
    "completed_at": "2024-03-01T10:00:45Z",
    "duration_seconds": 40,
    "credits": {"used": 1.5},
}

Looked = Callable[..., Awaitable[Sighting]]


@asynccontextmanager
async def _client(served: Served, timeout: int = 2_000, path: str = "/rest/v1") -> AsyncIterator[ExecClient]:
    client = ExecClient("default", KEY, served.url(path), timeout=timeout, clock=lambda: NOW, http=make_http(timeout))
    yield client
    await client.aclose()


async def _look(behave: Behaviour, job_id: str = "j1o2b3i4d5x6", timeout: int = 2_000) -> Sighting:
    async with serving(behave) as served, _client(served, timeout) as client:
        look = await client.look(job_id)
        assert KEY not in repr(look)
        return look.sighting


def _job(**changes: Any) -> bytes:
    return answer(json.dumps({**JOB, **changes}).encode(), "200 OK", "Content-Type: application/json")


def _failed(status: str, body: Any, *headers: str) -> Behaviour:
    return answering(answer(json.dumps(body).encode(), status, *headers))


# --- the request -----------------------------------------------------------------------------------------------


async def test_a_look_is_one_get_with_the_key() -> None:
    """The path is Exec's, the key goes as a bearer token, identity encoding is asked for."""
    async with serving(answering(_job())) as served, _client(served) as client:
        look = await client.look("j1o2b3i4d5x6")
        (request,) = served.requests
        assert (request.method, request.target) == ("GET", "/rest/v1/scenario-studio/jobs/j1o2b3i4d5x6")
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers["user-agent"].startswith("exec-relay/")
        assert isinstance(look.sighting, Seen)


@pytest.mark.parametrize(
    ("job_id", "segment"),
    [
        ("a/b", "a%2Fb"),
        ("../members", "..%2Fmembers"),
        ("a?admin=1", "a%3Fadmin%3D1"),
        ("a#b", "a%23b"),
        ("a%2Fb", "a%252Fb"),
        ("a b\r\nx: y", "a%20b%0D%0Ax%3A%20y"),
        ("ü", "%C3%BC"),
        ("\ud800", "%ED%A0%80"),
        ("...", "..."),
    ],
)
async def test_a_job_id_stays_one_segment_of_the_path(job_id: str, segment: str) -> None:
    """No id, however odd, reaches another resource with the key."""
    async with serving(_failed("404 Not Found", {})) as served, _client(served) as client:
        assert (await client.look(job_id)).sighting == Missing()
        assert [request.target for request in served.requests] == [f"/rest/v1/scenario-studio/jobs/{segment}"]


@pytest.mark.parametrize("job_id", ["", ".", ".."])
async def test_an_id_that_is_no_segment_is_not_asked_for(job_id: str) -> None:
    """What would name the list or its parent can be no job, and costs no request."""
    async with serving(answering(_job())) as served, _client(served) as client:
        assert (await client.look(job_id)).sighting == Missing()
        assert served.connections == 0


async def test_time_comes_from_the_clocks() -> None:
    """A look says when it started and how long it took, by the injected clocks."""
    seconds = iter((5.0, 5.25))
    async with serving(answering(_job())) as served, httpx.AsyncClient(trust_env=False) as http:
        client = ExecClient(
            "default", KEY, served.url(), timeout=1_000, clock=lambda: NOW, http=http, monotonic=lambda: next(seconds)
        )
        look = await client.look("j1o2b3i4d5x6")
        assert (look.started_at, look.duration_ms) == (NOW, 250)


async def test_neither_cookies_nor_the_environment_have_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cookies are not kept, proxies of the environment not used."""
    told = answer(json.dumps(JOB).encode(), "200 OK", "Set-Cookie: a=b")
    async with serving(answering(answer())) as proxy, serving(answering(told)) as served:
        monkeypatch.setenv("HTTP_PROXY", proxy.url())
        monkeypatch.setenv("ALL_PROXY", proxy.url())
        async with _client(served) as client:
            for _ in range(2):
                assert isinstance((await client.look("j1o2b3i4d5x6")).sighting, Seen)
        assert [request.headers.get("cookie") for request in served.requests] == [None, None]
        assert proxy.connections == 0


@pytest.mark.parametrize("key", ["", " ", "exec_live_a\nb", "exec_live_ü", "a b"])
def test_a_key_that_no_header_can_carry_is_refused_at_once(key: str) -> None:
    """A broken key is a mistake of the configuration, said without repeating the key."""
    with pytest.raises(ConfigError, match="the API key") as refused:
        ExecClient("default", key, "https://api.exec.com", timeout=1, clock=lambda: 0, http=make_http(1))
    assert not key.strip() or key not in str(refused.value)


@pytest.mark.parametrize(
    "base_url",
    [
        *("http://127.0.0.1:99999", "http://127.0.0.1:0", "ftp://127.0.0.1", "nonsense", "", "https://", "https:///v1"),
        *("https://a:s3cr3t@b", "https://a/?b=s3cr3t", "https://a/#b", "http://[::1", "https://a:b", "https://a\x00"),
    ],
)
def test_an_address_that_no_request_can_have_is_refused_at_once(base_url: str) -> None:
    """So is a base URL that is none."""
    with pytest.raises(ConfigError, match="base_url is not a URL") as refused:
        ExecClient("default", KEY, base_url, timeout=1, clock=lambda: 0, http=make_http(1))
    assert "s3cr3t" not in str(refused.value)


# --- the answer ------------------------------------------------------------------------------------------------


async def test_a_job_comes_back_as_exec_sent_it() -> None:
    """The job is read, and what is unknown here is kept."""
    sighting = await _look(answering(_job()))
    assert isinstance(sighting, Seen)
    assert sighting.job.ending is EventType.COMPLETED
    assert sighting.job.as_exec_sent_it() == JOB


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "queued", "scenario": None},
        {"status": "paused"},
        {"created_at": 1709287200, "started_at": [], "completed_at": "yesterday", "duration_seconds": "40"},
        {"completed_at": "9999-99-99T99:99:99Z"},
        {"created_at": "0001-01-01T00:00:00+23:59"},
        {"scenario": {"id": 7, "name": None, "url": ["x"]}},
        {"error": {"code": 500, "message": None, "details": [1]}},
        {"duration_seconds": True},
        {"duration_seconds": 10**300},
        {"created": 1, "ending": 2, "_sent": 3, "model_config": 4, "model_dump": 5},
    ],
)
async def test_an_odd_field_is_no_reason_to_refuse_a_job(changes: dict[str, Any]) -> None:
    """Only id, status, and what scenario and error are, must be right; the rest is passed on as it came."""
    sighting = await _look(answering(_job(**changes)))
    assert isinstance(sighting, Seen)
    assert sighting.job.as_exec_sent_it() == {**JOB, **changes}
    assert sighting.job.created in (NOW, None)
    assert type(sighting.job).model_validate_json(json.dumps({**JOB, **changes})) == sighting.job


async def test_content_type_and_bom_do_not_matter() -> None:
    """Right JSON is a job under any content type."""
    told = answer(b"\xef\xbb\xbf" + json.dumps(JOB).encode(), "200 OK", "Content-Type: text/html; charset=latin-1")
    assert isinstance(await _look(answering(told)), Seen)


async def test_half_a_surrogate_pair_does_not_stop_a_job() -> None:
    """A name cut in the middle of an emoji is repaired, so that it can be stored and sent."""
    body = json.dumps({**JOB, "scenario": {"name": "cut \ud83c"}}).encode()
    sighting = await _look(answering(answer(body)))
    assert isinstance(sighting, Seen)
    assert sighting.job.scenario
    assert sighting.job.scenario.name == "cut ?"


MALFORMED: list[tuple[str, bytes]] = [
    ("nothing", b""),
    ("a page", b"<html>Sign in</html>"),
    ("half a job", json.dumps(JOB).encode()[:-1]),
    ("a list", b"[]"),
    ("a text", b'"completed"'),
    ("null", b"null"),
    ("an empty object", b"{}"),
    ("no id", json.dumps({**JOB, "id": None}).encode()),
    ("a number as id", json.dumps({**JOB, "id": 1}).encode()),
    ("another id", json.dumps({**JOB, "id": "J1o2b3i4d5x6"}).encode()),
    ("no status", json.dumps({"id": JOB["id"]}).encode()),
    ("a status that is a list", json.dumps({**JOB, "status": ["completed"]}).encode()),
    ("an empty status", json.dumps({**JOB, "status": ""}).encode()),
    ("an endless status", json.dumps({**JOB, "status": "x" * 101}).encode()),
    ("a status with a line break", json.dumps({**JOB, "status": "completed\n"}).encode()),
    ("a scenario that is a text", json.dumps({**JOB, "scenario": "s1"}).encode()),
    ("a scenario that is a list", json.dumps({**JOB, "scenario": []}).encode()),
    ("an error that is a text", json.dumps({**JOB, "status": "failed", "error": "oops"}).encode()),
    ("an error that is false", json.dumps({**JOB, "error": False}).encode()),
    ("NaN", json.dumps({**JOB, "duration_seconds": float("nan")}).encode()),
    ("Infinity", json.dumps({**JOB, "x": float("inf")}).encode()),
    ("a number beyond all numbers", json.dumps(JOB).encode().replace(b"40", b"1e999")),
    ("a number of 5,000 digits", json.dumps(JOB).encode().replace(b"40", b"9" * 5_000)),
    ("invalid UTF-8", json.dumps(JOB).encode().replace(b"Caf", b"\xff\xfe\xfa")),
    ("deep lists", b'{"id": "j1o2b3i4d5x6", "status": "queued", "x": ' + b"[" * 400_000 + b"]" * 400_000 + b"}"),
    ("lists 500 deep", b'{"id": "j1o2b3i4d5x6", "status": "queued", "x": ' + b"[" * 500 + b"]" * 500 + b"}"),
    ("lists 950 deep", b'{"id": "j1o2b3i4d5x6", "status": "queued", "x": ' + b"[" * 950 + b"]" * 950 + b"}"),
    ("deep objects", b'{"id":' * 100_000),
    ("more than 1 MiB", json.dumps({**JOB, "x": "x" * MOST_READ}).encode()),
    ("zeros", bytes(10_000)),
]


@pytest.mark.parametrize("body", [row[1] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
async def test_a_200_that_is_no_job_is_faulty(body: bytes) -> None:
    """What is not this job's status is never taken for it."""
    sighting = await _look(answering(answer(body, "200 OK", "Content-Type: application/json")))
    assert isinstance(sighting, Faulty)
    assert sighting.kind == "malformed"
    assert sighting.detail.startswith("Exec's answer is no job: ")
    assert len(sighting.detail) < 200


async def test_a_job_of_nearly_1_mib_is_read() -> None:
    """The limit is on what is longer."""
    assert isinstance(await _look(answering(_job(x="x" * (MOST_READ - 1_000)))), Seen)


async def test_a_compressed_answer_is_faulty() -> None:
    """Nothing is decompressed."""
    told = answer(json.dumps(JOB).encode(), "200 OK", "Content-Encoding: gzip")
    sighting = await _look(answering(told))
    assert isinstance(sighting, Faulty)
    assert sighting.kind == "malformed"


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"error": {"type": "not_found", "message": "no"}}', b"[]"])
async def test_404_is_missing(body: bytes) -> None:
    """Exec does not know the job, in whatever words."""
    assert await _look(answering(answer(body, "404 Not Found"))) == Missing()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"error": {"type": "authentication_error", "code": "invalid_api_key", "message": "Invalid key"}},
            "Invalid key",
        ),
        ({"error": {"code": "workspace_inactive"}}, "workspace_inactive"),
        ({"error": {"message": f"No such key: {KEY}!"}}, "No such key: …!"),
        ({"error": {"message": "Not exec_live_abcdef0123 either"}}, "Not exec_… either"),
        ({"error": {"message": "two\nlines\x1b[31m"}}, "two lines [31m"),
        ({"error": {"message": "x" * 5_000}}, "x" * 300),
        ({"error": {"message": ["no", "text"]}}, "Exec answered {status}"),
        ({"error": "denied"}, "Exec answered {status}"),
        ([], "Exec answered {status}"),
    ],
)
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_says_why(status: int, body: Any, message: str) -> None:
    """The envelope's message is told: short, printable, and never with a key in it."""
    sighting = await _look(_failed(f"{status} No", body))
    assert sighting == KeyRefused(status, message.format(status=status))


@pytest.mark.parametrize(
    ("body", "headers", "wait"),
    [
        ({"retry_after": 7}, ["Retry-After: 9"], 7_000),
        ({"error": {"type": "rate_limited", "retry_after": 7.5}}, [], 7_500),
        ({"error": {"retry_after": "7"}}, [], 7_000),
        ({"retry_after": "Fri, 01 Mar 2024 10:00:30 GMT"}, [], 30_000),
        ({"retry_after": None}, ["Retry-After: 9"], 9_000),
        ({"retry_after": "soon"}, ["Retry-After: 9"], 9_000),
        ({"retry_after": True}, ["Retry-After: 9"], 9_000),
        ({"retry_after": {"seconds": 1}}, ["Retry-After: 9"], 9_000),
        ({}, ["Retry-After: Fri, 01 Mar 2024 10:00:30 GMT"], 30_000),
        ({}, ["Retry-After: Fri, 01 Mar 2024 09:00:00 GMT"], 0),
        ({"retry_after": 10**9}, [], DAY),
        ({}, ["Retry-After: never"], None),
        ([], [], None),
    ],
)
async def test_429_says_how_long_to_wait(body: Any, headers: list[str], wait: int | None) -> None:
    """`retry_after` of the body, else the header, as seconds or a date, a day at most."""
    assert await _look(_failed("429 Too Many Requests", body, *headers)) == Limited(wait)


@pytest.mark.parametrize(
    ("status", "body", "detail"),
    [
        (500, {"error": {"message": "Internal"}}, "Exec answered 500: Internal"),
        (503, [], "Exec answered 503"),
        (400, {"error": {"type": "invalid_request"}}, "Exec answered 400: invalid_request"),
        (204, {}, "Exec answered 204"),
        (418, {"error": {"message": KEY}}, "Exec answered 418: …"),
    ],
)
async def test_any_other_status_is_faulty(status: int, body: Any, detail: str) -> None:
    """Neither a job nor one of the known refusals: it is told, and tried again."""
    sighting = await _look(_failed(f"{status} Odd", body) if status != 204 else answering(answer(b"", "204 No")))
    assert sighting == Faulty("status", detail)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_the_key_never_follows_a_redirect(status: int) -> None:
    """A redirect is a fault that says where it led; the key is sent nowhere else, not even on the same host."""
    async with serving(answering(_job())) as elsewhere:
        led = answer(b"", f"{status} Moved", f"Location: {elsewhere.url('/s3cr3t')}")
        sighting = await _look(answering(led))
        assert isinstance(sighting, Faulty)
        assert sighting.kind == "status"
        assert f"a redirect to http://127.0.0.1:{elsewhere.port}/…" in sighting.detail
        assert "s3cr3t" not in sighting.detail
        assert elsewhere.connections == 0


async def test_a_client_that_follows_redirects_is_overruled() -> None:
    """Whatever HTTP client is given, a look does not follow."""
    async with serving(answering(_job())) as elsewhere:
        led = answering(answer(b"", "302 Found", f"Location: {elsewhere.url()}"))
        async with serving(led) as served, httpx.AsyncClient(follow_redirects=True, trust_env=False) as http:
            client = ExecClient("default", KEY, served.url(), timeout=1_000, clock=lambda: NOW, http=http)
            assert isinstance((await client.look("a")).sighting, Faulty)
            assert elsewhere.connections == 0


# --- no answer -------------------------------------------------------------------------------------------------


def _after_reading(first: bytes, again: bytes = b"", then: str = "close") -> Behaviour:
    async def behave(wire: Wire) -> None:
        await wire.read()
        await wire.send(first)
        while again:
            await wire.send(again)
            await asyncio.sleep(0.01 if len(again) < 1_000 else 0)
        if then == "hang":
            await wire.hang()

    return behave


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("behave", "kind"),
    [
        (_after_reading(b"", then="hang"), "timeout"),
        (_after_reading(HEAD, then="hang"), "timeout"),
        (_after_reading(HEAD + b"Content-Length: 9\r\n\r\n{", then="hang"), "timeout"),
        (_after_reading(HEAD + b"Content-Length: 9999\r\n\r\n", again=b" "), "timeout"),
        (_after_reading(HEAD, again=b"X"), "timeout"),
        (_after_reading(b""), "connection"),
        (_after_reading(HEAD), "connection"),
        (_after_reading(HEAD + b"Content-Length: 9\r\n\r\n{"), "connection"),
        (_after_reading(b"\x16\x03\x01 no HTTP\r\n\r\n"), "connection"),
        (_after_reading(HEAD, again=b"X-A: " + b"a" * 65_536), "connection"),
        (_after_reading(HEAD + b"\r\n", again=b"x" * 65_536), "malformed"),
    ],
)
async def test_a_look_ends_in_time(behave: Behaviour, kind: str) -> None:
    """Exec may hang, drip, flood or hang up: the look is over within its timeout, and says what happened."""
    started = time.monotonic()
    sighting = await _look(behave, timeout=300)
    assert isinstance(sighting, Faulty)
    assert sighting.kind == kind
    assert time.monotonic() - started < 2


async def test_a_closed_port_is_a_failed_connection() -> None:
    """Where nobody listens, the look says so."""
    async with serving(answering(_job())) as served:
        pass
    async with _client(served) as client:
        look = await client.look("a")
        assert isinstance(look, Look)
        assert isinstance(look.sighting, Faulty)
        assert look.sighting.kind == "connection"
        assert look.sighting.detail.startswith("no connection: ")


async def test_a_name_without_address_is_a_failed_connection() -> None:
    """A host that does not resolve gives a look, not an exception."""
    async with make_http(1_000) as http:
        client = ExecClient("default", KEY, "http://nobody.invalid", timeout=1_000, clock=lambda: NOW, http=http)
        sighting = (await client.look("a")).sighting
        assert isinstance(sighting, Faulty)
        assert sighting.kind == "connection"


async def test_the_key_is_in_no_log_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    """Not even a library that logs everything gets to log the key."""
    caplog.set_level(logging.DEBUG)
    for behave in (answering(_job()), _failed("401 No", {"error": {"message": KEY}}), _after_reading(b"")):
        async with serving(behave) as served, _client(served) as client:
            look = await client.look("j1o2b3i4d5x6")
            assert KEY not in repr(client) + repr(look)
    assert caplog.records
    assert KEY not in caplog.text
