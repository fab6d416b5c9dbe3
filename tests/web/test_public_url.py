"""The relay below a path and behind proxies: request targets, links, and origins of its pages."""

import json
from typing import Any

import pytest

from relay.errors import ConfigError
from relay.web.core.public_url import Origin, base_path_of, parse_origin
from tests.conftest import Clock
from tests.web.conftest import Api, open_api, shared

KEY = "relay_key_0123456789abcdef"
KEYS: dict[str, Any] = {"api_keys": [{"name": "all", "key": KEY}]}
BEARER = {"Authorization": f"Bearer {KEY}"}
FORM = {"api_key": KEY, "csrf": "", "next": "/jobs"}


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://relay.example.com", Origin("https", "relay.example.com", 443)),
        ("HTTPS://Relay.Example.com:443", Origin("https", "relay.example.com", 443)),
        ("https://relay.example.com/below?x", Origin("https", "relay.example.com", 443)),
        ("http://relay.example.com", Origin("http", "relay.example.com", 80)),
        ("https://B\u00fcro.example", Origin("https", "xn--bro-hoa.example", 443)),
        ("https://xn--bro-hoa.example", Origin("https", "xn--bro-hoa.example", 443)),
        ("http://[::1]:8080", Origin("http", "::1", 8080)),
        ("null", None),
        ("", None),
        ("http://[", None),
        ("http://a:b", None),
        ("http://a:99999", None),
        ("gopher://a", None),
        ("https://", None),
    ],
)
def test_origins_are_parsed(text: str, origin: Origin | None) -> None:
    """Case and default ports do not matter; text without an origin is None, never an error."""
    assert parse_origin(text) == origin


@pytest.mark.parametrize("path", ["/jobs", "/v1/relay", "/static", "/healthz/"])
async def test_a_base_path_that_is_a_path_of_the_relay_is_refused(sqlite_url: str, clock: Clock, path: str) -> None:
    """Nobody could tell the page /jobs/x from the page /x below /jobs."""
    server = {"public_url": f"https://tools.example.com{path}"}
    with pytest.raises(ConfigError, match=r"server\.public_url: its path begins with /"):
        async with open_api(sqlite_url, clock, server=server, security=KEYS):
            pass


def test_the_base_path() -> None:
    """It is the path of server.public_url, without a slash at its end."""
    urls = ["https://a/relay/", "https://a/x/relay", "https://a/", "https://a"]
    assert [base_path_of(url) for url in [*urls, None]] == ["/relay", "/x/relay", "", "", ""]


async def test_both_kinds_of_proxy_reach_the_api_below_a_path(sqlite_url: str, clock: Clock) -> None:
    """A proxy may take the path off or leave it on; links of the answer have it."""
    server = {"public_url": "https://tools.example.com/relay"}
    async with open_api(sqlite_url, clock, server=server, security=KEYS) as api:
        for number, base in enumerate(("", "/relay")):
            body = {"job_id": f"j{number}"}
            made = await api.http.post(f"{base}/v1/registrations", json=body, headers=BEARER)
            assert made.status_code == 201
            location = made.headers["location"]
            assert location == f"/relay/v1/registrations/{made.json()['id']}"
            for path in (location, location.removeprefix("/relay")):
                assert (await api.http.get(path, headers=BEARER)).status_code == 200
            about = (await api.http.get(f"{base}/")).json()
            assert set(about["links"].values()) == {
                f"/relay/{name}" for name in ("openapi.json", "healthz", "readyz", "metrics")
            }
            assert (await api.http.get(f"{base}/openapi.json")).json()["servers"] == [{"url": "/relay"}]
        assert (await api.http.get("/relay", headers={"Accept": "application/json"})).status_code == 200
        assert (await api.http.get("/relayed/healthz")).status_code == 404
        assert (await api.http.get("/relay/relay/healthz")).status_code == 404


async def test_idempotency_ignores_the_base_path(sqlite_url: str, clock: Clock) -> None:
    """An Idempotency-Key is the same with and without the base path."""
    server = {"public_url": "https://tools.example.com/relay"}
    async with open_api(sqlite_url, clock, server=server, security=KEYS) as api:
        headers = BEARER | {"Idempotency-Key": "k1"}
        first, again = [
            await api.http.post(f"{base}/v1/registrations", json={"job_id": "j1"}, headers=headers)
            for base in ("/relay", "")
        ]
        assert again.headers["idempotent-replayed"] == "true"
        assert (again.json(), again.headers["location"]) == (first.json(), first.headers["location"])


async def test_a_request_target_in_absolute_form(sqlite_url: str, clock: Clock) -> None:
    """`GET http://host/path` is the same as `GET /path` with that Host, below a base path too."""
    server = {"public_url": "https://tools.example.com/relay"}
    for sections in ({}, {"server": server}):
        async with open_api(sqlite_url, clock, **sections) as api:

            async def get(target: bytes, api: Api = api) -> int:
                return await _raw_get(api, target)

            assert await get(b"http://127.0.0.1:8080/healthz") == 200
            assert await get(b"HTTP://127.0.0.1:8080/v1/jobs?limit=1") == 200
            assert await get(b"http://127.0.0.1:8080") == 200
            assert await get(b"http://evil.example/v1/jobs") == 403
            assert await get(b"http://[/v1/jobs") == 403
            assert await get(b"gopher://127.0.0.1/healthz") == 404


async def _raw_get(api: Api, target: bytes) -> int:
    """The status of a GET with this target, as uvicorn hands it on."""
    path, _, query = target.partition(b"?")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path.decode(),
        "raw_path": path,
        "query_string": query,
        "headers": [(b"host", b"127.0.0.1:8080")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await api.app(scope, receive, send)
    return statuses[0]


# --- pages -----------------------------------------------------------------------------------------------------

Headers = dict[str, str]


async def _log_in(api: Api, headers: Headers) -> tuple[int, str, str]:
    """Status, cookie and text of a login."""
    answer = await api.http.post("/login", data=FORM, headers=headers)
    return answer.status_code, answer.headers.get("set-cookie", ""), answer.text


@pytest.mark.parametrize(
    ("public_url", "origin", "host"),
    [
        (None, "http://relay.example.com", "relay.example.com"),
        (None, "http://relay.example.com:80", "relay.example.com"),
        (None, "http://Relay.Example.com", "relay.EXAMPLE.com:80"),
        (None, "https://relay.example.com", "relay.example.com"),
        (None, "https://relay.example.com:8443", "relay.example.com:8443"),
        ("https://relay.example.com", "https://relay.example.com", "127.0.0.1:8080"),
        ("https://relay.example.com:443", "https://relay.example.com", "127.0.0.1:8080"),
        ("https://Relay.example.com:8443", "https://relay.example.com:8443", "relay.example.com"),
        ("https://relay.example.com/relay", "https://relay.example.com", "relay.example.com"),
        ("https://relay.example.com", "http://127.0.0.1:8080", "127.0.0.1:8080"),
    ],
)
async def test_a_form_of_the_relay_is_accepted(
    sqlite_url: str, clock: Clock, public_url: str | None, origin: str, host: str
) -> None:
    """Origins are compared as origins, not as text."""
    server = {"public_url": public_url} if public_url else {}
    async with open_api(sqlite_url, clock, security=KEYS, server=server) as api:
        status, cookie, _ = await _log_in(api, {"origin": origin, "host": host})
        assert status == 303
        assert ("Secure" in cookie) == origin.startswith("https://")
        base = "/relay" if public_url and public_url.endswith("/relay") else "/"
        assert f"Path={base};" in cookie
        prefix = {True: "__Host-" if base == "/" else "__Secure-", False: ""}[origin.startswith("https://")]
        port = host.partition(":")[2] or ("8443" if public_url and ":8443" in public_url else "")
        assert cookie.startswith(f"{prefix}relay_session{f'_{port}' if port else ''}=")


@pytest.mark.parametrize(
    ("public_url", "origin", "host", "advice"),
    [
        (None, "https://relay.example.com:8443", "relay.example.com", "set server.public_url"),
        (None, "https://relay.example.com", "127.0.0.1:8080", "set server.public_url"),
        (None, "http://[", "relay.example.com", "set server.public_url"),
        (None, "null", "relay.example.com", "set server.public_url"),
        ("https://a.example", "https://b.example", "a.example", "it is https://a.example now"),
        ("https://a.example", "http://a.example", "a.example", "came over http"),
        ("https://a.example", "http://192.168.1.5:8080", "192.168.1.5:8080", "came over http"),
    ],
)
async def test_a_refused_form_says_what_to_set(
    sqlite_url: str, clock: Clock, public_url: str | None, origin: str, host: str, advice: str
) -> None:
    """A foreign origin is refused, with the setting that may be missing."""
    server = {"public_url": public_url} if public_url else {}
    async with open_api(sqlite_url, clock, security=KEYS, server=server) as api:
        status, cookie, text = await _log_in(api, {"origin": origin, "host": host})
        assert (status, cookie) == (403, "")
        assert advice in text


async def test_a_cookie_without_its_prefix_is_no_session_over_https(sqlite_url: str, clock: Clock) -> None:
    """A neighbouring site could set a plain cookie; browsers let nobody else set one with the prefix."""
    public = {"public_url": "https://relay.example.com"}
    async with open_api(sqlite_url, clock, security=KEYS, server=public) as api:
        host = {"host": "relay.example.com", "accept": "text/html"}
        _, cookie, _ = await _log_in(api, host | {"origin": "https://relay.example.com"})
        pair = cookie.partition(";")[0]
        assert (await api.http.get("/jobs", headers=host | {"cookie": pair})).status_code == 200
        plain = pair.removeprefix("__Host-")
        assert (await api.http.get("/jobs", headers=host | {"cookie": plain})).status_code == 303


@shared
async def test_responses_over_tls_have_strict_transport_security(shared_api: Api) -> None:
    """With https only."""
    assert "strict-transport-security" not in (await shared_api.http.get("/healthz")).headers
    assert json.loads((await shared_api.http.get("/healthz")).text) == {"status": "ok"}
    over_tls = await shared_api.http.get("https://127.0.0.1:8080/healthz")
    assert over_tls.headers["strict-transport-security"].startswith("max-age=")
