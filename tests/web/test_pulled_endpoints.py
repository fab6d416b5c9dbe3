"""Endpoints with `pull:` in place of a URL: nothing is sent, subscribers read the feed and verify what they read."""

from typing import Any

import pytest
from pydantic import SecretStr

from relay import verify
from relay.config import EndpointSection
from relay.endpoints import admin
from relay.model import EventType
from relay.store.tables import endpoints
from tests.web.conftest import Api, assert_refused
from tests.web.waiting import Served, end, served_relay, started

PULLED = {"name": "warehouse", "url": "pull:", "events": ["job.completed", "job.failed"]}


async def pull(served: Served, endpoint: str, after: str = "0") -> list[dict[str, Any]]:
    answer = await served.http.get("/v1/events", params={"endpoint": endpoint, "after": after})
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows


async def test_it_has_events_and_no_deliveries(store_url: str) -> None:
    """Its own kinds of events, in order, each signed with the secret that only its creation showed."""
    async with served_relay(store_url) as served:
        made = await served.http.post("/v1/endpoints", json=PULLED)
        assert (made.status_code, made.json()["url"], made.json()["kind"]) == (201, "pull:", "standing")
        again = await served.http.post("/v1/endpoints", json=PULLED)
        assert (again.status_code, again.json()["id"]) == (200, made.json()["id"])
        await served.register("j1", "j2")
        await started(served.relay, "j1")
        await end(served.relay, "j2", EventType.FAILED)
        await end(served.relay, "j1")
        rows = await pull(served, "warehouse")
        assert [(row["type"], row["job_id"]) for row in rows] == [("job.failed", "j2"), ("job.completed", "j1")]
        assert [row["job_id"] for row in await pull(served, made.json()["id"], rows[0]["cursor"])] == ["j1"]
        signed = rows[1]["signed"]
        event = verify(signed["headers"], signed["body"], made.json()["secret"], tolerance=None)
        assert event["data"]["job"]["id"] == "j1"
        deliveries = (await served.http.get("/v1/deliveries", params={"endpoint": made.json()["id"]})).json()
        assert deliveries["data"] == []


async def test_a_registration_may_name_it(store_url: str) -> None:
    """The job is watched, and its end is in the feed; still nothing is sent."""
    async with served_relay(store_url) as served:
        made = (await served.http.post("/v1/endpoints", json=PULLED)).json()
        answer = await served.http.post("/v1/registrations", json={"job_id": "j1", "endpoint": "warehouse"})
        assert answer.status_code == 201, answer.text
        await end(served.relay, "j1")
        [row] = await pull(served, "warehouse")
        assert row["job_id"] == "j1"
        assert (await served.http.get("/v1/deliveries")).json()["data"] == []
        removed = await served.http.delete(f"/v1/endpoints/{made['id']}")
        assert removed.status_code == 204
        answer = await served.http.get("/v1/events", params={"endpoint": "warehouse", "after": "0"})
        assert_refused(answer, 400, "unknown_endpoint", "endpoint")


async def test_what_sending_needs_is_refused(api: Api) -> None:
    """Whatever would never happen is said when it is asked for."""
    post = api.http.post
    assert_refused(await post("/v1/endpoints", json={"url": "pull:"}), 400, "missing_field", "name")
    for field, value in (
        ("headers", {"x-key": "1"}),
        ("quiet", "22:00-07:00 UTC"),
        ("digest", "5m"),
        ("fallback", "other"),
    ):
        answer = await post("/v1/endpoints", json={**PULLED, field: value})
        assert_refused(answer, 400, f"{field}_not_possible", field)
    answer = await post("/v1/registrations", json={"job_id": "j1", "callback_url": "pull:"})
    assert_refused(answer, 400, "invalid_url", "callback_url")
    made = (await post("/v1/endpoints", json=PULLED)).json()
    for call in ("test", "disable"):
        answer = await post(f"/v1/endpoints/{made['id']}/{call}")
        assert_refused(answer, 409, "endpoint_pulled")
        assert "GET /v1/events?endpoint=warehouse" in answer.json()["error"]["message"]
    answer = await api.http.patch(f"/v1/endpoints/{made['id']}", json={"url": "https://example.com/"})
    assert_refused(answer, 400, "invalid_url", "url")
    answer = await api.http.patch(f"/v1/endpoints/{made['id']}", json={"events": ["job.failed"]})
    assert (answer.status_code, answer.json()["events"], answer.json()["url"]) == (200, ["job.failed"], "pull:")
    pushed = await api.make_endpoint(name="pushed")
    assert_refused(
        await api.http.patch(f"/v1/endpoints/{pushed['id']}", json={"url": "pull:"}), 400, "invalid_url", "url"
    )


async def test_the_configuration_may_define_it(api: Api) -> None:
    """And removes it; its page says how it is read."""
    section = EndpointSection.model_validate({"name": "warehouse", "url": "pull:"})
    relay = api.relay
    await relay.store.write(lambda tx: admin.sync_configured(tx, [section], relay.rules, api.clock()))
    made = await relay.store.read(lambda tx: endpoints.by_name(tx, "warehouse"))
    assert made is not None
    assert (made.is_pulled, made.host, made.format) == (True, "", "standard")
    pushed = section.model_copy(update={"url": SecretStr("https://example.com/")})
    await relay.store.write(lambda tx: admin.sync_configured(tx, [pushed], relay.rules, api.clock()))
    await api.register("j1", callback_url=None)
    [delivery] = await api.deliver("j1")
    await relay.store.write(lambda tx: admin.sync_configured(tx, [section], relay.rules, api.clock()))
    cancelled = await api.get(f"/v1/deliveries/{delivery}")
    assert (cancelled["status"], "read from the feed" in cancelled["reason"]) == ("cancelled", True)
    removed = await relay.store.write(lambda tx: admin.sync_configured(tx, [], relay.rules, api.clock()))
    assert removed == [made.id]


@pytest.mark.parametrize("text", ["PULL:", "pull://x", "pull:warehouse"])
async def test_another_text_is_no_url(api: Api, text: str) -> None:
    """It is written in one way."""
    assert_refused(await api.http.post("/v1/endpoints", json={**PULLED, "url": text}), 400, "invalid_url", "url")
