"""The audit log: each act of an operator, by whom, and none of what is secret."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from relay.model import MINUTE, DeliveryStatus
from relay.web.app import OPERATIONS
from tests.conftest import Clock
from tests.web.conftest import SECRET, Api, assert_refused, open_api
from tests.web.test_deliveries import attempt

ADMIN, READER, URL_TOKEN = "relay_admin_0123456789abcdef", "relay_reader_0123456789abcdef", "T0K3N-of-the-url"
KEYS = [{"name": "ops", "key": ADMIN}, {"name": "guest", "key": READER, "scopes": ["read"]}]
URL = f"https://hooks.slack.com/services/T0/B0/{URL_TOKEN}"
HEADER = "value-of-a-header"
HTML = {"accept": "text/html"}

UNRECORDED = {
    "createRegistration": "a row of its own, which names its key; there may be thousands a minute",
    "createRegistrations": "as createRegistration",
    "createJob": "as createRegistration",
    "receiveExecCallback": "Exec calls it, by a token",
}
"""Calls that change something, and have no entry in the audit log."""


@pytest.fixture
async def locked(store_url: str, clock: Clock) -> AsyncIterator[Api]:
    async with open_api(store_url, clock, security={"api_keys": KEYS}) as api:
        api.http.headers["authorization"] = f"Bearer {ADMIN}"
        yield api


async def log(api: Api, **query: Any) -> list[dict[str, Any]]:
    """The entries, oldest first."""
    answer = await api.get("/v1/audit", params={"limit": 200} | query, headers={"authorization": f"Bearer {ADMIN}"})
    return list(answer["data"][::-1])


async def test_every_act_is_recorded_and_no_secret(locked: Api, clock: Clock) -> None:
    """One entry for each call that changes something: what, by which key, from where, to what, and no value of it."""
    made = await locked.make_endpoint(url=URL, secret=SECRET, headers={"x-key": HEADER})
    id = made["id"]
    registered = await locked.register("j1", endpoint=id, callback_url=None, metadata={"prompt": "a prompt"})
    [delivery] = await locked.deliver("j1")
    await attempt(locked, delivery, DeliveryStatus.FAILED)
    acts: list[tuple[str, str, Any]] = [
        ("PATCH", f"/v1/endpoints/{id}", {"name": "renamed", "headers": {"x-key": HEADER + "2"}}),
        ("POST", f"/v1/endpoints/{id}/rotate-secret", {}),
        ("POST", f"/v1/endpoints/{id}/test", {}),
        ("POST", f"/v1/deliveries/{delivery}/resend", None),
        ("POST", "/v1/deliveries/resend", {"status": "failed", "dry_run": True}),
        ("POST", f"/v1/endpoints/{id}/replay", {"since": "2024-03-01T00:00:00Z"}),
        ("POST", f"/v1/endpoints/{id}/stop-replay", None),
        ("POST", f"/v1/endpoints/{id}/disable", None),
        ("POST", f"/v1/endpoints/{id}/disable", None),
        ("POST", f"/v1/endpoints/{id}/enable", None),
        ("DELETE", f"/v1/registrations/{registered['id']}", None),
        ("DELETE", f"/v1/registrations/{registered['id']}", None),
        ("POST", "/v1/workspaces/default/callback/rotate", None),
        ("POST", "/v1/sending/suspend", None),
        ("POST", "/v1/sending/resume", None),
        ("POST", "/v1/sending/suspend", None),
        ("POST", "/v1/sending/discard", None),
        ("DELETE", f"/v1/endpoints/{id}", None),
    ]
    for method, path, body in acts:
        clock.advance(1)
        answer = await locked.http.request(method, path, **({} if body is None else {"json": body}))
        assert answer.status_code < 300, answer.text
    entries = await log(locked)
    assert [(entry["action"], entry["target"], entry["name"]) for entry in entries] == [
        ("endpoint.created", id, "ops"),
        ("endpoint.changed", id, "renamed"),
        ("endpoint.secret_rotated", id, "renamed"),
        ("endpoint.tested", id, "renamed"),
        ("delivery.resent", delivery, None),
        ("replay.started", id, "renamed"),
        ("replay.stopped", id, None),
        ("endpoint.disabled", id, "renamed"),
        ("endpoint.enabled", id, "renamed"),
        ("registration.withdrawn", registered["id"], None),
        ("callback.rotated", "default", None),
        ("sending.suspended", None, None),
        ("sending.resumed", None, None),
        ("sending.suspended", None, None),
        ("sending.discarded", None, None),
        ("endpoint.deleted", id, "renamed"),
    ]
    assert entries[1]["detail"] == {"fields": ["name", "headers"], "was_named": "ops"}
    assert {(one["via"], one["key"], one["key_id"], one["address"]) for one in entries} == {
        ("api", "ops", "configuration", "127.0.0.1")
    }
    for secret in (URL_TOKEN, SECRET, HEADER, ADMIN, "a prompt"):
        assert secret not in json.dumps(entries)


def test_every_call_that_changes_something_is_audited_or_says_why_not() -> None:
    """A new call has to be added to the test above, or to the others with a reason."""
    changing = {one.id for one in OPERATIONS if one.method != "GET"}
    audited = set(
        "createEndpoint changeEndpoint removeEndpoint testEndpoint rotateSecret enableEndpoint disableEndpoint "
        "resendDelivery resendDeliveries withdrawRegistration rotateExecCallback suspendSending resumeSending "
        "discardWaiting replayEndpoint stopReplay".split()
    )
    assert changing == audited | set(UNRECORDED)


async def test_resending_many_is_one_entry(locked: Api) -> None:
    """With the filter and the limit."""
    for number in range(3):
        await locked.register(f"j{number}")
        [delivery] = await locked.deliver(f"j{number}")
        await attempt(locked, delivery, DeliveryStatus.FAILED)
    await locked.post("/v1/deliveries/resend", {"status": "failed", "limit": 2}, 202)
    [entry] = await log(locked, action="deliveries.resent")
    assert entry["detail"] == {"at_most": 2, "status": "failed"}


async def test_the_actor_is_the_credential_that_authorised(locked: Api, clock: Clock) -> None:
    """With a session of one key and a bearer of another: the bearer counts in the API, the session on the pages."""
    made = await locked.make_endpoint(url=URL)
    guest = {"authorization": f"Bearer {READER}"}
    clock.advance(1)
    assert (await locked.http.post("/login", data={"api_key": ADMIN})).status_code == 303
    clock.advance(1)
    refused = await locked.http.post(f"/v1/endpoints/{made['id']}/disable", headers=guest)
    assert_refused(refused, 403, "insufficient_scope")
    page = await locked.http.get("/register", headers=HTML)
    form = {"csrf": page.text.split('name="csrf" value="')[1].split('"')[0]}
    clock.advance(1)
    assert (await locked.http.post(f"/endpoints/{made['id']}/disable", data=form, headers=guest)).status_code == 303
    *_, login, refusal, disabled = await log(locked)
    assert (login["action"], login["via"], login["key"]) == ("login", "dashboard", "ops")
    assert (refusal["action"], refusal["via"], refusal["key"]) == ("refused", "api", "guest")
    assert refusal["detail"] == {"call": "POST /v1/endpoints/{id}/disable", "needed_scope": "admin"}
    assert (disabled["action"], disabled["via"], disabled["key"]) == ("endpoint.disabled", "dashboard", "ops")


async def test_refusals_are_bounded(locked: Api, clock: Clock) -> None:
    """Of one client one entry in ten minutes, with the number of those that were left out; never what was tried."""
    assert await log(locked) == []  # so that this address is known for a right key
    for number in range(30):
        wrong = f"relay_{number:043}"
        answer = await locked.http.get("/v1/jobs", headers={"authorization": f"Bearer {wrong}"})
        assert answer.status_code in (401, 429)
    await locked.http.post("/login", data={"api_key": "guessed-key"})
    [entry] = await log(locked)
    assert (entry["action"], entry["via"], entry["key"], entry["address"]) == ("login.failed", "api", None, "127.0.0.1")
    clock.advance(11 * MINUTE)
    await locked.http.post("/login", data={"api_key": "guessed-key"})
    first, second = await log(locked, action="login.failed")
    assert second["detail"]["left_out"] >= 9
    assert second["via"] == "dashboard"
    assert "guessed" not in json.dumps([first, second])


async def test_an_act_without_its_entry_does_not_happen(locked: Api) -> None:
    """Both are one transaction: if the log can't be written, nothing is changed."""
    made = await locked.make_endpoint(url=URL)
    await locked.relay.store.write(lambda tx: tx.execute(text("ALTER TABLE audit RENAME TO elsewhere")))
    answer = await locked.http.patch(f"/v1/endpoints/{made['id']}", json={"name": "renamed"})
    assert answer.status_code == 503
    await locked.relay.store.write(lambda tx: tx.execute(text("ALTER TABLE elsewhere RENAME TO audit")))
    assert (await locked.get(f"/v1/endpoints/{made['id']}"))["name"] == "ops"


async def test_the_log_is_read_in_pages_by_admins(locked: Api) -> None:
    """Newest first, without gaps; a key without the scope admin sees none of it."""
    for number in range(5):
        await locked.make_endpoint(name=f"e{number}", url=f"https://example.com/{number}")
        locked.clock.advance(1)
    names, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = await locked.get("/v1/audit", params=query)
        names += [entry["name"] for entry in page["data"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert names == ["e4", "e3", "e2", "e1", "e0"]
    refused: httpx.Response = await locked.http.get("/v1/audit", headers={"authorization": f"Bearer {READER}"})
    assert_refused(refused, 403, "insufficient_scope")


async def test_the_configuration_is_an_actor(store_url: str, clock: Clock) -> None:
    """What it adds, changes and removes at a start is recorded; a start that changes nothing records nothing."""
    named: dict[str, Any] = {"name": "crm", "url": "https://example.com/crm"}
    for endpoints in ([named], [named], [named | {"events": ["job.failed"]}], []):
        async with open_api(store_url, clock, endpoints=endpoints) as api:
            config = api.relay.config
            await api.relay.reload(lambda config=config: config)  # type: ignore[misc]
            entries = (await api.get("/v1/audit"))["data"][::-1]
        clock.advance(1)
    assert [(one["action"], one["via"], one["name"], one["detail"]) for one in entries] == [
        ("endpoint.created", "configuration", "crm", {"format": "standard"}),
        ("endpoint.changed", "configuration", "crm", {"fields": ["events"]}),
        ("endpoint.deleted", "configuration", "crm", {}),
    ]


async def test_the_page_shows_the_log(locked: Api) -> None:
    """To admins, by kind."""
    await locked.make_endpoint(name="ops", url=URL)
    await locked.http.post("/login", data={"api_key": ADMIN})
    page = (await locked.http.get("/audit", headers=HTML)).text
    assert "endpoint.created" in page
    assert "key ops" in page
    assert URL_TOKEN not in page
    assert "No entries match." in (await locked.http.get("/audit?action=key.revoked", headers=HTML)).text
    locked.http.cookies.clear()
    await locked.http.post("/login", data={"api_key": READER})
    assert (await locked.http.get("/audit", headers=HTML)).status_code == 403
