"""The HTTP client on real sockets: requests, responses, and misbehaving receivers."""

import asyncio
import gzip
import itertools
import logging
import random
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from relay.egress import EgressRules, HttpResponse, RequestFailed
from relay.egress.http_client import MAX_BODY_READ, WebhookHttpClient
from tests.loopback import Behaviour, Wire, answer, answering, serving

LOOPBACK = EgressRules(allow_http=True, allow_networks=(ip_network("127.0.0.0/8"),))
SECRET = "/T0P/s3cr3t?token=s3cr3t"
BODY = b'{"type":"job.completed"}'
HEADERS = {"content-type": "application/json", "webhook-id": "evt_1"}


@pytest.fixture
async def egress() -> AsyncIterator[WebhookHttpClient]:
    """Sends to loopback over plain HTTP."""
    egress = WebhookHttpClient(LOOPBACK)
    yield egress
    await egress.aclose()


async def _sent(egress: WebhookHttpClient, url: str, timeout: int = 5_000) -> HttpResponse | RequestFailed:
    outcome, _ = await egress.post(url, HEADERS, BODY, timeout)
    return outcome


async def test_a_post_arrives_as_given(egress: WebhookHttpClient) -> None:
    """Method, path, query, headers and body reach the receiver byte for byte; identity encoding is asked for."""
    path = "/a%2Fb/%7E/../x?sig=%2Bq%3D&to=%2Ftr&k[]=1&t=a+b%20c"
    async with serving(answering(answer())) as served:
        assert await _sent(egress, served.url(path)) == HttpResponse(200, {"content-length": "2"}, b"ok")
        (request,) = served.requests
        assert (request.method, request.target, request.body) == ("POST", path, BODY)
        assert request.headers == {
            **HEADERS,
            "host": f"127.0.0.1:{served.port}",
            "user-agent": "exec-relay/0.1.0",
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-length": str(len(BODY)),
        }


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_large_body_arrives_complete(egress: WebhookHttpClient) -> None:
    """The receiver reads it bit by bit."""
    body = random.Random(1).randbytes(8_000_000)
    async with serving(answering(answer())) as served:
        outcome, _ = await egress.post(served.url(), HEADERS, body, 20_000)
        assert outcome == HttpResponse(200, {"content-length": "2"}, b"ok")
        assert served.requests[0].body == body


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_receiver_that_does_not_read_ends_with_the_timeout(egress: WebhookHttpClient) -> None:
    """The next POST is not affected."""
    over = asyncio.Event()

    async def unreading(_: Wire) -> None:
        await over.wait()

    async with serving(unreading) as served:
        outcome, _ = await egress.post(served.url(), HEADERS, bytes(8_000_000), 200)
        assert isinstance(outcome, RequestFailed)
        assert outcome.kind == "timeout"
        over.set()
    async with serving(answering(answer())) as served:
        assert await _sent(egress, served.url()) == HttpResponse(200, {"content-length": "2"}, b"ok")


@pytest.mark.parametrize("status", [200, 201, 204, 299, 301, 307, 400, 404, 410, 429, 500, 503, 599, 799])
async def test_every_status_is_a_response(egress: WebhookHttpClient, status: int) -> None:
    """The client returns status, headers (names in lower case) and body, whatever the status means."""
    reply = answer(b"" if status == 204 else b"why", f"{status} Some Reason", "Retry-After: 7", "Location: /elsewhere")
    async with serving(answering(reply)) as served:
        outcome = await _sent(egress, served.url())
        assert isinstance(outcome, HttpResponse)
        assert outcome.status == status
        assert outcome.headers["retry-after"] == "7"
        assert outcome.body == (b"" if status == 204 else b"why")
        assert len(served.requests) == 1


async def test_a_reason_phrase_in_any_charset_is_accepted(egress: WebhookHttpClient) -> None:
    """The reason phrase and its charset do not matter."""
    async with serving(answering(b"HTTP/1.1 200 Succ\xe8s\r\nX-A: \xe8\r\nContent-Length: 0\r\n\r\n")) as served:
        assert await _sent(egress, served.url()) == HttpResponse(200, {"x-a": "è", "content-length": "0"}, b"")


async def test_long_headers_are_accepted(egress: WebhookHttpClient) -> None:
    """A header of 20 KB, as content security policies can be."""
    async with serving(answering(answer(b"ok", "200 OK", "X-A: " + "a" * 20_000))) as served:
        outcome = await _sent(egress, served.url())
        assert isinstance(outcome, HttpResponse)
        assert len(outcome.headers["x-a"]) == 20_000


async def test_no_cookie_is_kept(egress: WebhookHttpClient) -> None:
    """A cookie that a receiver sets is never sent back to it."""
    async with serving(answering(answer(b"ok", "200 OK", "Set-Cookie: who=you; Path=/"))) as served:
        for _ in range(2):
            await _sent(egress, served.url(host="localhost"))
        assert [request.headers.get("cookie") for request in served.requests] == [None, None]


async def test_connections_are_reused(egress: WebhookHttpClient) -> None:
    """Two POSTs to one receiver need one connection."""
    async with serving(answering(answer())) as served:
        for _ in range(2):
            await _sent(egress, served.url())
        assert (len(served.requests), served.connections) == (2, 1)


async def test_a_post_on_a_closing_connection_is_not_repeated(egress: WebhookHttpClient) -> None:
    """A receiver that closes at the second request of a connection gets it once; the schedule retries."""

    async def one_answer_only(wire: Wire) -> None:
        await wire.read()
        await wire.send(answer())
        await wire.read()

    async with serving(one_answer_only) as served:
        assert isinstance(await _sent(egress, served.url()), HttpResponse)
        outcome = await _sent(egress, served.url())
        assert outcome == RequestFailed("connection", "the connection was closed before an answer came")
        assert (len(served.requests), served.connections) == (2, 1)
        assert isinstance(await _sent(egress, served.url()), HttpResponse)


async def test_the_environment_is_ignored(
    egress: WebhookHttpClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Proxies and .netrc of the environment are not used."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password s3cr3t")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with serving(answering(answer())) as proxy, serving(answering(answer())) as served:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        assert isinstance(await _sent(egress, served.url()), HttpResponse)
        assert proxy.connections == 0
        assert "authorization" not in served.requests[0].headers


async def test_no_more_connections_than_configured() -> None:
    """With a concurrency of 2, eight POSTs at once never hold more than two connections."""

    async def patient(wire: Wire) -> None:
        while await wire.read():
            await asyncio.sleep(0.01)
            await wire.send(answer())

    egress = WebhookHttpClient(LOOPBACK, concurrency=2)
    async with serving(patient) as served:
        outcomes = await asyncio.gather(*(_sent(egress, served.url()) for _ in range(8)))
        assert all(isinstance(outcome, HttpResponse) for outcome in outcomes)
        assert served.most_open == 2
    await egress.aclose()


async def test_the_duration_is_measured_by_the_injected_clock() -> None:
    """The milliseconds of an attempt are measured with the injected clock."""
    ticks = itertools.count(100.0, 1.25)
    egress = WebhookHttpClient(LOOPBACK, clock=lambda: next(ticks))
    async with serving(answering(answer())) as served:
        _, duration = await egress.post(served.url(), HEADERS, BODY, 5_000)
        assert duration == 1_250
    await egress.aclose()


# --- rude receivers --------------------------------------------------------------------------------------------


def _after_reading(*parts: bytes, then: str = "close") -> Behaviour:
    """Reads the request, sends the parts, then closes or hangs."""

    async def behave(wire: Wire) -> None:
        await wire.read()
        for part in parts:
            await wire.send(part)
        if then == "hang":
            await wire.hang()

    return behave


def _over_and_over(first: bytes, again: bytes, pause: float = 0.0) -> Behaviour:
    """Reads the request, sends `first`, then `again` without end."""

    async def behave(wire: Wire) -> None:
        await wire.read()
        await wire.send(first)
        while True:
            await wire.send(again)
            await asyncio.sleep(pause)

    return behave


async def _hang(wire: Wire) -> None:
    await wire.hang()


async def _unreading(wire: Wire) -> None:
    """Never reads, so that a long upload stalls."""
    await asyncio.Event().wait()


async def _slam(wire: Wire) -> None:
    """Closes without reading."""


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"

RUDE: list[tuple[str, Behaviour, str]] = [
    ("hangs without answering", _hang, "timeout"),
    ("hangs after half a status line", _after_reading(b"HTTP/1.1 2", then="hang"), "timeout"),
    ("hangs in the headers", _after_reading(HEAD + b"X-A: 1\r\n", then="hang"), "timeout"),
    ("drips headers", _over_and_over(HEAD, b"X", 0.01), "timeout"),
    ("continues for ever", _over_and_over(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001), "protocol"),
    ("hints for ever", _over_and_over(b"", HINT, 0.001), "protocol"),
    ("hints for ever at full speed", _over_and_over(b"", HINT * 1_000), "protocol"),
    (
        "hints with large heads",
        _over_and_over(b"", b"HTTP/1.1 103 Hi\r\n" + (b"a: " + b"a" * 9_000 + b"\r\n") * 9),
        "protocol",
    ),
    ("slams the door", _slam, "connection"),
    ("closes without answering", _after_reading(), "connection"),
    ("closes in the status line", _after_reading(b"HTTP/1.1 2"), "connection"),
    ("closes in the headers", _after_reading(HEAD + b"X-A: 1\r\n"), "connection"),
    ("speaks another protocol", _after_reading(b"220 smtp.example.com ESMTP\r\n"), "protocol"),
    ("speaks binary", _after_reading(bytes(range(256)) * 4), "protocol"),
    ("sends no number as its status", _after_reading(b"HTTP/1.1 OK\r\n\r\n"), "protocol"),
    ("sends one header without end", _over_and_over(HEAD + b"X-A: ", b"a" * 65_536), "protocol"),
    ("sends headers without end", _over_and_over(HEAD, b"X-A: aaaaaaaaaaaaaaaaaaaaaaa\r\n" * 500), "protocol"),
]


ACCEPTED: list[tuple[str, Behaviour]] = [
    ("hangs before the body", _after_reading(HEAD + b"Content-Length: 5\r\n\r\n", then="hang")),
    ("hangs in the body", _after_reading(HEAD + b"Content-Length: 5\r\n\r\nab", then="hang")),
    ("hangs with no length", _after_reading(HEAD + b"\r\nab", then="hang")),
    ("drips a body", _over_and_over(HEAD + b"Content-Length: 99999\r\n\r\n", b"x", 0.01)),
    ("closes in the body", _after_reading(HEAD + b"Content-Length: 5\r\n\r\nab")),
    ("closes in a chunk", _after_reading(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab")),
    ("sends a header without a name", _after_reading(HEAD + b": x\r\n\r\n")),
    ("sends a control character in a header", _after_reading(HEAD + b"X-A: a\x00b\r\n\r\n")),
    ("sends two lengths", _after_reading(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")),
    ("sends a length that is none", _after_reading(HEAD + b"Content-Length: -1\r\n\r\n")),
    ("sends a chunk of no size", _after_reading(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n")),
    ("hangs between chunks", _after_reading(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", then="hang")),
    ("sends chunks of one byte for ever", _over_and_over(CHUNKED, b"1\r\nx\r\n", 0.0001)),
    ("sends chunk extensions for ever", _over_and_over(CHUNKED, b"1;a=" + b"a" * 8_000 + b"\r\nx\r\n")),
    ("sends trailers for ever", _over_and_over(CHUNKED + b"0\r\n", b"x-a: 1\r\n" * 500)),
    ("hints, then spoils the body", _after_reading(HINT + HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")),
]
"""A complete 2xx head, after which everything goes wrong."""


@pytest.mark.parametrize("behave", [row[1] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
async def test_a_complete_2xx_head_is_a_response_with_any_body(egress: WebhookHttpClient, behave: Behaviour) -> None:
    """The receiver has accepted the request: the response has its status, and says what is wrong with its body."""
    async with serving(behave) as served:
        async with asyncio.timeout(30):
            outcome = await _sent(egress, served.url(SECRET), timeout=300)
        assert isinstance(outcome, HttpResponse)
        assert (outcome.status, len(served.requests)) == (200, 1)
        assert outcome.body_error
        assert "s3cr3t" not in outcome.body_error
        assert served.sent < 4_000_000


@pytest.mark.parametrize("status", ["302 Found", "404 Not Found", "500 Oops"])
async def test_only_a_2xx_counts_before_its_body_is_complete(egress: WebhookHttpClient, status: str) -> None:
    """Any other status with an incomplete body is a failure."""
    cut = f"HTTP/1.1 {status}\r\nContent-Length: 500\r\n\r\nab".encode()
    async with serving(_after_reading(cut)) as served:
        assert isinstance(await _sent(egress, served.url()), RequestFailed)


async def test_bytes_of_interim_responses_are_limited(egress: WebhookHttpClient) -> None:
    """Interim responses at full speed cost the relay some hundred KiB, not all that arrives within the timeout."""
    async with serving(_over_and_over(b"", HINT * 1_000)) as served:
        outcome = await _sent(egress, served.url(), timeout=5_000)
        assert isinstance(outcome, RequestFailed)
        await _until(lambda: served.open == 0)
        assert served.sent < 8_000_000  # most of it waits in the system's socket buffers


async def test_large_interim_responses_are_a_failure(egress: WebhookHttpClient) -> None:
    """A few interim responses are allowed, but their headers count: 450 KiB of them are too many."""
    large = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 30 * 1_024 + b"\r\n\r\n"
    async with serving(answering(large * 15 + answer())) as served:
        assert isinstance(await _sent(egress, served.url()), RequestFailed)


async def test_some_interim_responses_are_allowed(egress: WebhookHttpClient) -> None:
    """A proxy's hints before the response are accepted, on a reused connection too."""
    async with serving(answering(HINT * 5 + answer())) as served:
        for _ in range(3):
            assert await _sent(egress, served.url()) == HttpResponse(200, {"content-length": "2"}, b"ok")
        assert served.connections == 1


@pytest.mark.parametrize(("behave", "kind"), [row[1:] for row in RUDE], ids=[row[0] for row in RUDE])
async def test_a_misbehaving_receiver_is_a_failure_of_a_known_kind(
    egress: WebhookHttpClient, behave: Behaviour, kind: str
) -> None:
    """The attempt ends in time, and its error contains no secret."""
    async with serving(behave) as served:
        async with asyncio.timeout(30):
            outcome = await _sent(egress, served.url(SECRET), timeout=300)
        assert isinstance(outcome, RequestFailed)
        assert outcome.kind == kind
        assert "s3cr3t" not in outcome.detail
        assert served.sent < 4_000_000


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_an_upload_that_nobody_reads_ends_in_time(egress: WebhookHttpClient) -> None:
    """A receiver that stops reading can't hold the attempt longer than its timeout."""
    async with serving(_unreading) as served:
        outcome, duration = await egress.post(served.url(), HEADERS, b"x" * 20_000_000, 300)
        assert outcome == RequestFailed("timeout", "no complete answer within 0.3 s")
        assert 300 <= duration < 2_000


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000000\r\n\r\n", b"\r\n"], ids=["with a length", "without"])
async def test_an_endless_body_is_cut_off(egress: WebhookHttpClient, framing: bytes) -> None:
    """16 KiB are stored and little more is read; then the connection is closed."""
    async with serving(_over_and_over(HEAD + framing, b"x" * 65_536)) as served:
        outcome = await _sent(egress, served.url(), timeout=2_000)
        assert outcome == HttpResponse(
            200, outcome.headers if isinstance(outcome, HttpResponse) else {}, b"x" * MAX_BODY_READ
        )
        await _until(lambda: served.open == 0)
        assert served.sent < 8_000_000


async def test_nothing_is_decompressed(egress: WebhookHttpClient) -> None:
    """A compressed body, though not asked for, stays compressed: 1 GB in 1 MB has no effect."""
    bomb = gzip.compress(bytes(5_000_000))
    reply = answer(bomb, "200 OK", "Content-Encoding: gzip")
    async with serving(answering(reply)) as served:
        outcome = await _sent(egress, served.url())
        assert isinstance(outcome, HttpResponse)
        assert outcome.body == bomb[:MAX_BODY_READ]


async def test_a_cancelled_attempt_frees_its_connection(egress: WebhookHttpClient) -> None:
    """For other attempts."""
    async with serving(_hang) as hanging, serving(answering(answer())) as served:
        under_way = [asyncio.create_task(_sent(egress, hanging.url())) for _ in range(64)]
        await _until(lambda: hanging.open == 64)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        assert isinstance(await _sent(egress, served.url()), HttpResponse)
        await _until(lambda: hanging.open == 0)


async def test_a_closed_port_is_a_failed_connection(egress: WebhookHttpClient) -> None:
    """The error says that nothing listens there."""
    async with serving(_hang) as served:
        pass
    assert await _sent(egress, served.url(SECRET)) == RequestFailed("connection", "no connection: Connection refused")


async def test_no_url_is_logged(egress: WebhookHttpClient, caplog: pytest.LogCaptureFixture) -> None:
    """No library logs the path or query of a URL, even at level debug."""
    caplog.set_level(logging.DEBUG)
    async with serving(answering(answer())) as served, serving(_slam) as rude:
        await _sent(egress, served.url(SECRET))
        await _sent(egress, rude.url(SECRET))
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        *({"x-a": f"s3cr3t{value}"} for value in ("\r\nhost: evil", "\n", "\r", "\x00", "\x7f", "ü", "\ud800")),
        *({name: "s3cr3t"} for name in ("", " ", "x a", "x:a", "x-a\r\nb", "ü", "host", "Transfer-Encoding")),
        *({name: "s3cr3t"} for name in ("Content-Length", "CONNECTION", "expect", "te", "Trailer", "upgrade")),
    ],
)
async def test_headers_with_line_breaks_are_not_sent(egress: WebhookHttpClient, headers: dict[str, str]) -> None:
    """Line breaks in a header, and headers of the connection itself, end the attempt before anything is dialled."""
    async with serving(answering(answer())) as served:
        outcome, _ = await egress.post(served.url(), headers, BODY, 5_000)
        assert isinstance(outcome, RequestFailed)
        assert outcome.kind == "blocked"
        assert "s3cr3t" not in outcome.detail
        assert served.connections == 0


async def test_the_callers_headers_are_sent(egress: WebhookHttpClient) -> None:
    """Any other header arrives as given; only accept-encoding is always identity."""
    headers = {
        "Authorization": "Bearer abc",
        "x-empty": "",
        "X-Tab": "a\tb c",
        "accept-encoding": "br",
        "user-agent": "me",
    }
    async with serving(answering(answer())) as served:
        outcome, _ = await egress.post(served.url(), headers, BODY, 5_000)
        assert isinstance(outcome, HttpResponse)
        expected = {name.lower(): value for name, value in headers.items()} | {"accept-encoding": "identity"}
        assert expected.items() <= served.requests[0].headers.items()


async def _until(met: Callable[[], bool], within: float = 30) -> None:
    """Waits for a condition, and fails where it is not met in time."""
    async with asyncio.timeout(within):
        while not met():
            await asyncio.sleep(0.005)
