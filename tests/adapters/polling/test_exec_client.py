"""Polling Exec over real sockets: what is asked, and that the key goes nowhere else, whatever Exec does."""

import asyncio
import json
import logging

import pytest

from relay.errors import ConfigError
from relay.model.poll_result import JobFound, JobNotFound, Poll, PollFailed
from relay.polling.exec_client import ExecClient
from relay.polling.exec_transport import make_http
from tests.adapters.exec_polls import JOB, KEY, NOW, exec_client, failing, job_answer, poll_at
from tests.loopback import Behaviour, Wire, answer, answering, http_client, serving

# --- the request -----------------------------------------------------------------------------------------------


async def test_a_poll_sends_one_get_with_the_key() -> None:
    """The path is Exec's, the key goes as a bearer token, identity encoding is asked for."""
    async with serving(answering(job_answer())) as served, exec_client(served) as client:
        poll = await client.get_job("j1o2b3i4d5x6")
        (request,) = served.requests
        assert (request.method, request.target) == ("GET", "/rest/v1/scenario-studio/jobs/j1o2b3i4d5x6")
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers["user-agent"].startswith("exec-relay/")
        assert isinstance(poll.result, JobFound)


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
async def test_a_job_id_is_one_segment_of_the_path(job_id: str, segment: str) -> None:
    """No id leads to another resource with the key."""
    not_found = {"error": {"type": "not_found", "message": "Scenario not found"}}
    async with serving(failing("404 Not Found", not_found)) as served, exec_client(served) as client:
        assert (await client.get_job(job_id)).result == JobNotFound()
        assert [request.target for request in served.requests] == [f"/rest/v1/scenario-studio/jobs/{segment}"]


@pytest.mark.parametrize("job_id", ["", ".", ".."])
async def test_an_id_that_is_not_a_segment_sends_no_request(job_id: str) -> None:
    """An id that would lead to the list or its parent sends no request."""
    async with serving(answering(job_answer())) as served, exec_client(served) as client:
        assert (await client.get_job(job_id)).result == JobNotFound()
        assert served.connections == 0


async def test_start_and_duration_come_from_the_injected_clocks() -> None:
    """A poll says when it started and how long it took, by the injected clocks."""
    seconds = iter((5.0, 5.25))
    async with serving(answering(job_answer())) as served, http_client(trust_env=False) as http:
        client = ExecClient(
            "default", KEY, served.url(), timeout=1_000, clock=lambda: NOW, http=http, monotonic=lambda: next(seconds)
        )
        poll = await client.get_job("j1o2b3i4d5x6")
        assert (poll.started_at, poll.duration_ms) == (NOW, 250)


async def test_cookies_and_proxy_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cookies are not stored, and proxies of the environment are not used."""
    told = answer(json.dumps(JOB).encode(), "200 OK", "Set-Cookie: a=b")
    async with serving(answering(answer())) as proxy, serving(answering(told)) as served:
        monkeypatch.setenv("HTTP_PROXY", proxy.url())
        monkeypatch.setenv("ALL_PROXY", proxy.url())
        async with exec_client(served) as client:
            for _ in range(2):
                assert isinstance((await client.get_job("j1o2b3i4d5x6")).result, JobFound)
        assert [request.headers.get("cookie") for request in served.requests] == [None, None]
        assert proxy.connections == 0


@pytest.mark.parametrize("key", ["", " ", "exec_live_a\nb", "exec_live_ü", "a b"])
def test_a_key_invalid_in_a_header_is_refused_at_start(key: str) -> None:
    """An invalid key is a mistake in the configuration; the error does not repeat it."""
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
def test_an_invalid_base_url_is_refused_at_start(base_url: str) -> None:
    """So is an invalid base URL."""
    with pytest.raises(ConfigError, match="base_url is not a URL") as refused:
        ExecClient("default", KEY, base_url, timeout=1, clock=lambda: 0, http=make_http(1))
    assert "s3cr3t" not in str(refused.value)


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
async def test_a_poll_ends_within_its_timeout(behave: Behaviour, kind: str) -> None:
    """Exec may hang, drip, flood or hang up: the poll is over within its timeout, and says what happened."""
    async with asyncio.timeout(30):
        poll_result = await poll_at(behave, timeout=300)
    assert isinstance(poll_result, PollFailed)
    assert poll_result.kind == kind


async def test_a_closed_port_is_a_failed_connection() -> None:
    """If nothing listens there, the poll reports it."""
    async with serving(answering(job_answer())) as served:
        pass
    async with exec_client(served) as client:
        poll = await client.get_job("a")
        assert isinstance(poll, Poll)
        assert isinstance(poll.result, PollFailed)
        assert poll.result.kind == "connection"
        assert poll.result.detail.startswith("no connection: ")


async def test_a_name_without_address_is_a_failed_connection() -> None:
    """A host that does not resolve gives a poll, not an exception."""
    async with make_http(1_000) as http:
        client = ExecClient("default", KEY, "http://nobody.invalid", timeout=1_000, clock=lambda: NOW, http=http)
        poll_result = (await client.get_job("a")).result
        assert isinstance(poll_result, PollFailed)
        assert poll_result.kind == "connection"


async def test_the_key_is_in_neither_log_nor_repr(caplog: pytest.LogCaptureFixture) -> None:
    """Not even a library that logs everything logs the key."""
    caplog.set_level(logging.DEBUG)
    for behave in (answering(job_answer()), failing("401 No", {"error": {"message": KEY}}), _after_reading(b"")):
        async with serving(behave) as served, exec_client(served) as client:
            poll = await client.get_job("j1o2b3i4d5x6")
            assert KEY not in repr(client) + repr(poll)
    assert caplog.records
    assert KEY not in caplog.text


async def test_a_key_that_exec_repeats_in_a_job_is_left_out() -> None:
    """All subscribers get the job as Exec sent it."""
    repeated = answering(job_answer(scenario={"name": f"made with {KEY}"}, more=[KEY]))
    async with serving(repeated) as served, exec_client(served) as client:
        poll_result = (await client.get_job("j1o2b3i4d5x6")).result
    assert isinstance(poll_result, JobFound)
    assert poll_result.job.raw()["scenario"] == {"name": "made with exec_…"}
    assert KEY not in repr(poll_result)
