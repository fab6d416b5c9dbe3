"""The API as `relay serve` serves it, on real sockets: the address of a client."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from ipaddress import ip_network

import httpx
import pytest

from relay.errors import RelayError
from relay.process import bind_socket
from relay.sandbox.local_server import serve
from relay.security.login_throttle import BURST
from relay.web.server.server import server_config
from tests.conftest import Clock
from tests.loopback import http_client
from tests.web.conftest import open_api
from tests.web.test_rate_limits import KEY, KEYS, bearer

Served = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def served(sqlite_url: str, clock: Clock) -> Served:
    """A client of the API, served with these trusted proxies."""

    @asynccontextmanager
    async def start(proxies: Sequence[str], host: str = "127.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
        configure = partial(server_config, trusted_proxies=[ip_network(one) for one in proxies])
        async with (
            open_api(sqlite_url, clock, security=KEYS) as api,
            serve(api.app, host, configure=configure) as url,
            http_client(base_url=url.replace("[::]", "127.0.0.1"), trust_env=False) as http,
        ):
            yield http

    return start


async def guess_as(http: httpx.AsyncClient, address: str | None, number: int) -> int:
    forwarded = {"X-Forwarded-For": address} if address else {}
    answer = await http.get("/v1/jobs", headers=bearer(f"relay_wrong{number}") | forwarded)
    return answer.status_code


@pytest.mark.parametrize("proxies", [[], ["10.0.0.0/8"]], ids=["none is trusted", "another is trusted"])
async def test_a_client_cannot_choose_its_address(served: Served, proxies: list[str]) -> None:
    """A client that claims another address is throttled all the same."""
    async with served(proxies) as http:
        statuses = [await guess_as(http, f"203.0.113.{number}", number) for number in range(BURST + 3)]
        assert statuses == [401] * BURST + [429] * 3


async def test_clients_of_a_trusted_proxy_count_separately(served: Served) -> None:
    """Wrong keys of one do not throttle another."""
    async with served(["127.0.0.1/32"]) as http:
        statuses = [await guess_as(http, "203.0.113.1", number) for number in range(BURST + 1)]
        assert statuses == [401] * BURST + [429]
        assert await guess_as(http, "203.0.113.2", 0) == 401
        right = await http.get("/v1/jobs", headers=bearer(KEY) | {"X-Forwarded-For": "203.0.113.3"})
        assert right.status_code == 200


async def test_a_clients_own_forwarding_header_is_ignored(served: Served) -> None:
    """The proxy appends the address that it saw; everything before comes from the client."""
    async with served(["127.0.0.1/32"]) as http:
        statuses = [await guess_as(http, f"198.51.100.{number}, 203.0.113.1", number) for number in range(BURST + 2)]
        assert statuses == [401] * BURST + [429] * 2


async def test_a_trusted_proxy_on_a_dual_stack_socket(served: Served) -> None:
    """There 127.0.0.1 is ::ffff:127.0.0.1, and the same proxy."""
    try:
        bind_socket("::", 0, "").close()
    except RelayError:
        pytest.skip("this machine has no IPv6")
    async with served(["127.0.0.1/32"], host="::") as http:
        statuses = [await guess_as(http, f"203.0.113.{number}", number) for number in range(BURST + 3)]
        assert statuses == [401] * (BURST + 3)


async def test_only_a_trusted_proxy_sets_https(served: Served) -> None:
    """The cookie of the dashboard is Secure where the proxy says that the browser came by HTTPS."""
    for proxies, secure in (([], False), (["127.0.0.0/8"], True)):
        async with served(proxies) as http:
            headers = {"X-Forwarded-Proto": "https"}
            answer = await http.post("/login", data={"api_key": KEY}, headers=headers)
            assert ("secure" in answer.headers["set-cookie"].lower()) is secure


async def test_environment_variables_of_uvicorn_are_ignored(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `server.trusted_proxies` counts."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    async with served([]) as http:
        statuses = [await guess_as(http, f"203.0.113.{number}", number) for number in range(BURST + 1)]
        assert statuses[-1] == 429
