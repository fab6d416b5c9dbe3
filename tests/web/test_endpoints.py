"""Standing endpoints over HTTP."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from relay.model import SECOND, Secret, to_rfc3339
from relay.process import system_clock
from relay.sandbox.local_server import serve
from relay.sandbox.receiver import Receiver
from relay.signing import standard_webhooks
from relay.store.engine import schema
from relay.store.engine.database import Tx
from relay.store.tables import endpoints
from tests.conftest import Clock
from tests.web.conftest import OTHER_SECRET, SECRET, Api, assert_refused, open_api, shared

ENDPOINTS = "/v1/endpoints"
SLACK = "https://hooks.slack.com/services/T0/B0/hidden"


async def disable(api: Api, id: str) -> None:
    """What the dispatcher does after a 410."""

    def work(tx: Tx) -> None:
        found = endpoints.get(tx, id)
        assert found is not None
        reason = "the receiver unsubscribed (410 Gone)"
        endpoints.save_health(tx, replace(found, disabled_at=api.clock(), disabled_reason=reason))

    await api.relay.store.write(work)


async def test_an_endpoint_is_created(api: Api) -> None:
    """201 with its secret, once; later responses contain neither the secret nor the URL's path."""
    answer = await api.http.post(ENDPOINTS, json={"name": "sales", "url": SLACK, "headers": {"X-A": "hidden"}})
    assert answer.status_code == 201
    made = answer.json()
    standard_webhooks.check_secret(made.pop("secret"))
    assert made == {
        "id": made["id"],
        "name": "sales",
        "kind": "standing",
        "source": "api",
        "url": "https://hooks.slack.com/…",
        "format": "slack",
        "events": ["job.completed", "job.failed", "job.cancelled"],
        "template": None,
        "signing": "hmac",
        "public_key": None,
        "header_names": ["X-A"],
        "quiet": None,
        "digest": None,
        "fallback": None,
        "enabled": True,
        "disabled_at": None,
        "disabled_reason": None,
        "paused_until": None,
        "failing_since": None,
        "failures": 0,
        "created_at": "2024-03-01T12:00:00.000Z",
    }
    assert answer.headers["location"] == f"{ENDPOINTS}/{made['id']}"
    assert await api.get(f"{ENDPOINTS}/{made['id']}") == made
    listed = made | {"last_day": {"attempts": 0, "succeeded": 0}}
    assert await api.get(ENDPOINTS) == {"data": [listed], "next_cursor": None}
    assert "hidden" not in answer.text


async def test_zapier_subscribes_and_unsubscribes(any_api: Api) -> None:
    """`hookUrl` is the URL's other name; subscribing twice is once; DELETE by the id unsubscribes."""
    body = {"hookUrl": "https://hooks.zapier.com/hooks/standard/1/hidden/"}
    made = await any_api.post(ENDPOINTS, body, 201)
    again = await any_api.post(ENDPOINTS, body, 200)
    assert again["id"] == made["id"]
    assert (made["format"], made["name"]) == ("zapier", None)
    assert "secret" not in again
    assert (await any_api.http.delete(f"{ENDPOINTS}/{made['id']}")).status_code == 204
    assert await any_api.stored() == {}


@pytest.mark.parametrize("since", ["it was rotated", "it was changed and back", "it is of an early version's store"])
async def test_an_existing_endpoint_is_not_created_twice(any_api: Api, since: str) -> None:
    """The same request without a name returns the existing endpoint, whatever changed in between."""
    body = {"url": "https://example.com/unnamed"}
    made = await any_api.post(ENDPOINTS, body, 201)
    at = f"{ENDPOINTS}/{made['id']}"
    if since == "it was rotated":
        await any_api.post(f"{at}/rotate-secret")
    elif since == "it was changed and back":
        for url in ("https://example.com/other", "https://example.com/unnamed"):
            assert (await any_api.http.patch(at, json={"url": url})).status_code == 200
    else:
        early = update(schema.endpoints).values(fingerprint="standing:0123:job.completed")
        await any_api.relay.store.write(lambda tx: tx.execute(early))
    for _ in range(2):
        assert (await any_api.post(ENDPOINTS, body, 200))["id"] == made["id"]
    other = await any_api.post(ENDPOINTS, body | {"secret": OTHER_SECRET}, 201)
    assert other["id"] != made["id"]
    assert await any_api.stored() == {"endpoints": 2}


async def test_a_name_belongs_to_one_endpoint(any_api: Api) -> None:
    """The same request is 200; the same name with other values is 409, and says how to change it."""
    made = await any_api.make_endpoint(secret=SECRET)
    assert (await any_api.make_endpoint(200))["id"] == made["id"]
    assert (await any_api.make_endpoint(200, secret=SECRET, format="standard"))["id"] == made["id"]
    for other in (
        {"url": "https://example.com/other"},
        {"events": ["job.failed"]},
        {"format": "zapier"},
        {"headers": {"a": "b"}},
        {"secret": OTHER_SECRET},
    ):
        answer = await any_api.http.post(ENDPOINTS, json={"name": "ops", "url": "https://example.com/ops"} | other)
        assert f"PATCH /v1/endpoints/{made['id']}" in assert_refused(answer, 409, "endpoint_exists", "name")
    assert await any_api.stored() == {"endpoints": 1}


@shared
@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"name": "ops"}, "missing_field", "url"),
        ({"url": SLACK, "hookUrl": SLACK}, "two_urls", "hookUrl"),
        ({"url": "http://example.com/"}, "https_required", "url"),
        ({"hookUrl": "https://10.0.0.1/hidden"}, "blocked_address", "hookUrl"),
        ({"url": SLACK, "name": "Ops"}, "invalid_name", "name"),
        ({"url": SLACK, "name": "ep_01JC4ZJ5QX"}, "invalid_name", "name"),
        ({"url": SLACK, "name": ""}, "invalid_name", "name"),
        ({"url": SLACK, "secret": "hidden"}, "invalid_secret", "secret"),
        ({"url": SLACK, "format": "xml"}, "unknown_format", "format"),
        ({"url": SLACK, "callback_url": "x"}, "unknown_field", "callback_url"),
    ],
)
async def test_malformed_endpoints_are_refused(shared_api: Api, body: dict[str, Any], code: str, field: str) -> None:
    """A wrong endpoint is refused by the field at fault, and nothing is stored."""
    before = await shared_api.stored()
    answer = await shared_api.http.post(ENDPOINTS, json=body)
    assert_refused(answer, 400, code, field)
    assert "hidden" not in answer.text
    assert await shared_api.stored() == before


async def test_endpoints_are_listed_by_kind(api: Api) -> None:
    """Standing ones and those of registrations."""
    await api.make_endpoint()
    await api.register()
    for kind in ("standing", "ad_hoc"):
        found = await api.get(ENDPOINTS, params={"kind": kind})
        assert [row["kind"] for row in found["data"]] == [kind]


async def test_an_endpoint_is_found_by_its_name(api: Api) -> None:
    """The one that has it, or none; a text that is no name is refused."""
    made = await api.make_endpoint()
    await api.make_endpoint(name="other", url="https://example.com/other")
    for name, ids in (("ops", [made["id"]]), ("nobody", [])):
        found = await api.get(ENDPOINTS, params={"name": name})
        assert [row["id"] for row in found["data"]] == ids
    assert_refused(await api.http.get(ENDPOINTS, params={"name": "No name"}), 400, "invalid_name", "name")


# --- changes ---------------------------------------------------------------------------------------------------


async def test_patch_changes_only_the_given_fields(any_api: Api) -> None:
    """Secret, id and everything else stay."""
    made = await any_api.make_endpoint(events=["job.failed"], headers={"X-A": "b"})
    secret = made.pop("secret")
    path = f"{ENDPOINTS}/{made['id']}"
    for change, shown in (
        ({"name": "other"}, {"name": "other"}),
        ({"events": ["job.started"]}, {"events": ["job.started"]}),
        ({"headers": {}}, {"header_names": []}),
        ({"url": "https://new.example/x"}, {"url": "https://new.example/…"}),
        ({"format": "zapier"}, {"format": "zapier"}),
    ):
        answer = await any_api.http.patch(path, json=change)
        made |= shown
        assert (answer.status_code, answer.json()) == (200, made)
    assert await any_api.get(path) == made
    assert await any_api.secrets_of(made["id"]) == (Secret(secret),)


async def test_the_format_follows_the_url(api: Api) -> None:
    """A detected format is detected again for another URL; a given one stays."""
    chosen = await api.make_endpoint()
    changed = await api.http.patch(f"{ENDPOINTS}/{chosen['id']}", json={"url": SLACK})
    assert changed.json()["format"] == "slack"
    asked = await api.make_endpoint(name="asked", format="zapier")
    changed = await api.http.patch(f"{ENDPOINTS}/{asked['id']}", json={"url": SLACK})
    assert changed.json()["format"] == "zapier"


BAD_CHANGES = [
    ({}, 400, "missing_field", None),
    ({"name": None}, 400, "missing_field", None),
    ({"name": "taken"}, 409, "endpoint_exists", "name"),
    ({"url": "https://localhost/"}, 400, "blocked_address", "url"),
    ({"events": []}, 400, "invalid_events", "events"),
    ({"headers": {"Host": "x"}}, 400, "invalid_headers", "headers"),
    ({"format": "xml"}, 400, "unknown_format", "format"),
    ({"secret": SECRET}, 400, "unknown_field", "secret"),
]


async def test_malformed_changes_are_refused(api: Api) -> None:
    """A change that can't be leaves the endpoint as it was."""
    made = await api.make_endpoint()
    await api.make_endpoint(name="taken")
    path = f"{ENDPOINTS}/{made['id']}"
    before = await api.get(path)
    for body, status, code, field in BAD_CHANGES:
        assert_refused(await api.http.patch(path, json=body), status, code, field)
        assert await api.get(path) == before


async def test_an_endpoint_of_a_registration_can_not_be_changed(api: Api) -> None:
    """A change would send the notifications of other registrations elsewhere."""
    made = await api.register()
    answer = await api.http.patch(f"{ENDPOINTS}/{made['endpoint']['id']}", json={"url": "https://other.example/"})
    assert_refused(answer, 409, "endpoint_ad_hoc")


async def test_removing_an_endpoint_withdraws_its_registrations(any_api: Api) -> None:
    """204; its pending deliveries are cancelled, jobs without registrations are polled no longer."""
    made = await any_api.make_endpoint()
    registration = await any_api.post("/v1/registrations", {"job_id": "j1", "endpoint": "ops"}, 201)
    [delivery] = await any_api.deliver()
    answer = await any_api.http.delete(f"{ENDPOINTS}/{made['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await any_api.get(f"/v1/registrations/{registration['id']}"))["status"] == "withdrawn"
    assert (await any_api.get("/v1/jobs/j1"))["state"] == "withdrawn"
    shown = await any_api.get(f"/v1/deliveries/{delivery}")
    assert (shown["status"], shown["reason"]) == ("cancelled", "the endpoint was removed")
    assert shown["endpoint"] == {"id": made["id"], "url": None, "format": None}
    assert_refused(await any_api.http.delete(f"{ENDPOINTS}/{made['id']}"), 404, "endpoint_not_found")


GONE = [
    ("GET", "ep_unknown"),
    ("PATCH", "ep_unknown"),
    ("DELETE", "%00"),
    ("POST", "ep_unknown/test"),
    ("POST", "ep_unknown/rotate-secret"),
    ("POST", "ops/enable"),
    ("POST", "ops/disable"),
]


async def test_an_unknown_endpoint_gets_404(api: Api) -> None:
    """Every call on it is 404."""
    for method, path in GONE:
        body = {"name": "x"} if method == "PATCH" else {}
        answer = await api.http.request(method, f"{ENDPOINTS}/{path}", json=body)
        assert_refused(answer, 404, "endpoint_not_found")


# --- disabled, and tried ---------------------------------------------------------------------------------------


async def test_enabling_releases_held_deliveries(api: Api) -> None:
    """They are due now, and the response says how many."""
    made = await api.make_endpoint()
    await disable(api, made["id"])
    [delivery] = await api.deliver()
    held = await api.get(f"/v1/deliveries/{delivery}")
    assert (held["status"], held["held"], held["next_attempt_at"]) == ("pending", True, None)
    woken = api.relay.woken
    enabled = await api.post(f"{ENDPOINTS}/{made['id']}/enable")
    assert (enabled["enabled"], enabled["released"], enabled["disabled_reason"]) == (True, 1, None)
    assert api.relay.woken == woken + 1
    due = await api.get(f"/v1/deliveries/{delivery}")
    assert (due["held"], due["next_attempt_at"]) == (False, "2024-03-01T12:00:00.000Z")
    assert (await api.post(f"{ENDPOINTS}/{made['id']}/enable"))["released"] == 0


async def test_deliveries_of_an_endpoint_disabled_by_hand_are_held(any_api: Api) -> None:
    """Until it is enabled again; disabling twice changes nothing, and an attempt's reason stays."""
    api = any_api
    made = await api.make_endpoint()
    disabled = await api.post(f"{ENDPOINTS}/{made['id']}/disable")
    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "disabled by hand")
    assert disabled["disabled_at"] == "2024-03-01T12:00:00.000Z"
    [delivery] = await api.deliver()
    assert (await api.get(f"/v1/deliveries/{delivery}"))["held"]
    api.clock.advance(SECOND)
    assert await api.post(f"{ENDPOINTS}/{made['id']}/disable") == disabled
    assert (await api.post(f"{ENDPOINTS}/{made['id']}/enable"))["released"] == 1

    await disable(api, made["id"])
    assert (await api.post(f"{ENDPOINTS}/{made['id']}/disable"))["disabled_reason"] != "disabled by hand"


async def test_a_test_event_is_sent_and_not_stored(sqlite_url: str) -> None:
    """A sample event arrives, signed; the response is the attempt, successful or not."""
    clock = Clock(system_clock())  # a verifier goes by the machine's
    receiver = Receiver(SECRET, clock)
    open_to_us = {"allow_http": True, "allow_networks": ["127.0.0.0/8"]}
    async with serve(receiver.app) as url, open_api(sqlite_url, clock, security=open_to_us) as api:
        made = await api.make_endpoint(url=f"{url}/callback", secret=SECRET)
        attempt = await api.post(f"{ENDPOINTS}/{made['id']}/test")
        [received] = receiver.received
        assert received.verified
        assert (attempt["trigger"], attempt["outcome"], attempt["number"]) == ("test", "delivered", 1)
        assert attempt["started_at"] == to_rfc3339(clock())
        for type in ("job.failed", "job.started"):
            await api.post(f"{ENDPOINTS}/{made['id']}/test", {"event": type})
            assert receiver.received[-1].event_type == type
        unknown = await api.http.post(f"{ENDPOINTS}/{made['id']}/test", json={"event": "relay.recovered"})
        assert_refused(unknown, 400, "invalid_field", "event")
        assert len(receiver.received) == 3
        assert await api.stored() == {"endpoints": 1}
    async with open_api(sqlite_url, clock, security=open_to_us) as api:
        failed = await api.post(f"{ENDPOINTS}/{made['id']}/test")  # the receiver is gone
        assert (failed["outcome"], failed["status_code"]) == ("connection", None)


# --- those of the configuration --------------------------------------------------------------------------------


async def test_a_configured_endpoint_can_not_be_changed_by_the_api(sqlite_url: str, clock: Clock) -> None:
    """It can be read, enabled and tested; changing or removing it is 409 and says where to do it."""
    configured = [
        {"name": "ops", "url": "https://example.com/ops", "secret": SECRET},
        {"name": "sales", "url": SLACK},
    ]
    async with open_api(sqlite_url, clock, endpoints=configured) as api:
        await api.relay.start()
        ops, sales = sorted((await api.get(ENDPOINTS))["data"], key=lambda row: str(row["name"]))
        assert (ops["source"], sales["source"]) == ("config", "config")
        path = f"{ENDPOINTS}/{ops['id']}"
        for answer in (
            await api.http.patch(path, json={"events": ["job.failed"]}),
            await api.http.delete(path),
            await api.http.post(f"{path}/rotate-secret"),
        ):
            assert "configuration" in assert_refused(answer, 409, "endpoint_configured")
        assert (await api.post(f"{path}/enable"))["enabled"]
        made_here = await api.post(f"{ENDPOINTS}/{sales['id']}/rotate-secret")
        standard_webhooks.check_secret(made_here["secret"])


async def test_a_subscription_belongs_to_the_key_that_made_it(sqlite_url: str, clock: Clock) -> None:
    """A key with `subscribe` makes, enables and removes endpoints of its own; others are as good as missing."""
    keys = {name: f"relay_{name}_0123456789abcdef" for name in ("zapier", "make", "ops")}
    scopes = {"zapier": ["subscribe"], "make": ["subscribe"], "ops": ["admin"]}
    api_keys = [{"name": name, "key": key, "scopes": scopes[name]} for name, key in keys.items()]

    def by(name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {keys[name]}"}

    async with open_api(sqlite_url, clock, security={"api_keys": api_keys}) as api:
        body = {"hookUrl": "https://hooks.zapier.com/hooks/standard/1/abc/", "format": "zapier"}
        mine = await api.post("/v1/endpoints", body, 201, headers=by("zapier"))
        standing = await api.post("/v1/endpoints", {"url": "https://example.com/x"}, 201, headers=by("ops"))
        for id, name in ((mine["id"], "make"), (standing["id"], "zapier")):
            path = f"/v1/endpoints/{id}"
            assert_refused(await api.http.delete(path, headers=by(name)), 404, "endpoint_not_found")
            assert_refused(await api.http.post(f"{path}/enable", headers=by(name)), 404, "endpoint_not_found")
            assert (await api.http.post(f"{path}/test", headers=by(name))).status_code == 403
        assert (await api.http.post(f"/v1/endpoints/{mine['id']}/enable", headers=by("zapier"))).status_code == 200
        assert (await api.http.delete(f"/v1/endpoints/{mine['id']}", headers=by("zapier"))).status_code == 204
        assert (await api.http.delete(f"/v1/endpoints/{standing['id']}", headers=by("ops"))).status_code == 204
