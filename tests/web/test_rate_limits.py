"""Rate limits: wrong keys by address, requests by key; no client is throttled for another."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from relay.model import MINUTE, SECOND
from relay.operations.api_key_cache import CACHE_TTL
from relay.sandbox.local_server import serve
from relay.security import hash_api_key
from relay.security.login_throttle import BURST
from relay.store.tables import api_keys
from relay.store.tables.api_keys import StoredApiKey
from relay.web.app import create_app
from tests.conftest import Clock
from tests.loopback import http_client
from tests.make import NOON
from tests.web.conftest import SELF, Api, assert_refused, open_api

KEY, OTHER = "relay_" + "k" * 43, "relay_" + "o" * 43
KEYS = {"api_keys": [{"name": "one", "key": KEY}, {"name": "other", "key": OTHER, "scopes": ["read"]}]}
STORED = StoredApiKey(id="key_1", name="stored", hash=hash_api_key(KEY), scopes=("read",), created_at=NOON)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
async def keyed(sqlite_url: str, clock: Clock) -> AsyncIterator[Api]:
    async with open_api(sqlite_url, clock, security=KEYS) as api:
        yield api


def from_address(api: Api, address: str) -> httpx.AsyncClient:
    """A client of the same application, from another address."""
    transport = httpx.ASGITransport(api.app, client=(address, 4_711))
    return httpx.AsyncClient(transport=transport, base_url=SELF)


async def guess(http: httpx.AsyncClient, times: int, begins: str = "") -> list[httpx.Response]:
    """Sends wrong keys, each a different one."""
    return [await http.get("/v1/jobs", headers=bearer(f"relay_wrong{begins}{number}")) for number in range(times)]


# --- wrong keys ---------------------------------------------------------------------------------------------------


async def test_wrong_keys_are_throttled(keyed: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Ten wrong keys are 401, what follows is 429 with the seconds to wait; the log names the address, once."""
    answers = await guess(keyed.http, BURST)
    assert [answer.status_code for answer in answers] == [401] * BURST
    more = await guess(keyed.http, 20, "more")
    for answer in more:
        assert "try again in 10 s" in assert_refused(answer, 429, "too_many_wrong_keys")
        assert answer.json()["error"]["type"] == "rate_limited"
        assert answer.headers["retry-after"] == "10"
    [record] = caplog.records
    assert "127.0.0.1 sent too many unknown API keys" in record.getMessage()
    keyed.clock.advance(10 * SECOND)
    assert [answer.status_code for answer in await guess(keyed.http, 2, "later")] == [401, 429]
    metrics = (await keyed.relay.render_metrics()).decode()
    assert 'relay_api_refusals_total{reason="wrong_key"} 11.0' in metrics
    assert 'relay_api_refusals_total{reason="too_many_wrong_keys"} 21.0' in metrics


async def test_a_right_key_works_whatever_its_address_tries(keyed: Api) -> None:
    """Behind one proxy with an attacker, everybody with a key is served, also new keys and after a restart."""
    await guess(keyed.http, BURST + 1)
    for _ in range(30):
        assert (await keyed.http.get("/v1/jobs", headers=bearer(KEY))).status_code == 200
    assert_refused((await guess(keyed.http, 1, "more"))[0], 429, "too_many_wrong_keys")


async def test_concurrent_wrong_keys_are_throttled(keyed: Api) -> None:
    """150 concurrent logins and calls: ten wrong keys are checked, right keys count nothing."""
    html = {"accept": "text/html", "origin": SELF}
    calls = [keyed.http.get("/v1/jobs", headers=bearer(f"relay_wrong{number}")) for number in range(75)]
    logins = [keyed.http.post("/login", data={"api_key": f"relay_no{number}"}, headers=html) for number in range(75)]
    right = [keyed.http.get("/v1/jobs", headers=bearer(KEY)) for _ in range(50)]
    answers = await asyncio.gather(*right, *calls, *logins)
    assert [answer.status_code for answer in answers[:50]] == [200] * 50
    assert sorted(answer.status_code for answer in answers[50:]) == [401] * BURST + [429] * (150 - BURST)


async def test_concurrent_wrong_callback_tokens_are_throttled(keyed: Api) -> None:
    """Of a hundred wrong tokens ten get 404, the rest 429; the right one is accepted meanwhile."""
    path = (await keyed.get("/v1/workspaces/default/callback", headers=bearer(KEY)))["path"]
    wrong = [keyed.http.post(f"/v1/exec/callbacks/guess{number}", json={"id": "j1"}) for number in range(100)]
    answers = await asyncio.gather(keyed.http.post(path, json={"id": "j1"}), *wrong)
    assert answers[0].status_code == 202
    statuses = [answer.status_code for answer in answers[1:]]
    assert statuses.count(404) in (BURST - 1, BURST), "the right one counts while it is looked up"
    assert statuses.count(404) + statuses.count(429) == 100


async def test_wrong_keys_lock_out_no_right_key(keyed: Api) -> None:
    """A client with a right key at the same address is served."""
    assert (await keyed.http.get("/v1/jobs", headers=bearer(KEY))).status_code == 200
    await guess(keyed.http, BURST + 5)
    for _ in range(20):
        assert (await keyed.http.get("/v1/jobs", headers=bearer(KEY))).status_code == 200


async def test_a_chosen_key_cannot_be_guessed_faster(sqlite_url: str, clock: Clock) -> None:
    """A key that a person chose is throttled with the attempts of its address, in a row and concurrently. A generated
    key works, and so does a chosen one from another address and from where it was right before."""
    chosen = "summer-in-the-city-2026"  # as in a list of words that somebody tries
    keys = {"api_keys": [{"name": "weak", "key": f"{chosen}!"}, {"name": "one", "key": KEY}]}
    async with open_api(sqlite_url, clock, security=keys) as api:
        elsewhere = from_address(api, "203.0.113.9")
        assert (await elsewhere.get("/v1/jobs", headers=bearer(f"{chosen}!"))).status_code == 200
        await guess(elsewhere, BURST + 5)
        await guess(api.http, BURST)
        for http, status in ((api.http, 429), (elsewhere, 200)):
            responses = await asyncio.gather(*(http.get("/v1/jobs", headers=bearer(f"{chosen}!")) for _ in range(20)))
            assert {response.status_code for response in responses} == {status}
            assert (await http.get("/v1/jobs", headers=bearer(KEY))).status_code == 200
        clock.advance(20_000)
        assert (await api.http.get("/v1/jobs", headers=bearer(f"{chosen}!"))).status_code == 200
        await elsewhere.aclose()


async def test_a_missing_key_does_not_count_as_wrong(keyed: Api) -> None:
    """Requests without a key are refused any number of times, and lock nobody out."""
    for _ in range(50):
        assert_refused(await keyed.http.get("/v1/jobs"), 401, "invalid_api_key")
    assert (await keyed.http.get("/v1/jobs", headers=bearer(KEY))).status_code == 200


async def test_logins_count_as_attempts(keyed: Api) -> None:
    """The dashboard's form and the API share one count."""
    await guess(keyed.http, BURST - 1)
    html = {"accept": "text/html", "origin": SELF}
    wrong = await keyed.http.post("/login", data={"api_key": "relay_wrong at the login"}, headers=html)
    assert wrong.status_code == 401
    slowed = await keyed.http.post("/login", data={"api_key": "relay_wrong again"}, headers=html)
    assert (slowed.status_code, slowed.headers["retry-after"]) == (429, "10")
    assert "too many unknown API keys" in slowed.text
    assert "set-cookie" not in slowed.headers
    assert (await guess(keyed.http, 1, "more"))[0].status_code == 429


async def test_wrong_callback_tokens_count_as_attempts(keyed: Api) -> None:
    """An unknown one is 404, and after ten of them 429; Exec's right token is accepted."""
    path = (await keyed.get("/v1/workspaces/default/callback", headers=bearer(KEY)))["path"]
    known = from_address(keyed, "203.0.113.9")
    async with known:
        assert (await known.post(path, json={"id": "j1"})).status_code == 202
        for number in range(BURST):
            answer = await known.post(f"/v1/exec/callbacks/guess{number}", json={"id": "j1"})
            assert answer.status_code == 404
        answer = await known.post("/v1/exec/callbacks/more", json={"id": "j1"})
        assert answer.headers["retry-after"] == "10"
        assert_refused(answer, 429, "too_many_wrong_keys")
        assert (await known.post(path, json={"id": "j1"})).status_code == 202
    assert (await keyed.http.post(path, json={"id": "j1"})).status_code == 202


# --- the pace of a key -----------------------------------------------------------------------------------------


@pytest.fixture
async def paced(sqlite_url: str, clock: Clock) -> AsyncIterator[Api]:
    """Twenty requests a minute."""
    async with open_api(sqlite_url, clock, security=KEYS | {"requests_per_minute": 20}) as api:
        yield api


async def test_requests_are_limited_by_key(paced: Api) -> None:
    """A minute's requests at once, then one every three seconds; another key has its own limit."""
    for _ in range(20):
        assert (await paced.http.get("/v1/jobs", headers=bearer(KEY))).status_code == 200
    for path in ("/v1/jobs", "/metrics", "/v1/nowhere-with-a-key"):
        answer = await paced.http.get(path, headers=bearer(KEY))
        if path.startswith("/v1/nowhere"):
            assert answer.status_code == 404
            continue
        message = assert_refused(answer, 429, "rate_limited")
        assert message == "at most 20 requests a minute with the same key; try again in 3 s"
        assert answer.json()["error"]["type"] == "rate_limited"
        assert answer.headers["retry-after"] == "3"
    assert (await paced.http.get("/v1/jobs", headers=bearer(OTHER))).status_code == 200
    paced.clock.advance(3 * SECOND)
    assert (await paced.http.get("/v1/jobs", headers=bearer(KEY))).status_code == 200
    assert (await paced.http.get("/v1/jobs", headers=bearer(KEY))).status_code == 429
    assert 'relay_api_refusals_total{reason="rate_limited"} 3.0' in (await paced.relay.render_metrics()).decode()


async def test_refused_requests_cost_nothing(paced: Api) -> None:
    """No body is read, nothing is stored."""
    body = {"job_id": "j1", "callback_url": "https://example.com/x"}
    for _ in range(20):
        await paced.http.get("/v1/jobs", headers=bearer(KEY))
    before = await paced.stored()
    assert_refused(await paced.http.post("/v1/registrations", json=body, headers=bearer(KEY)), 429, "rate_limited")
    assert await paced.stored() == before


async def test_callbacks_are_limited_by_token(paced: Api) -> None:
    """A token's holder can't keep the store busy."""
    path = (await paced.get("/v1/workspaces/default/callback", headers=bearer(KEY)))["path"]
    answers = [await paced.http.post(path, json={"id": f"j{number}"}) for number in range(21)]
    assert [answer.status_code for answer in answers[:-1]].count(202) > 5
    assert_refused(answers[-1], 429, "rate_limited")


async def test_requests_without_the_scope_count_too(paced: Api) -> None:
    """403 counts like any other response."""
    statuses = [(await paced.http.get("/v1/workspaces/default/callback", headers=bearer(OTHER))) for _ in range(21)]
    assert [answer.status_code for answer in statuses] == [403] * 20 + [429]


async def test_pages_have_their_own_limit(paced: Api) -> None:
    """A busy client does not lock people out of the pages; pages are limited too."""
    html = {"accept": "text/html", "origin": SELF}
    login = await paced.http.post("/login", data={"api_key": KEY}, headers=html)
    assert login.status_code == 303
    for _ in range(19):
        await paced.http.get("/v1/jobs", headers=bearer(KEY))
    assert (await paced.http.get("/v1/jobs", headers=bearer(KEY))).status_code == 429
    statuses = [(await paced.http.get("/jobs", headers=html)).status_code for _ in range(21)]
    assert statuses == [200] * 20 + [429]


async def test_sessions_of_one_key_share_its_limit(paced: Api) -> None:
    """Five sessions, one after the other and at once."""
    html = {"accept": "text/html", "origin": SELF}
    cookies = []
    for _ in range(5):
        login = await paced.http.post("/login", data={"api_key": KEY}, headers=html)
        cookies.append(login.headers["set-cookie"].partition(";")[0])
        paced.http.cookies.clear()
    pages = [paced.http.get("/jobs", headers=html | {"cookie": cookie}) for cookie in cookies for _ in range(10)]
    statuses = sorted(answer.status_code for answer in await asyncio.gather(*pages))
    assert statuses == [200] * 20 + [429] * 30


async def test_without_a_limit_every_request_is_accepted(sqlite_url: str, clock: Clock) -> None:
    """`security.requests_per_minute: null`."""
    async with open_api(sqlite_url, clock, security=KEYS | {"requests_per_minute": None}) as api:
        for _ in range(100):
            assert (await api.http.get("/healthz", headers=bearer(KEY))).status_code == 200
            assert (await api.http.get("/v1/jobs", headers=bearer(KEY))).status_code == 200


# --- keys of the store -----------------------------------------------------------------------------------------


async def test_the_first_key_closes_the_api(any_api: Api) -> None:
    """An open relay requires keys within a second of the first one; revoking it does not open it again."""
    assert (await any_api.http.get("/v1/jobs")).status_code == 200
    assert (await any_api.get("/openapi.json"))["paths"]["/v1/jobs"]["get"]["security"] == []
    await any_api.relay.store.write(lambda tx: api_keys.add(tx, STORED))
    any_api.clock.advance(CACHE_TTL)
    assert_refused(await any_api.http.get("/v1/jobs"), 401, "invalid_api_key")
    assert (await any_api.http.get("/v1/jobs", headers=bearer(KEY))).status_code == 200
    answer = await any_api.http.post("/v1/registrations", json={"job_id": "j1"}, headers=bearer(KEY))
    assert_refused(answer, 403, "insufficient_scope")
    document = await any_api.get("/openapi.json")
    assert document["paths"]["/v1/jobs"]["get"]["security"] == [{"key": ["read"]}]
    await any_api.relay.store.write(lambda tx: api_keys.revoke(tx, "stored", NOON))
    any_api.clock.advance(CACHE_TTL)
    for headers in ({}, bearer(KEY)):
        assert_refused(await any_api.http.get("/v1/jobs", headers=headers), 401, "invalid_api_key")
    page = await any_api.http.get("/", headers={"accept": "text/html"})
    assert page.headers["location"] == "/login"


async def test_keys_of_configuration_and_store_work(keyed: Api) -> None:
    """The last use is recorded, to the hour."""
    stored = replace(STORED, hash=hash_api_key("relay_of the store"))
    await keyed.relay.store.write(lambda tx: api_keys.add(tx, stored))
    keyed.clock.advance(CACHE_TTL)
    for key in (KEY, "relay_of the store"):
        assert (await keyed.http.get("/v1/jobs", headers=bearer(key))).status_code == 200
    await keyed.relay.tick()
    [used] = await keyed.relay.store.read(api_keys.active)
    assert used.last_used_at == keyed.clock()


async def test_a_session_ends_with_its_stored_key(sqlite_url: str, clock: Clock) -> None:
    """One logs in with a key of the store, may do what its scopes say, and is out within a second of its revocation."""
    async with open_api(sqlite_url, clock) as api:
        await api.relay.store.write(lambda tx: api_keys.add(tx, STORED))
        html: dict[str, Any] = {"headers": {"accept": "text/html", "origin": SELF}}
        assert (await api.http.post("/login", data={"api_key": KEY}, **html)).status_code == 303
        page = await api.http.get("/jobs", **html)
        assert (page.status_code, "stored" in page.text) == (200, True)
        assert (await api.http.get("/register", **html)).status_code == 403
        await api.relay.store.write(lambda tx: api_keys.revoke(tx, "stored", NOON))
        clock.advance(CACHE_TTL)
        gone = await api.http.get("/jobs", **html)
        assert (gone.status_code, gone.headers["location"]) == (303, "/login?next=/jobs")
        again = await api.http.post("/login", data={"api_key": KEY}, **html)
        assert again.status_code == 401


async def test_a_stream_ends_with_its_key(sqlite_url: str, clock: Clock) -> None:
    """A stream that was opened before the revocation sends nothing more."""
    async with open_api(sqlite_url, clock) as api, serve(api.app) as url:
        await api.relay.store.write(lambda tx: api_keys.add(tx, STORED))
        async with http_client(base_url=url, trust_env=False) as http:
            assert (await http.post("/login", data={"api_key": KEY})).status_code == 303
            async with http.stream("GET", "/live") as listening, asyncio.timeout(30):
                said = listening.aiter_text()
                assert (await anext(said)).startswith("retry: ")
                await api.relay.store.write(lambda tx: api_keys.revoke(tx, "stored", NOON))
                clock.advance(CACHE_TTL)
                async for _ in said:
                    pass
            assert (await http.get("/live", headers={"accept": "text/html"})).status_code == 303


async def test_each_application_has_its_own_counts(keyed: Api, clock: Clock) -> None:
    """Two applications in one process share nothing."""
    await guess(keyed.http, BURST)
    other = httpx.ASGITransport(create_app(keyed.relay, owns_relay=False))
    async with httpx.AsyncClient(transport=other, base_url=SELF) as http:
        assert (await http.get("/v1/jobs", headers=bearer(KEY))).status_code == 200
    clock.advance(10 * MINUTE)
    assert (await keyed.http.get("/v1/jobs", headers=bearer(KEY))).status_code == 200
