"""What Exec answers becomes a value: odd jobs, no jobs, refusals, redirects."""

import json
from typing import Any

import pytest

from relay.model import DAY, EventType
from relay.model.poll_result import JobFound, JobNotFound, PollFailed, RateLimited, Unauthorized
from relay.polling.exec_client import MAX_BODY_READ, MAX_JOB_SIZE, ExecClient
from tests.adapters.exec_polls import JOB, KEY, NOW, failing, job_answer, poll_at
from tests.loopback import answer, answering, http_client, serving


async def test_a_job_is_returned_as_exec_sent_it() -> None:
    """The job is parsed, and unknown fields are kept."""
    poll_result = await poll_at(answering(job_answer()))
    assert isinstance(poll_result, JobFound)
    assert poll_result.job.final_event is EventType.COMPLETED
    assert poll_result.job.raw() == JOB


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
        {"scenario": "https://acme.app.exec.com/scenarios/x"},
        {"scenario": []},
        {"scenario": ""},
        {"scenario": 7},
        {"status": "failed", "error": "Out of credits"},
        {"status": "failed", "error": ["a", "b"]},
        {"status": "cancelled", "error": ""},
        {"status": "failed", "error": False, "scenario": {}},
        {"duration_seconds": 10**300},
        {"created": 1, "ending": 2, "_sent": 3, "model_config": 4, "model_dump": 5},
    ],
)
async def test_a_mistyped_field_does_not_reject_a_job(changes: dict[str, Any]) -> None:
    """Only id and status must be valid; all other fields are passed on as Exec sent them."""
    poll_result = await poll_at(answering(job_answer(**changes)))
    assert isinstance(poll_result, JobFound)
    assert poll_result.job.raw() == {**JOB, **changes}
    assert poll_result.job.created_at_ms in (NOW, None)
    assert type(poll_result.job).model_validate_json(json.dumps({**JOB, **changes})) == poll_result.job


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000])
async def test_a_number_that_no_parser_holds_does_not_hide_the_end_of_a_job(number: str) -> None:
    """It is null in what subscribers get; the job has ended all the same."""
    sent = json.dumps({**JOB, "duration_seconds": "NUMBER", "score": [1.5, 7]}).replace('"NUMBER"', number)
    poll_result = await poll_at(answering(answer(sent.encode())))
    assert isinstance(poll_result, JobFound)
    assert poll_result.job.final_event is EventType.COMPLETED
    assert poll_result.job.raw() == {**JOB, "duration_seconds": None, "score": [1.5, 7]}


async def test_a_304_is_no_redirect() -> None:
    """A cache in between answers it: there is no address to name."""
    poll_result = await poll_at(answering(b"HTTP/1.1 304 Not Modified\r\n\r\n"))
    assert isinstance(poll_result, PollFailed)
    assert "answered 304 without Exec's JSON error" in poll_result.detail


async def test_content_type_and_bom_are_ignored() -> None:
    """Right JSON is a job under any content type."""
    told = answer(b"\xef\xbb\xbf" + json.dumps(JOB).encode(), "200 OK", "Content-Type: text/html; charset=latin-1")
    assert isinstance(await poll_at(answering(told)), JobFound)


async def test_half_a_surrogate_pair_does_not_reject_a_job() -> None:
    """A name cut in the middle of an emoji is repaired, so that it can be stored and sent."""
    body = json.dumps({**JOB, "scenario": {"name": "cut \ud83c"}}).encode()
    poll_result = await poll_at(answering(answer(body)))
    assert isinstance(poll_result, JobFound)
    assert poll_result.job.scenario
    assert poll_result.job.scenario.name == "cut ?"


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
    ("invalid UTF-8", json.dumps(JOB).encode().replace(b"Caf", b"\xff\xfe\xfa")),
    ("deep lists", b'{"id": "j1o2b3i4d5x6", "status": "queued", "x": ' + b"[" * 400_000 + b"]" * 400_000 + b"}"),
    ("lists 500 deep", b'{"id": "j1o2b3i4d5x6", "status": "queued", "x": ' + b"[" * 500 + b"]" * 500 + b"}"),
    ("lists 950 deep", b'{"id": "j1o2b3i4d5x6", "status": "queued", "x": ' + b"[" * 950 + b"]" * 950 + b"}"),
    ("deep objects", b'{"id":' * 100_000),
    ("more than 1 MiB", json.dumps({**JOB, "x": "x" * MAX_BODY_READ}).encode()),
    ("a job and 1 MiB of spaces", json.dumps(JOB).encode() + b" " * MAX_BODY_READ),
    ("a list of 900 KiB", json.dumps(["x" * 900_000]).encode()),
    ("an id of 900 KiB", json.dumps({**JOB, "id": "x" * 900_000}).encode()),
    ("zeros", bytes(10_000)),
]


@pytest.mark.parametrize("body", [row[1] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
async def test_a_200_that_is_not_a_job_is_a_failed_poll(body: bytes) -> None:
    """Only this job's own status is accepted."""
    poll_result = await poll_at(answering(answer(body, "200 OK", "Content-Type: application/json")))
    assert isinstance(poll_result, PollFailed)
    assert poll_result.kind == "malformed"
    assert poll_result.detail.startswith("Exec's answer is not a job: ")
    assert len(poll_result.detail) < 200


async def test_a_job_of_nearly_128_kib_is_passed_on_whole() -> None:
    """The limit is on what is longer."""
    poll_result = await poll_at(answering(job_answer(x="x" * (MAX_JOB_SIZE - 1_000))))
    assert isinstance(poll_result, JobFound)
    assert poll_result.left_out == ()
    assert len(poll_result.job.raw()["x"]) == MAX_JOB_SIZE - 1_000


@pytest.mark.parametrize(
    ("fields", "left_out"),
    [
        ({"x": "x" * 1_000_000}, ("x",)),
        ({"scenario": {"id": "s1", "name": "x" * 1_000_000}}, ("scenario",)),
        ({f"x{number}": "x" * 1_000 for number in range(500)}, ("credits", *(f"x{number}" for number in range(9)))),
        ({"x": "\u2028" * 100_000}, ("x",)),
        ({"y\x1b[31m": "x" * 1_000_000}, ()),
    ],
)
async def test_a_longer_job_is_found_without_its_long_fields(fields: dict[str, Any], left_out: tuple[str, ...]) -> None:
    """Its end is not missed; what is too long is left out, and named."""
    poll_result = await poll_at(answering(job_answer(**fields)))
    assert isinstance(poll_result, JobFound)
    assert poll_result.left_out == left_out
    assert poll_result.job.raw() == {name: value for name, value in JOB.items() if name not in (*fields, *left_out)}


async def test_a_compressed_answer_is_a_failed_poll() -> None:
    """Nothing is decompressed."""
    told = answer(json.dumps(JOB).encode(), "200 OK", "Content-Encoding: gzip")
    poll_result = await poll_at(answering(told))
    assert isinstance(poll_result, PollFailed)
    assert poll_result.kind == "malformed"


@pytest.mark.parametrize(
    "body", [b'{"error": {"type": "not_found", "message": "no"}}', b'{"error": {"code": "job_not_found"}}']
)
async def test_404_in_execs_envelope_is_not_found(body: bytes) -> None:
    """Exec does not know the job."""
    assert await poll_at(answering(answer(body, "404 Not Found"))) == JobNotFound()


FOREIGN = [
    b"",
    b"default backend - 404",
    b"<html>Attention required</html>",
    b"{}",
    b"[]",
    b"null",
    b'{"message": "no Route matched with those values"}',
    b'{"error": "not found"}',
    b'{"error": ["not_found"]}',
    b'{"error": {}}',
    b'{"error": {"code": 404, "message": "Not Found", "status": "NOT_FOUND"}}',
    b'{"error": {"code": "404", "message": "The deployment could not be found"}}',
    b'{"error": {"code": "NOT_FOUND", "message": "The page could not be found"}}',
    b'{"error": {"code": "ResourceNotFound", "message": "Resource not found"}}',
    b'{"error": {"type": "about:blank", "code": "Access denied"}}',
    b'{"error": {"message": "denied"}}',
    b'{"error": {"type": "", "message": ["no", "text"]}}',
    b'{"retry_after": 3600}',
    b"\xff\xfe",
    b"[" * 500_000,
]


@pytest.mark.parametrize("body", FOREIGN)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 402, 410, 429])
async def test_a_status_without_execs_envelope_is_a_failed_poll(status: int, body: bytes) -> None:
    """Gateways and portals use Exec's status codes too: they say nothing about the key, the job or the budget."""
    poll_result = await poll_at(answering(answer(body, f"{status} No", "Retry-After: 3600")))
    assert isinstance(poll_result, PollFailed)
    assert poll_result.kind == "status"
    assert f"answered {status} without Exec's JSON error" in poll_result.detail


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"error": {"type": "authentication_error", "code": "invalid_api_key", "message": "Invalid key"}},
            "Invalid key",
        ),
        ({"error": {"code": "workspace_inactive"}}, "workspace_inactive"),
        ({"error": {"type": "t", "message": f"No such key: {KEY}!"}}, "No such key: …!"),
        ({"error": {"type": "t", "message": "Not exec_live_abcdef0123 either"}}, "Not exec_… either"),
        ({"error": {"type": "t", "message": "two\nlines\x1b[31m"}}, "two lines [31m"),
        ({"error": {"type": "t", "message": "x" * 5_000}}, "x" * 300),
        ({"error": {"type": "t", "message": ["no", "text"]}}, "t"),
    ],
)
@pytest.mark.parametrize("status", [401, 403])
async def test_the_reason_of_a_refused_key_is_reported_without_the_key(status: int, body: Any, message: str) -> None:
    """The envelope's message is reported: short, printable, and without any key."""
    poll_result = await poll_at(failing(f"{status} No", body))
    assert poll_result == Unauthorized(status, message.format(status=status))


@pytest.mark.parametrize(
    ("body", "headers", "wait"),
    [
        ({"retry_after": 7}, ["Retry-After: 9"], 7_000),
        ({"error": {"type": "rate_limited", "retry_after": 7.5}}, [], 7_500),
        ({"error": {"type": "rate_limited", "retry_after": "7"}}, [], 7_000),
        ({"retry_after": "Fri, 01 Mar 2024 10:00:30 GMT"}, [], 30_000),
        ({"retry_after": None}, ["Retry-After: 9"], 9_000),
        ({"retry_after": "soon"}, ["Retry-After: 9"], 9_000),
        ({"retry_after": True}, ["Retry-After: 9"], 9_000),
        ({"retry_after": {"seconds": 1}}, ["Retry-After: 9"], 9_000),
        ({}, ["Retry-After: Fri, 01 Mar 2024 10:00:30 GMT"], 30_000),
        ({}, ["Retry-After: Fri, 01 Mar 2024 09:00:00 GMT"], 0),
        ({"retry_after": 10**9}, [], DAY),
        ({}, ["Retry-After: never"], None),
        ({}, [], None),
    ],
)
async def test_a_429_returns_how_long_to_wait(body: Any, headers: list[str], wait: int | None) -> None:
    """`retry_after` of the body, else the header, as seconds or a date, a day at most."""
    body = {"error": {"type": "rate_limited"}} | body
    assert await poll_at(failing("429 Too Many Requests", body, *headers)) == RateLimited(wait)


@pytest.mark.parametrize(
    ("status", "body", "detail"),
    [
        (500, {"error": {"message": "Internal"}}, "Exec answered 500: Internal"),
        (503, [], "Exec answered 503"),
        (400, {"error": {"type": "invalid_request"}}, "Exec answered 400: invalid_request"),
        (418, {"error": {"type": "t", "message": KEY}}, "Exec answered 418: …"),
    ],
)
async def test_any_other_status_is_a_failed_poll(status: int, body: Any, detail: str) -> None:
    """An answer that is neither a job nor a known refusal is reported and retried."""
    assert await poll_at(failing(f"{status} Odd", body)) == PollFailed("status", detail)


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "204 No Content", "206 Partial Content"])
async def test_a_2xx_without_a_job_is_a_failed_poll(status: str) -> None:
    """An empty answer is not a job, whatever its status."""
    assert await poll_at(answering(answer(b"", status))) == PollFailed(
        "malformed", "Exec's answer is not a job: it is not JSON, or too deeply nested"
    )


@pytest.mark.parametrize("body", [b"[" * 500_000, b'{"error":' * 100_000, b"\xff\xfe", b'{"error": {"message": NaN}}'])
async def test_a_5xx_of_any_shape_is_a_failed_poll(body: bytes) -> None:
    """A 5xx of any shape is a failed poll with its status."""
    assert await poll_at(answering(answer(body, "500 Broken"))) == PollFailed("status", "Exec answered 500")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_the_key_is_not_sent_along_a_redirect(status: int) -> None:
    """A redirect is a failed poll that names its target; the key is not sent there, even on the same host."""
    async with serving(answering(job_answer())) as elsewhere:
        led = answer(b"", f"{status} Moved", f"Location: {elsewhere.url('/s3cr3t')}")
        poll_result = await poll_at(answering(led))
        assert isinstance(poll_result, PollFailed)
        assert poll_result.kind == "status"
        assert f"a redirect to http://127.0.0.1:{elsewhere.port}/…" in poll_result.detail
        assert "s3cr3t" not in poll_result.detail
        assert elsewhere.connections == 0


async def test_a_client_that_follows_redirects_does_not_follow_one() -> None:
    """A poll follows no redirect, whatever HTTP client is used."""
    async with serving(answering(job_answer())) as elsewhere:
        led = answering(answer(b"", "302 Found", f"Location: {elsewhere.url()}"))
        async with serving(led) as served, http_client(follow_redirects=True, trust_env=False) as http:
            client = ExecClient("default", KEY, served.url(), timeout=1_000, clock=lambda: NOW, http=http)
            assert isinstance((await client.get_job("a")).result, PollFailed)
            assert elsewhere.connections == 0
