"""Who may use the API."""

import asyncio
from typing import Any

import pytest

from relay.sandbox.local_server import serve
from relay.security.api_keys import LocalToken, hash_api_key
from relay.store.tables import api_keys
from relay.store.tables.api_keys import StoredApiKey
from relay.web.app import OPERATIONS
from relay.web.server.server import server_config
from tests.conftest import Clock
from tests.web.conftest import Api, assert_refused, open_api, shared

KEY = {scope: f"relay_{scope}_0123456789abcdef" for scope in ("register", "subscribe", "read", "admin")}
ALL = "relay_all_0123456789abcdef"
KEYS = [{"name": scope, "key": key, "scopes": [scope]} for scope, key in KEY.items()] + [{"name": "all", "key": ALL}]
PATHS = [
    (one.method, one.path.replace("{id}", "x").replace("{job_id}", "x").replace("{workspace}", "default"), one.scope)
    for one in OPERATIONS
]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_every_call_requires_its_scope(sqlite_url: str, clock: Clock) -> None:
    """Without a key 401, with one that lacks the scope 403, with the right one neither; some calls need none."""
    async with open_api(sqlite_url, clock, security={"api_keys": KEYS}) as api:
        for method, path, scope in PATHS:
            without = await api.http.request(method, path)
            if scope is None:
                assert without.status_code in (200, 404, 503), path
                continue
            assert_refused(without, 401, "invalid_api_key")
            assert without.headers["www-authenticate"] == 'Bearer realm="relay"'
            assert without.json()["error"]["type"] == "authentication_error"
            for other in KEY:
                answer = await api.http.request(method, path, headers=bearer(KEY[other]))
                if other == scope or (scope, other) == ("subscribe", "admin"):
                    assert answer.status_code not in (401, 403), (path, other)
                else:
                    assert scope in assert_refused(answer, 403, "insufficient_scope")
                    assert answer.json()["error"]["type"] == "authorization_error"
            answer = await api.http.request(method, path, headers=bearer(ALL))
            assert answer.status_code not in (401, 403), path


def test_only_these_calls_need_no_key() -> None:
    """Only the listed calls are open to everybody."""
    open_calls = {path for _, path, scope in PATHS if scope is None}
    assert open_calls == {"/", "/healthz", "/readyz", "/openapi.json", "/v1/exec/callbacks/{token}"} | {
        "/v1/endpoints/x/public-keys"
    }


WRONG = [
    "",
    "Bearer",
    "Bearer ",
    "Bearer wrong",
    f"Bearer {ALL}x",
    f"Bearer {ALL[:-1]}",
    f"Bearer {ALL.upper()}",
    f"Bearer {ALL} {ALL}",
    f"Basic {ALL}",
    ALL,
    "Bearer \xff\xfe",
]


async def test_invalid_keys_get_401(sqlite_url: str, clock: Clock) -> None:
    """For any text instead of a key, which is not repeated."""
    async with open_api(sqlite_url, clock, security={"api_keys": KEYS}) as api:
        for said in WRONG:
            answer = await api.http.get("/v1/jobs", headers={b"Authorization": said.encode("latin-1")})
            assert_refused(answer, 401, "invalid_api_key")
            assert "wrong" not in answer.text
            assert ALL not in answer.text


async def test_the_scheme_is_any_case(sqlite_url: str, clock: Clock) -> None:
    """HTTP's schemes are case-insensitive."""
    async with open_api(sqlite_url, clock, security={"api_keys": KEYS}) as api:
        for scheme in ("Bearer", "bearer", "BEARER"):
            answer = await api.http.get("/v1/jobs", headers={"Authorization": f"{scheme} {ALL}"})
            assert answer.status_code == 200


async def test_authentication_comes_before_the_body(sqlite_url: str, clock: Clock) -> None:
    """Without a key nobody learns what is wrong with a request, and nothing is stored."""
    async with open_api(sqlite_url, clock, security={"api_keys": KEYS}) as api:
        answer = await api.http.post("/v1/registrations?x=1", content=b"{")
        assert_refused(answer, 401, "invalid_api_key")


# --- without keys ----------------------------------------------------------------------------------------------


@shared
@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080"])
async def test_an_open_relay_answers_its_own_machine(shared_api: Api, host: str) -> None:
    """Without keys, it answers to the names of loopback."""
    assert (await shared_api.http.get("/v1/jobs", headers={"Host": host})).status_code == 200


HOSTS_OF_OTHERS = """
evil.example evil.example:8080 192.168.1.5 10.0.0.1 169.254.169.254 localhost.evil.example 127.0.0.1.evil.example
localhost:8080.evil.example [::1].evil.example [::1]evil.example [::1 [ 0 0.0.0.0 127.0.0.1%00.evil.example
127.0.0.1:99999 evil.example@localhost evil.example:80@localhost localhost,evil.example localhost#.evil.example
localhost/.evil.example localhost?.evil.example localhost\\.evil.example
""".split()


@shared
@pytest.mark.parametrize("host", [*HOSTS_OF_OTHERS, "a b", "localhost evil.example", ""])
async def test_a_rebound_name_is_refused(shared_api: Api, host: str) -> None:
    """Without keys, a page whose host's name was pointed at this machine gets nothing (DNS rebinding)."""
    before = await shared_api.stored()
    answer = await shared_api.http.post("/v1/registrations", json={"job_id": "j1"}, headers={"Host": host})
    assert "relay keys create" in assert_refused(answer, 403, "foreign_host")
    assert await shared_api.stored() == before


@shared
@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:9999", "null", "", "http://["])
async def test_a_page_of_another_site_is_refused(shared_api: Api, origin: str) -> None:
    """Without keys, a page of another site that the operator visits can't call the relay."""
    before = await shared_api.stored()
    answer = await shared_api.http.post("/v1/registrations", content=b'{"job_id": "j1"}', headers={"Origin": origin})
    assert_refused(answer, 403, "foreign_origin")
    assert await shared_api.stored() == before


@shared
async def test_the_relays_own_page_is_accepted(shared_api: Api) -> None:
    """The relay's own pages may call it."""
    answer = await shared_api.http.get("/v1/jobs", headers={"Origin": "http://127.0.0.1:8080"})
    assert answer.status_code == 200


async def test_a_public_url_without_keys_allows_callbacks_only(sqlite_url: str, clock: Clock) -> None:
    """A proxy on this machine sends `server.public_url` as Host: without keys only Exec's callbacks get through."""
    server: dict[str, Any] = {"public_url": "https://relay.example.com"}
    async with open_api(sqlite_url, clock, server=server) as api:
        path = (await api.get("/v1/workspaces/default/callback"))["path"]
        through_proxy = {"Host": "relay.example.com"}
        for asked in ("/v1/jobs", "/v1/workspaces/default/callback", "/metrics"):
            assert_refused(await api.http.get(asked, headers=through_proxy), 403, "foreign_host")
        page = await api.http.get("/", headers=through_proxy | {"Accept": "text/html"})
        assert page.status_code == 403
        heard = await api.http.post(path, json={"id": "j1"}, headers=through_proxy)
        assert heard.status_code == 202


@shared
@pytest.mark.parametrize(
    "header",
    [
        *("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Server"),
        *("X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "CF-Ray", "Fly-Client-IP", "CDN-Loop"),
        *("X-Envoy-External-Address", "X-Amzn-Trace-Id", "Tailscale-User-Login"),
    ],
)
async def test_requests_through_a_proxy_are_refused(shared_api: Api, header: str) -> None:
    """Without keys, a proxy that uses a loopback name is recognised by the headers that it adds."""
    answer = await shared_api.http.get("/v1/jobs", headers={header: "127.0.0.1"})
    assert "proxy" in assert_refused(answer, 403, "forwarded")


async def test_with_keys_any_host_is_accepted(sqlite_url: str, clock: Clock) -> None:
    """Who has a key may come by any name, through any proxy, from any page."""
    async with open_api(sqlite_url, clock, security={"api_keys": KEYS}) as api:
        odd = {"Host": "any.example", "Origin": "https://x", "X-Forwarded-For": "192.0.2.1"}
        assert (await api.http.get("/v1/jobs", headers=odd | bearer(ALL))).status_code == 200


@shared
@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
async def test_cross_site_requests_are_refused(shared_api: Api, site: str, status: int) -> None:
    """Without keys, a GET of another site's page gets nothing either, though browsers send no Origin with it."""
    answer = await shared_api.http.get("/v1/jobs", headers={"Sec-Fetch-Site": site})
    assert answer.status_code == status


async def test_http_1_0_is_refused_without_keys(api: Api) -> None:
    """nginx hands a request on as HTTP/1.0 with a Host of loopback, and adds nothing, unless it is configured."""
    async with serve(api.app, configure=server_config) as url:
        port = int(url.rpartition(":")[2])
        for version, status in (("1.0", b"403"), ("1.1", b"200")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            request = f"GET /v1/jobs HTTP/{version}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
            writer.write(request.encode())
            assert (await reader.read()).split(b" ")[1] == status
            writer.close()


async def test_without_keys_each_call_needs_the_local_token(sqlite_url: str, clock: Clock) -> None:
    """One by one and many at once; wrong ones are throttled as wrong keys are. The first API key takes its place."""
    token = "relay_" + "t" * 43
    async with open_api(sqlite_url, clock) as api:
        api.relay.local_token = LocalToken(hash_api_key(token))
        for method, path, scope in PATHS:
            if scope is not None:
                assert_refused(await api.http.request(method, path), 401, "invalid_api_key")
                answer = await api.http.request(method, path, headers=bearer(token))
                assert answer.status_code not in (401, 403), path
        wrong = [api.http.get("/v1/jobs", headers=bearer(f"relay_wrong{n}")) for n in range(50)]
        refused = [answer.status_code for answer in await asyncio.gather(*wrong)]
        assert (refused.count(401), refused.count(429)) == (10, 40)
        assert (await api.http.get("/v1/jobs", headers=bearer(token))).status_code == 200
        page = await api.http.get("/endpoints", headers={"accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=/endpoints")
        made = "relay_" + "m" * 43
        stored = StoredApiKey(id="key_1", name="ops", hash=hash_api_key(made), scopes=("read",), created_at=clock())
        await api.relay.store.write(lambda tx: api_keys.add(tx, stored))
        clock.advance(20_000)  # two attempts of this address: the token, now wrong, and a key that a person chose
        assert_refused(await api.http.get("/v1/jobs", headers=bearer(token)), 401, "invalid_api_key")
        assert (await api.http.get("/v1/jobs", headers=bearer(made))).status_code == 200
        assert (await api.http.get(f"/login?token={token}")).status_code == 200, "the form"
