"""Login by a proxy in front: whom the header names, from whom it is believed, and what it allows."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from relay.errors import RelayError
from relay.model import AuditAction, Via
from relay.process import bind_socket
from relay.sandbox.local_server import serve
from relay.store.engine.paging import Page
from relay.store.tables import audit
from relay.web.server.server import server_config
from tests.conftest import Clock
from tests.dashboard.test_pages import ADMIN, HTML, KEYS, READER
from tests.loopback import http_client
from tests.web.conftest import Api, open_api

LOCAL, PROXY = "127.0.0.1", "127.0.0.1/32"
USER = {"Remote-User": "jane"}
ROLES = {"relay-admins": "admin", "sales": "register"}
BY_ROLE: dict[str, Any] = {"trusted_role_header": "Remote-Groups", "trusted_roles": ROLES}

ADMINS = {"trusted_default_role": "admin"}

Header = tuple[str, str | bytes]


@dataclass
class Behind:
    """A relay, and a client that is its proxy."""

    api: Api
    http: httpx.AsyncClient

    async def page(self, path: str = "/jobs", *headers: Header, **more: str) -> httpx.Response:
        """A page, with these headers as often as they are given."""
        sent: list[Any] = [("accept", "text/html"), *headers, *((name.replace("_", "-"), more[name]) for name in more)]
        return await self.http.get(path, headers=sent)

    async def send(self, path: str, **fields: str) -> httpx.Response:
        """A form, with the token of the page /register, and the header."""
        page = (await self.page("/register", *USER.items())).text
        token = page.split('name="csrf" value="')[1].split('"')[0]
        return await self.http.post(path, data={"csrf": token, **fields}, headers={**HTML, **USER})


@asynccontextmanager
async def behind(
    url: str, clock: Clock, server: dict[str, Any] | None = None, proxies: Sequence[str] = (PROXY,), host: str = LOCAL
) -> AsyncIterator[Behind]:
    """A served relay that believes these proxies."""
    known = {"trusted_proxies": list(proxies), "trusted_user_header": "Remote-User"} | (server or {})
    configure = partial(server_config, trusted_proxies=[ip_network(one) for one in proxies])
    async with (
        open_api(url, clock, security={"api_keys": KEYS}, server=known) as api,
        serve(api.app, host, configure=configure) as at,
        http_client(base_url=at.replace("[::]", "127.0.0.1"), trust_env=False) as http,
    ):
        yield Behind(api, http)


async def test_the_proxys_user_is_logged_in(sqlite_url: str, clock: Clock) -> None:
    """Without a login page, with the default role, by name; without the header the page is the login."""
    async with behind(sqlite_url, clock) as relay:
        page = await relay.page("/jobs", *USER.items())
        assert page.status_code == 200
        assert "You are logged in as <b>jane</b>, by the proxy" in page.text
        assert "Log out" not in page.text
        refused = await relay.page("/endpoints/new", *USER.items())
        assert (refused.status_code, "your role has read" in refused.text) == (403, True)
        assert (await relay.page("/jobs")).headers["location"].startswith("/login")
        named = await relay.page("/jobs", ("Remote-User", "J\u00e4ne".encode()))
        assert "<b>J\u00e4ne</b>" in named.text


@pytest.mark.parametrize("proxies", [["10.0.0.0/8"], ["192.0.2.1/32", "::1/128"]])
async def test_the_header_is_believed_from_the_proxy_only(sqlite_url: str, clock: Clock, proxies: list[str]) -> None:
    """Anybody else gets the login page and no cookie, whatever addresses they claim."""
    async with behind(sqlite_url, clock, proxies=proxies) as relay:
        for claimed in ({}, {"X_Forwarded_For": "10.0.0.1"}, {"Forwarded": "for=10.0.0.1"}, {"X_Real_IP": "192.0.2.1"}):
            page = await relay.page("/jobs", *USER.items(), **claimed)
            assert (page.status_code, page.headers["location"]) == (303, "/login?next=/jobs")
            assert "set-cookie" not in page.headers


async def test_an_ipv4_proxy_is_recognised_on_a_dual_stack_socket(sqlite_url: str, clock: Clock) -> None:
    """There it is ::ffff:127.0.0.1."""
    try:
        bind_socket("::", 0, "").close()
    except RelayError:
        pytest.skip("this machine has no IPv6")
    async with behind(sqlite_url, clock, host="::") as relay:
        assert (await relay.page("/jobs", *USER.items())).status_code == 200


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ([("Remote-User", "jane"), ("Remote-User", "admin")], "comes more than once"),
        ([("Remote-User", "jane"), ("remote-user", "jane")], "comes more than once"),
        ([("Remote-User", "admin, jane")], "names several users"),
        ([("Remote-User", "")], "is empty"),
        ([("Remote-User", b"ja\x01ne")], "control character"),
        ([("Remote-User", b"ja\xffne")], "is not UTF-8"),
        ([("Remote-User", "j" * 201)], "is too long"),
        ([("Remote-User", "jane"), ("Remote-Groups", "sales"), ("Remote-Groups", "relay-admins")], "more than once"),
    ],
)
async def test_an_unclear_header_logs_nobody_in(
    sqlite_url: str, clock: Clock, caplog: pytest.LogCaptureFixture, headers: list[Header], fault: str
) -> None:
    """401, one line in the log, and no cookie: a visitor may have sent a copy of their own."""
    async with behind(sqlite_url, clock, BY_ROLE) as relay:
        with caplog.at_level(logging.WARNING):
            page = await relay.page("/jobs", *headers)
        assert (page.status_code, fault in page.text) == (401, True)
        assert "set-cookie" not in page.headers
        assert [fault in line for line in caplog.messages].count(True) == 1


async def test_other_spellings_of_the_header_are_never_read(sqlite_url: str, clock: Clock) -> None:
    """With an underscore, a dot or a space: alone they log nobody in, beside the proxy's own they change nothing."""
    async with behind(sqlite_url, clock, BY_ROLE) as relay:
        others: list[Header] = [
            (name, "root") for name in ("Remote_User", "Remote.User", "RemoteUser", "X-Remote-User")
        ]
        groups: list[Header] = [("Remote_Groups", "relay-admins"), ("Remote.Groups", "relay-admins")]
        for other in others:
            assert (await relay.page("/jobs", other)).status_code == 303
        page = await relay.page("/jobs", *USER.items(), *others, *groups)
        assert "<b>jane</b>" in page.text
        assert "root" not in page.text
        assert (await relay.page("/keys", *USER.items(), *groups)).status_code == 403


@pytest.mark.parametrize(
    ("groups", "default", "allowed"),
    [
        ("relay-admins", "read", ["/jobs", "/register", "/keys"]),
        ("staff, relay-admins,sales", "none", ["/jobs", "/register", "/keys"]),
        ("sales", "read", ["/jobs", "/register"]),
        ("staff", "read", ["/jobs"]),
        ("admin", "read", ["/jobs"]),
        (None, "register", ["/jobs", "/register"]),
        ("", "read", ["/jobs"]),
        ("staff", "none", []),
        (None, "none", []),
    ],
)
async def test_roles(sqlite_url: str, clock: Clock, groups: str | None, default: str, allowed: list[str]) -> None:
    """By the highest of the header's values that the configuration names; else the default; `none` is the login."""
    async with behind(sqlite_url, clock, BY_ROLE | {"trusted_default_role": default}) as relay:
        headers: list[Header] = [*USER.items(), *([] if groups is None else [("Remote-Groups", groups)])]
        paths = ("/jobs", "/register", "/keys")
        found = [path for path in paths if (await relay.page(path, *headers)).status_code == 200]
        assert found == allowed
        assert (await relay.page("/jobs", ("Remote-Groups", "relay-admins"))).status_code == 303


async def test_without_a_table_the_values_are_roles(sqlite_url: str, clock: Clock) -> None:
    """`admin`, `register` and `read`; any other value is the default."""
    async with behind(sqlite_url, clock, {"trusted_role_header": "Remote-Groups"}) as relay:
        for role, status in (("admin", 200), ("staff,admin", 200), ("register", 403), ("owner", 403)):
            assert (await relay.page("/keys", *USER.items(), ("Remote-Groups", role))).status_code == status


async def test_a_users_forms_are_theirs_alone(sqlite_url: str, clock: Clock) -> None:
    """They need the token of the browser, and the header; another's token, another site's form and none are refused."""
    async with behind(sqlite_url, clock, ADMINS) as relay:
        assert (await relay.send("/keys", name="zapier", register="on")).status_code == 200
        [cookie] = [value for name, value in relay.http.cookies.items() if name.startswith("relay_form")]
        page = (await relay.page("/keys", *USER.items())).text
        assert cookie not in page
        token = page.split('name="csrf" value="')[1].split('"')[0]
        form = {"csrf": token, "name": "more", "register": "on"}
        for headers in ({**USER, "origin": "https://evil.example"}, {"Remote-User": "joe"}):
            assert (await relay.http.post("/keys", data=form, headers=HTML | headers)).status_code == 403
        assert (await relay.http.post("/keys", data=form, headers=HTML)).status_code in (303, 403)
        relay.http.cookies.clear()
        assert (await relay.http.post("/keys", data=form, headers=HTML | USER)).status_code == 403


async def test_the_audit_log_names_the_proxys_user(sqlite_url: str, clock: Clock) -> None:
    """Alone, or beside the key of a session, whose rights then count."""
    async with behind(sqlite_url, clock, ADMINS) as relay:
        await relay.send("/keys", name="first", read="on")
        await relay.http.post("/login", data={"api_key": READER}, headers=HTML)
        assert (await relay.page("/keys", *USER.items())).status_code == 403
        rows, _ = await relay.api.relay.store.read(lambda tx: audit.page(tx, Page(10)))
        [made] = [row for row in rows if row.action is AuditAction.KEY_CREATED]
        assert (made.actor.via, made.actor.user, made.actor.key) == (Via.DASHBOARD, "jane", None)
        [refused] = [row for row in rows if row.action is AuditAction.REFUSED]
        assert (refused.actor.user, refused.actor.key) == ("jane", "guest")


async def test_the_api_goes_by_the_key_alone(sqlite_url: str, clock: Clock) -> None:
    """A user header beside a key changes neither rights nor the name in the audit log; without a key it is 401."""
    async with behind(sqlite_url, clock, ADMINS) as relay:
        assert (await relay.http.get("/v1/jobs", headers=USER)).status_code == 401
        reads = {"authorization": f"Bearer {READER}", **USER}
        assert (await relay.http.get("/v1/jobs", headers=reads)).status_code == 200
        body = {"url": "https://a.example"}
        assert (await relay.http.post("/v1/endpoints", json=body, headers=reads)).status_code == 403
        writes = {"authorization": f"Bearer {ADMIN}", **USER}
        made = await relay.http.post("/v1/endpoints", json=body, headers=writes)
        assert made.status_code == 201
        rows, _ = await relay.api.relay.store.read(lambda tx: audit.page(tx, Page(10), AuditAction.ENDPOINT_CREATED))
        assert [(row.actor.key, row.actor.user) for row in rows] == [("me", None)]


async def test_two_relays_share_a_users_forms(sqlite_url: str, clock: Clock) -> None:
    """What one gave the browser, another accepts: nothing is kept in a process."""
    async with behind(sqlite_url, clock, ADMINS) as one:
        page = (await one.page("/keys", *USER.items())).text
        token = page.split('name="csrf" value="')[1].split('"')[0]
        [kept] = one.http.cookies.values()
    async with behind(sqlite_url, clock, ADMINS) as other:
        other.http.cookies.set(f"relay_form_{other.http.base_url.port}", kept)  # as behind one address
        form = {"csrf": token, "name": "zapier", "register": "on"}
        assert (await other.http.post("/keys", data=form, headers=HTML | USER)).status_code == 200
