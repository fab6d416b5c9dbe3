"""Exec through `exec.proxy`: the proxy is called instead of Exec, and nothing else changes."""

import httpx
import pytest

from relay.model.poll_result import JobFound, PollFailed
from relay.polling.exec_client import ExecClient
from relay.polling.exec_transport import make_http
from tests.adapters.exec_polls import KEY, NOW, job_answer
from tests.loopback import Wire, answer, serving


async def test_polls_go_through_the_proxy() -> None:
    """In absolute form, with the proxy's own password; the name of Exec is not resolved here."""

    async def behave(wire: Wire) -> None:
        await wire.read()
        await wire.send(job_answer())

    async with serving(behave) as proxy:
        url = proxy.url("").rstrip("/").replace("http://", "http://user:pass@")
        async with make_http(5_000, proxy=url) as http:
            client = ExecClient(
                "default", KEY, "http://exec.invalid/rest/v1", timeout=5_000, clock=lambda: NOW, http=http
            )
            poll = await client.get_job("j1o2b3i4d5x6")
    assert isinstance(poll.result, JobFound)
    [request] = proxy.requests
    assert (request.method, request.target.startswith("http://exec.invalid/rest/v1/")) == ("GET", True)
    assert request.headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"


async def test_https_goes_through_a_tunnel() -> None:
    """The proxy sees the name of Exec, and not the key."""

    async def behave(wire: Wire) -> None:
        await wire.read()
        await wire.send(answer(b"", "403 Forbidden"))

    async with serving(behave) as proxy, make_http(5_000, proxy=proxy.url("").rstrip("/")) as http:
        with pytest.raises(httpx.ProxyError):
            await http.get("https://exec.invalid/rest/v1/", headers={"authorization": f"Bearer {KEY}"})
    [request] = proxy.requests
    assert (request.method, request.target) == ("CONNECT", "exec.invalid:443")
    assert KEY not in str(request.headers)


@pytest.mark.parametrize(
    ("exec_url", "status", "reason"),
    [
        ("http://exec.invalid/rest/v1", "407 Proxy Authentication Required", "a proxy answered 407: it wants a user"),
        ("https://exec.invalid/rest/v1", "407 Proxy Authentication Required", "no tunnel to Exec; it wants a user"),
        ("https://exec.invalid/rest/v1", "502 Bad Gateway", "the proxy answered 502 and opened no tunnel to Exec"),
    ],
)
async def test_a_proxy_that_refuses_says_why(exec_url: str, status: str, reason: str) -> None:
    """The poll fails with the proxy's status, and without the password of its URL."""

    async def behave(wire: Wire) -> None:
        await wire.read()
        await wire.send(answer(b"<html>who are you</html>", status))

    async with serving(behave) as proxy:
        url = proxy.url("").rstrip("/").replace("http://", "http://user:hunter2@")
        async with make_http(5_000, proxy=url) as http:
            client = ExecClient("default", KEY, exec_url, timeout=5_000, clock=lambda: NOW, http=http)
            poll = await client.get_job("j1o2b3i4d5x6")
    assert isinstance(poll.result, PollFailed)
    assert reason in poll.result.detail
    assert "hunter2" not in poll.result.detail
