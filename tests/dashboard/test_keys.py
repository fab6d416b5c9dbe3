"""Keys in the dashboard: made and shown once, revoked with their sessions, by admins only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from relay.model import AuditAction, AuditEntry, Via
from relay.security import hash_api_key
from relay.store.engine.paging import Page
from relay.store.tables import api_keys, audit
from tests.conftest import Clock
from tests.dashboard.test_pages import ADMIN, HTML, KEYS, READER, log_in
from tests.web.conftest import Api, open_api


@pytest.fixture
async def locked(store_url: str, clock: Clock) -> AsyncIterator[Api]:
    """A relay with keys, logged in as the admin."""
    async with open_api(store_url, clock, security={"api_keys": KEYS}) as api:
        await log_in(api)
        yield api


async def send(api: Api, path: str, **fields: str) -> httpx.Response:
    """A form of the page /keys."""
    page = (await api.http.get("/keys", headers=HTML)).text
    token = page.split('name="csrf" value="')[1].split('"')[0]
    return await api.http.post(path, data={"csrf": token, **fields}, headers=HTML)


def key_on(page: httpx.Response) -> str:
    return page.text.split('<code id="key">')[1].split("<")[0]


def by(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def entries(api: Api, action: AuditAction) -> list[AuditEntry]:
    rows, _ = await api.relay.store.read(lambda tx: audit.page(tx, Page(10), action))
    return rows


async def test_a_key_is_shown_once_and_works_at_once(locked: Api) -> None:
    """The store has its hash, no later page has the key, and the audit log names the admin's key."""
    made = await send(locked, "/keys", name="zapier", register="on", read="on")
    assert made.status_code == 200
    assert made.headers["cache-control"] == "no-store"
    key = key_on(made)
    [stored] = await locked.relay.store.read(api_keys.active)
    assert (stored.name, stored.hash, stored.scopes) == ("zapier", hash_api_key(key), ("register", "read"))
    assert (await locked.http.get("/v1/jobs", headers=by(key))).status_code == 200
    assert (await locked.http.post("/v1/deliveries/dlv_1/resend", headers=by(key))).status_code == 403
    page = (await locked.http.get("/keys", headers=HTML)).text
    assert key not in page
    assert "zapier" in page
    assert stored.hash not in page
    [entry] = await entries(locked, AuditAction.KEY_CREATED)
    assert (entry.actor.via, entry.actor.key, entry.target, entry.name) == (Via.DASHBOARD, "me", stored.id, "zapier")
    assert key not in str(entry)


async def test_a_revoked_key_is_refused_at_once_and_its_sessions_end(locked: Api) -> None:
    """The next request of its program gets 401, the next page of its session the login; its name stays on the page."""
    key = key_on(await send(locked, "/keys", name="guest2", read="on"))
    async with other_browser(locked) as guest:
        assert (await guest.post("/login", data={"api_key": key})).status_code == 303
        assert (await guest.get("/jobs", headers=HTML)).status_code == 200
        assert (await guest.get("/v1/jobs", headers=by(key))).status_code == 200
        [stored] = await locked.relay.store.read(api_keys.active)
        done = await send(locked, f"/keys/{stored.id}/revoke")
        assert done.headers["location"] == "/keys?notice=key-revoked"
        assert (await guest.get("/v1/jobs", headers=by(key))).status_code == 401
        assert (await guest.get("/jobs", headers=HTML)).headers["location"].startswith("/login")
        assert (await guest.post("/login", data={"api_key": key})).status_code == 401
    page = (await locked.http.get("/keys", headers=HTML)).text
    assert "1 revoked key" in page
    assert "guest2" in page
    [entry] = await entries(locked, AuditAction.KEY_REVOKED)
    assert (entry.actor.key, entry.name) == ("me", "guest2")
    again = await send(locked, f"/keys/{stored.id}/revoke")
    assert (again.status_code, "revoked already" in again.text) == (404, True)


async def test_an_admin_may_revoke_their_own_key(locked: Api) -> None:
    """The page says so before, and they are logged out."""
    key = key_on(await send(locked, "/keys", name="mine", admin="on", read="on"))
    locked.http.cookies.clear()
    await log_in(locked, key)
    assert "It is yours: you are logged out." in (await locked.http.get("/keys", headers=HTML)).text
    [stored] = await locked.relay.store.read(api_keys.active)
    await send(locked, f"/keys/{stored.id}/revoke")
    assert (await locked.http.get("/keys", headers=HTML)).headers["location"].startswith("/login")


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"name": "Zapier", "read": "on"}, 400, "the name must be 1 to 63 of a-z"),
        ({"read": "on"}, 400, "the name must "),
        ({"name": "zapier"}, 400, "choose what the key may do"),
        ({"name": "guest", "read": "on"}, 409, "the configuration has a key of this name"),
        ({"name": "taken", "read": "on"}, 409, "there is a key named taken"),
    ],
)
async def test_a_wrong_form_says_why(locked: Api, fields: dict[str, str], status: int, said: str) -> None:
    """And makes no key."""
    await send(locked, "/keys", name="taken", read="on")
    answer = await send(locked, "/keys", **fields)
    assert (answer.status_code, said in answer.text) == (status, True)
    assert len(await locked.relay.store.read(api_keys.active)) == 1


async def test_nobody_gives_a_scope_that_they_lack(sqlite_url: str, clock: Clock) -> None:
    """An admin that may not read makes no key that reads; `subscribe` is part of what an admin may do."""
    keys = [{"name": "ops", "key": ADMIN, "scopes": ["admin"]}]
    async with open_api(sqlite_url, clock, security={"api_keys": keys}) as api:
        await log_in(api)
        assert 'name="read"' not in (await api.http.get("/keys", headers=HTML)).text
        for scopes in ({"read": "on"}, {"admin": "on", "register": "on"}):
            refused = await send(api, "/keys", name="more", **scopes)
            assert (refused.status_code, "a scope that you don&#39;t have" in refused.text) == (400, True)
        assert (await send(api, "/keys", name="zap", subscribe="on", admin="on")).status_code == 200
        [stored] = await api.relay.store.read(api_keys.active)
        assert stored.scopes == ("subscribe", "admin")


async def test_only_admins_see_keys(locked: Api) -> None:
    """Others get neither the page nor a link to it."""
    locked.http.cookies.clear()
    await log_in(locked, READER)
    assert (await locked.http.get("/keys", headers=HTML)).status_code == 403
    assert 'href="/keys"' not in (await locked.http.get("/jobs", headers=HTML)).text


async def test_the_first_key_closes_the_relay(sqlite_url: str, clock: Clock) -> None:
    """The page that shows it says so; the next page of the same browser is the login."""
    async with open_api(sqlite_url, clock) as api:
        made = await send(api, "/keys", name="ops", admin="on", read="on")
        assert "It is the relay&#39;s first key." in made.text or "It is the relay's first key." in made.text
        assert (await api.http.get("/keys", headers=HTML)).headers["location"].startswith("/login")
        await log_in(api, key_on(made))
        assert "It is the last key" in (await api.http.get("/keys", headers=HTML)).text


async def test_a_key_of_the_configuration_is_shown_as_such(locked: Api) -> None:
    """It is revoked there."""
    page = (await locked.http.get("/keys", headers=HTML)).text
    assert page.count("in the configuration") == len(KEYS)
    assert "/revoke" not in page
    assert READER not in page


@asynccontextmanager
async def other_browser(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """Another browser at the same relay."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api.app), base_url=str(api.http.base_url)) as http:
        yield http
