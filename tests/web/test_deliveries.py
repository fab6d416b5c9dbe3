"""Deliveries over HTTP: listed, shown, sent again."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from relay.model import MINUTE, Attempt, DeliveryStatus, EventType
from relay.store.engine import schema
from relay.store.engine.database import Tx
from relay.store.tables import deliveries, endpoints, outbox
from relay.store.tables.outbox import DeliveryUpdate
from tests.conftest import Clock
from tests.make import claim_due
from tests.web.conftest import Api, assert_refused, open_api

DELIVERIES = "/v1/deliveries"


async def attempt(
    api: Api, id: str, status: DeliveryStatus, next_in: int | None = None, reason: str = "answered 500"
) -> None:
    """Makes one attempt of a due delivery, as the dispatcher does: leases it, sends it, records the result."""
    now = api.clock()
    outcome = "delivered" if status is DeliveryStatus.DELIVERED else "status"
    error = None if outcome == "delivered" else reason

    def work(tx: Tx) -> None:
        [claim] = [claim for claim in claim_due(tx, now, now + MINUTE) if claim.delivery.id == id]
        made = Attempt(
            id=f"att_{id}_{claim.delivery.attempts + 1}",
            delivery_id=id,
            number=claim.delivery.attempts + 1,
            trigger=claim.trigger,
            started_at=now,
            duration_ms=12,
            status_code=204 if error is None else 500,
            outcome=outcome,
            error=error,
            response="",
        )
        settled = DeliveryUpdate(
            delivery_id=id,
            status=status,
            attempts_in_run=claim.delivery.attempts_in_run + 1,
            next_attempt_at=now + next_in if next_in else None,
            ended_at=None if next_in else now,
            reason=error if status is DeliveryStatus.FAILED else None,
            attempt=made,
            lease=claim.lease,
        )
        outbox.record_results(tx, [settled])
        outbox.release(tx, now, "test")

    await api.relay.store.write(work)


async def failed(api: Api, job_id: str = "j1", **fields: Any) -> str:
    """A delivery that failed."""
    await api.register(job_id, **fields)
    [id] = await api.deliver(job_id)
    await attempt(api, id, DeliveryStatus.FAILED)
    return id


async def set_disabled(api: Api, id: str) -> None:
    """The endpoint of this delivery is disabled."""

    def work(tx: Tx) -> None:
        delivery = deliveries.get(tx, id)
        assert delivery is not None
        endpoint = endpoints.get(tx, delivery.endpoint_id)
        assert endpoint is not None
        endpoints.save_health(tx, replace(endpoint, disabled_at=api.clock(), disabled_reason="it was gone"))

    await api.relay.store.write(work)


async def test_a_delivery_is_shown_with_its_attempts(api: Api) -> None:
    """Body, endpoint, registration, every attempt, and how it ended."""
    made = await api.register(metadata={"team": "sales"})
    [id] = await api.deliver()
    await attempt(api, id, DeliveryStatus.PENDING, next_in=5_000)
    api.clock.advance(5_000)
    await attempt(api, id, DeliveryStatus.DELIVERED)
    shown = await api.get(f"{DELIVERIES}/{id}")
    body, log = json.loads(shown.pop("body")), shown.pop("attempt_log")
    assert body["data"]["registration"] == {"id": made["id"], "metadata": {"team": "sales"}}
    endpoint = {"id": made["endpoint"]["id"], "url": "https://example.com/…", "format": "standard"}
    assert shown == {
        "id": id,
        "event_id": shown["event_id"],
        "event_type": "job.completed",
        "workspace": "default",
        "job_id": "j1",
        "endpoint": endpoint,
        "registration_id": made["id"],
        "status": "delivered",
        "digest_id": None,
        "held": False,
        "attempts": 2,
        "http_status": 204,
        "created_at": "2024-03-01T12:00:00.000Z",
        "next_attempt_at": None,
        "ended_at": "2024-03-01T12:00:05.000Z",
        "reason": None,
        "trace_id": made["trace_id"],
    }
    assert [(one["number"], one["trigger"], one["outcome"], one["status_code"], one["error"]) for one in log] == [
        (1, "schedule", "status", 500, "answered 500"),
        (2, "schedule", "delivered", 204, None),
    ]
    assert await api.get(DELIVERIES) == {"data": [shown], "next_cursor": None}


async def test_deliveries_are_filtered(any_api: Api) -> None:
    """By status, job, endpoint, and time of creation: `since` included, `until` not."""
    ids = []
    for number in range(3):
        ids.append(await failed(any_api, f"j{number}", callback_url=f"https://e{number}.example/"))
        any_api.clock.advance(1_000)
    await any_api.register("j9")
    [pending] = await any_api.deliver("j9", EventType.FAILED)
    endpoint = (await any_api.get(f"{DELIVERIES}/{ids[1]}"))["endpoint"]["id"]

    async def found(**query: str) -> list[str]:
        return [row["id"] for row in (await any_api.get(DELIVERIES, params=query))["data"]]

    assert await found() == [pending, *ids[::-1]]
    assert await found(status="failed") == ids[::-1]
    assert await found(status="pending") == [pending]
    assert await found(job_id="j2") == [ids[2]]
    assert await found(endpoint=endpoint) == [ids[1]]
    assert await found(since="2024-03-01T12:00:01Z", until="2024-03-01T12:00:02Z") == [ids[1]]
    assert await found(since="2024-03-01T13:00:01.000+01:00", status="failed") == [ids[2], ids[1]]
    page = await any_api.get(DELIVERIES, params={"limit": 3})
    rest = await any_api.get(DELIVERIES, params={"limit": 3, "cursor": page["next_cursor"]})
    assert [row["id"] for row in page["data"] + rest["data"]] == [pending, *ids[::-1]]


async def test_an_unknown_delivery_gets_404(any_api: Api) -> None:
    """Showing and resending it are 404."""
    for id in ("dlv_unknown", "%00", "a" * 3_000):
        assert_refused(await any_api.http.get(f"{DELIVERIES}/{id}"), 404, "delivery_not_found")
        assert_refused(await any_api.http.post(f"{DELIVERIES}/{id}/resend"), 404, "delivery_not_found")


# --- once more -------------------------------------------------------------------------------------------------


async def test_resending_a_delivery_makes_it_due(any_api: Api) -> None:
    """202; the same body and webhook-id, and the attempt is shown as a resend."""
    id = await failed(any_api)
    before = await any_api.get(f"{DELIVERIES}/{id}")
    any_api.clock.advance(60_000)
    woken = any_api.relay.woken
    again = await any_api.post(f"{DELIVERIES}/{id}/resend", status=202)
    assert (again["status"], again["next_attempt_at"]) == ("pending", "2024-03-01T12:01:00.000Z")
    assert (again["ended_at"], again["reason"], again["event_id"]) == (None, None, before["event_id"])
    assert any_api.relay.woken == woken + 1
    await attempt(any_api, id, DeliveryStatus.DELIVERED)
    after = await any_api.get(f"{DELIVERIES}/{id}")
    assert after["body"] == before["body"]
    assert [(one["number"], one["trigger"]) for one in after["attempt_log"]] == [(1, "schedule"), (2, "resend")]


async def test_resending_a_pending_delivery_sends_it_now(any_api: Api) -> None:
    """It does not wait for its schedule; its attempts are still counted."""
    await any_api.register()
    [id] = await any_api.deliver()
    await attempt(any_api, id, DeliveryStatus.PENDING, next_in=3_600_000)
    any_api.clock.advance(1_000)
    for _ in range(2):
        again = await any_api.post(f"{DELIVERIES}/{id}/resend", status=202)
        assert (again["next_attempt_at"], again["attempts"]) == ("2024-03-01T12:00:01.000Z", 1)


async def test_resending_a_delivery_in_flight_sends_nothing_twice(any_api: Api) -> None:
    """A delivery that is being sent is not sent a second time at once."""
    await any_api.register()
    [id] = await any_api.deliver()
    now = any_api.clock()
    await any_api.relay.store.write(lambda tx: claim_due(tx, now, now + MINUTE, "somebody"))
    again = await any_api.post(f"{DELIVERIES}/{id}/resend", status=202)
    assert again["next_attempt_at"] == "2024-03-01T12:01:00.000Z"


async def test_resending_to_a_removed_endpoint_is_refused(api: Api) -> None:
    """A disabled endpoint has to be enabled first; a removed one is gone."""
    id = await failed(api)
    await set_disabled(api, id)
    endpoint = (await api.get(f"{DELIVERIES}/{id}"))["endpoint"]["id"]
    message = assert_refused(await api.http.post(f"{DELIVERIES}/{id}/resend"), 409, "endpoint_disabled")
    assert f"POST /v1/endpoints/{endpoint}/enable" in message
    await api.http.delete(f"/v1/endpoints/{endpoint}")
    assert_refused(await api.http.post(f"{DELIVERIES}/{id}/resend"), 409, "endpoint_removed")
    assert (await api.get(f"{DELIVERIES}/{id}"))["status"] == "failed"


async def test_resending_all_failed_deliveries(any_api: Api) -> None:
    """A dry run only counts; deliveries of disabled endpoints are skipped and counted."""
    ids = [await failed(any_api, f"j{number}", callback_url=f"https://e{number}.example/") for number in range(4)]
    await set_disabled(any_api, ids[0])
    await any_api.register("j9")
    await any_api.deliver("j9")
    path, woken = f"{DELIVERIES}/resend", any_api.relay.woken
    sure = {"dry_run": False, "remaining": 0, "as_of": "2024-03-01T12:00:00.000Z"}
    dry = await any_api.post(path, {"status": "failed", "dry_run": True})
    assert dry == {**sure, "count": 3, "skipped": 1, "dry_run": True}
    assert any_api.relay.woken == woken
    one = await any_api.post(path, {"status": "failed", "job_id": "j3"}, 202)
    assert one == {**sure, "count": 1, "skipped": 0}
    none = await any_api.post(path, {"status": "failed", "until": "2024-03-01T12:00:00Z"}, 202)
    assert none == {**sure, "count": 0, "skipped": 0}
    rest = await any_api.post(path, {"status": "failed"}, 202)
    assert rest == {**sure, "count": 2, "skipped": 1}
    states = {row["id"]: row["status"] for row in (await any_api.get(DELIVERIES))["data"]}
    assert [states[id] for id in ids] == ["failed", "pending", "pending", "pending"]


async def test_resending_in_batches_has_the_same_result(any_api: Api) -> None:
    """With `limit` and `ended_by` many requests do what one does, and deliveries that fail again are not repeated."""
    ids = sorted([await failed(any_api, f"j{number}") for number in range(5)])
    path = f"{DELIVERIES}/resend"
    as_of = (await any_api.post(path, {"status": "failed", "dry_run": True}))["as_of"]
    step = {"status": "failed", "limit": 2, "ended_by": as_of}
    any_api.clock.advance(1_000)
    first = await any_api.post(path, step, 202)
    assert (first["count"], first["remaining"]) == (2, 3)
    any_api.clock.advance(1_000)
    for id in ids[:2]:
        await attempt(any_api, id, DeliveryStatus.FAILED)
    left = [
        (answer["count"], answer["remaining"]) for answer in [await any_api.post(path, step, 202) for _ in range(3)]
    ]
    assert left == [(2, 1), (1, 0), (0, 0)]
    states = {row["id"]: row["status"] for row in (await any_api.get(DELIVERIES))["data"]}
    assert [states[id] for id in ids] == ["failed", "failed", "pending", "pending", "pending"]


async def test_resending_very_many_blocks_nothing(any_api: Api) -> None:
    """One call for a whole outage runs in batches, between which other work is done."""
    await failed(any_api)
    columns = ", ".join(column.name for column in schema.deliveries.columns if column.name not in ("id", "event_id"))
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)"
    copies = f"{numbers} SELECT 'dlv_c' || i, 'evt_c' || i, {columns} FROM n, deliveries"  # noqa: S608
    store, insert = any_api.relay.store, text(f"INSERT INTO deliveries (id, event_id, {columns}) {copies}")
    await store.write(lambda tx: tx.execute(insert))
    resending = asyncio.create_task(any_api.post(f"{DELIVERIES}/resend", {"status": "failed"}, 202))
    meanwhile = 0
    while not resending.done():
        await store.write(lambda tx: tx.execute(text("SELECT 1")))
        meanwhile += 1
    assert (await resending)["count"] == 4_001
    assert meanwhile >= 8


async def test_delivered_deliveries_can_be_resent(any_api: Api) -> None:
    """If a receiver lost data: only delivered ones, if the request says so."""
    ids = [await failed(any_api, "j1")]
    await any_api.register("j2")
    ids += await any_api.deliver("j2")
    await attempt(any_api, ids[1], DeliveryStatus.DELIVERED)
    answer = await any_api.post(f"{DELIVERIES}/resend", {"status": "delivered"}, 202)
    assert answer["count"] == 1
    states = {row["id"]: row["status"] for row in (await any_api.get(DELIVERIES))["data"]}
    assert [states[id] for id in ids] == ["failed", "pending"]


BAD_RESENDS = [
    ({}, "missing_field", "status"),
    ({"status": "cancelled"}, "invalid_field", "status"),
    ({"status": "failed", "limit": 0}, "invalid_limit", "limit"),
    ({"status": "failed", "limit": "5"}, "invalid_limit", "limit"),
    ({"status": "failed", "dry_run": "yes"}, "invalid_field", "dry_run"),
    ({"status": "failed", "dry_run": 1}, "invalid_field", "dry_run"),
    ({"status": "failed", "since": 1_709_294_400}, "invalid_field", "since"),
    ({"status": "failed", "job_id": "a b"}, "invalid_job_id", "job_id"),
    ({"status": "failed", "endpoint": "nobody"}, "unknown_endpoint", "endpoint"),
    ({"status": "failed", "job": "j1"}, "unknown_field", "job"),
]


async def test_malformed_resends_are_refused(api: Api) -> None:
    """A wrong or empty filter sends nothing."""
    id = await failed(api)
    for body, code, field in BAD_RESENDS:
        assert_refused(await api.http.post(f"{DELIVERIES}/resend", json=body), 400, code, field)
    assert (await api.get(f"{DELIVERIES}/{id}"))["status"] == "failed"


KEYS: dict[str, Any] = {
    "api_keys": [
        {"name": name, "key": f"relay_{name}_0123456789abcdef", "scopes": ["register", "read", *more]}
        for name, more in (("reader", []), ("operator", ["admin"]))
    ]
}


@pytest.mark.parametrize(
    "reason",
    ["the address is not dialled: 10.1.2.3 is private", "no connection: refused; not dialled: fd00::1 is private"],
)
async def test_inside_addresses_are_shown_to_admins_only(sqlite_url: str, clock: Clock, reason: str) -> None:
    """Other keys can't map the operator's network by the errors of their deliveries."""
    async with open_api(sqlite_url, clock, security=KEYS) as api:
        reader, operator = ({"Authorization": f"Bearer {key['key']}"} for key in KEYS["api_keys"])
        api.http.headers.update(operator)
        await api.register()
        [id] = await api.deliver()
        await attempt(api, id, DeliveryStatus.FAILED, reason=reason)
        for path in (DELIVERIES, f"{DELIVERIES}/{id}", "/v1/jobs/j1"):
            shown = await api.http.get(path, headers=reader)
            assert shown.status_code == 200
            assert reason.rpartition(": ")[2] not in shown.text
            assert "a key with the scope admin sees the address" in shown.text
            assert reason in (await api.http.get(path, headers=operator)).text


async def test_pages_show_inside_addresses_to_admins_only(sqlite_url: str, clock: Clock) -> None:
    """Every page that shows why a delivery failed, and the page of its endpoint."""
    error = "the address is not dialled: 10.1.2.3 is private, fd00::1 is private"
    async with open_api(sqlite_url, clock, security=KEYS) as api:
        keys = {key["name"]: key["key"] for key in KEYS["api_keys"]}
        operator = {"Authorization": f"Bearer {keys['operator']}"}
        api.http.headers.update(operator)
        registered = await api.register()
        [id] = await api.deliver()
        await attempt(api, id, DeliveryStatus.FAILED, reason=error)
        pages = [
            "/",
            "/deliveries",
            f"/deliveries/{id}",
            "/jobs/default/j1",
            f"/endpoints/{registered['endpoint']['id']}",
        ]
        shown: dict[str, int] = {}
        for name, key in keys.items():
            api.http.cookies.clear()
            assert (await api.http.post("/login", data={"api_key": key})).status_code == 303
            for path in pages:
                page = await api.http.get(path, headers={"accept": "text/html"})
                assert page.status_code == 200, path
                assert "</html>" in page.text
                shown[name] = shown.get(name, 0) + page.text.count("10.1.2.3") + page.text.count("fd00::1")
        assert shown["reader"] == 0
        assert shown["operator"] >= 4
