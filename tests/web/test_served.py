"""The API behind a real server: behaviour that needs a socket."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from relay.sandbox.local_server import serve
from relay.web.core.request_parsing import MAX_BODY
from relay.web.server.server import server_config
from tests.conftest import Clock
from tests.web.conftest import open_api

BODY = b'{"job_id": "j1"}'


@pytest.fixture
async def url(sqlite_url: str, clock: Clock) -> AsyncIterator[str]:
    """Where the API is served."""
    async with open_api(sqlite_url, clock) as api, serve(api.app, configure=server_config) as served:
        yield served


async def response_to(url: str, raw: bytes) -> bytes:
    """The server's whole output for these bytes."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(raw)
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    return (
        "\r\n".join([f"{line} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]).encode("latin-1")
        + body
    )


async def test_a_registration_over_a_socket(url: str) -> None:
    """Byte for byte; the response does not name the server software."""
    answer = await response_to(url, request("POST /v1/registrations", f"Content-Length: {len(BODY)}", body=BODY))
    assert answer.startswith(b"HTTP/1.1 201")
    assert b"\r\nserver:" not in answer.lower()


async def test_head_has_no_body(url: str) -> None:
    """HEAD has the length of GET's response, and no body."""
    answer = await response_to(url, request("HEAD /healthz"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"content-length: 15" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "raw",
    [
        request("POST /v1/registrations", f"Content-Length: {MAX_BODY + 1}"),
        request("POST /v1/registrations", f"Content-Length: {'9' * 18}"),
        request("POST /v1/registrations", "Transfer-Encoding: chunked", body=b"10000\r\n" + b" " * 65_536 + b"\r\n")
        + (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 4,
    ],
    ids=["declared", "absurd", "chunked"],
)
async def test_a_long_body_is_refused(url: str, raw: bytes) -> None:
    """It is refused as soon as that is known, without waiting for the rest."""
    answer = await response_to(url, raw)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"body_too_large"' in answer


@pytest.mark.parametrize(
    "path", ["/v1/jobs/%FF%FE", "/v1/jobs/%ZZ", "/v1/jobs/..%2f..%2f", "/v1/jobs/a%00", "//v1/jobs", "*"]
)
async def test_paths_that_are_no_text_get_a_4xx(url: str, path: str) -> None:
    """A path that is not text is the client's error."""
    answer = await response_to(url, request(f"GET {path}"))
    assert answer.split(b" ")[1] in (b"400", b"404")


async def test_headers_that_are_no_text_are_harmless(url: str) -> None:
    """Headers that are not text break nothing."""
    odd = "\xff\xfe"
    answer = await response_to(
        url, request("GET /v1/jobs", f"X-Request-Id: {odd}", f"Authorization: Bearer {odd}", f"Origin: {odd}")
    )
    assert answer.split(b" ")[1] == b"403"
