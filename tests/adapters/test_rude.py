"""The rude server: every rudeness reaches the client as it is meant."""

import asyncio

import httpx
import pytest

from tests import rude
from tests.rude import RudeServer, Script
from tests.sandbox.standin import NO_TLS


async def post(server: RudeServer, timeout: float = 1) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, verify=NO_TLS, timeout=timeout) as http:
        return await http.post(f"{server.url}/path", content=b"hello")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (rude.CLOSE_UNANSWERED, httpx.RemoteProtocolError),
        (rude.RESET_UNANSWERED, httpx.ReadError),
        (rude.CLOSE_MID_HEAD, httpx.RemoteProtocolError),
        (rude.CLOSE_MID_BODY, httpx.RemoteProtocolError),
        (rude.RESET_MID_BODY, httpx.ReadError),
        (rude.CLOSE_MID_CHUNK, httpx.RemoteProtocolError),
        (rude.NOT_HTTP, httpx.RemoteProtocolError),
        (rude.GARBAGE_HEADERS, httpx.RemoteProtocolError),
        (rude.GARBAGE_STATUS, httpx.RemoteProtocolError),
        (rude.TWO_LENGTHS, httpx.RemoteProtocolError),
        (rude.ENDLESS_HEAD, httpx.RemoteProtocolError),
    ],
)
async def test_each_rudeness_is_an_error_of_its_kind(script: Script, error: type[Exception]) -> None:
    """What can't be read as HTTP is one kind of error, a broken connection another."""
    async with RudeServer(script) as server:
        with pytest.raises(error):
            await post(server)


@pytest.mark.parametrize("script", [rude.SILENCE, rude.DRIPPED_HEAD, rude.ENDLESS_CONTINUE])
async def test_waiting_for_an_answer_is_in_vain(script: Script) -> None:
    """Silence, a dripped head and interim answers go on and on; closing the server does not wait for them."""
    async with RudeServer(script) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await post(server)


async def test_a_retry_after_can_be_nonsense() -> None:
    """The answer is read, its header is what it is."""
    async with RudeServer(rude.BAD_RETRY_AFTER) as server:
        assert (await post(server)).status_code == 429


async def test_each_connection_gets_the_next_script() -> None:
    """In order, and the last one for ever; the requests are kept, bodies included."""
    fine = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    async with RudeServer(rude.CLOSE_UNANSWERED, (fine[:20], 5, fine[20:])) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await post(server)
        assert [(await post(server)).text for _ in range(2)] == ["ok", "ok"]
    assert len(server.requests) == 3
    assert all(request.endswith(b"\r\n\r\nhello") for request in server.requests)
