"""Filters of jobs and deliveries over HTTP, and resending what they select."""

from typing import Any

import pytest
from sqlalchemy import update

from relay.model import EventType
from relay.store.engine import paging
from relay.store.engine.database import Tx
from relay.store.engine.schema import deliveries
from tests.web.conftest import Api, assert_refused

DELIVERIES, JOBS = "/v1/deliveries", "/v1/jobs"


async def filled(api: Api) -> dict[str, str]:
    """Three jobs, each with a delivery that ended: answered 200, answered 503, and not answered. Their ids, by job."""
    await api.make_endpoint(name="crm", url="https://crm.example/hook", events=["job.failed"])
    await api.register("j1", metadata={"customer": "Acme", "deal": {"id": 4711}})
    await api.register(
        "j2", metadata={"customer": "Globex", "note": '"customer": "Acme"'}, callback_url="https://b.example/"
    )
    await api.register("j3", callback_url="https://c.example/")
    types = {"j1": EventType.COMPLETED, "j2": EventType.COMPLETED, "j3": EventType.CANCELLED}
    ids = {job: (await api.deliver(job, type))[0] for job, type in types.items()}
    for job, status, code in (("j1", "delivered", 200), ("j2", "failed", 503), ("j3", "failed", None)):
        values = {"status": status, "status_code": code, "attempts": 1, "ended_at": api.clock()}
        query = update(deliveries).where(deliveries.c.id == ids[job]).values(**values, next_attempt_at=None)
        await api.relay.store.write(lambda tx, query=query: tx.execute(query))  # type: ignore[misc]
        api.clock.advance(1_000)
    return ids


SELECTED: list[tuple[dict[str, str], set[str]]] = [
    ({"event_type": "job.cancelled"}, {"j3"}),
    ({"http_status": "503"}, {"j2"}),
    ({"http_status": "5xx"}, {"j2"}),
    ({"http_status": "2xx"}, {"j1"}),
    ({"http_status": "none"}, {"j3"}),
    ({"metadata": "customer=acme"}, {"j1"}),
    ({"metadata": "id=4711"}, {"j1"}),
    ({"metadata": "id=471"}, set()),
    ({"metadata": "customer=%"}, set()),
    ({"workspace": "default"}, {"j1", "j2", "j3"}),
    (
        {"workspace": "default", "http_status": "5xx", "metadata": "customer=globex", "event_type": "job.completed"},
        {"j2"},
    ),
]


async def test_filters_select_jobs_and_deliveries(any_api: Api) -> None:
    """By event, HTTP status of the last attempt, and metadata, alone and together, on each database."""
    await filled(any_api)
    for query, jobs in SELECTED:
        for path in (DELIVERIES, JOBS):
            rows = (await any_api.get(path, params=query))["data"]
            assert {row["job_id"] for row in rows} == jobs, (path, query)


async def test_jobs_are_filtered_by_endpoint_and_time(any_api: Api) -> None:
    """An endpoint by its registrations and deliveries; times of the registration, `until` not included."""
    ids = await filled(any_api)
    endpoint = (await any_api.get(f"{DELIVERIES}/{ids['j2']}"))["endpoint"]["id"]

    async def found(**query: str) -> list[str]:
        return [row["job_id"] for row in (await any_api.get(JOBS, params=query))["data"]]

    assert await found(endpoint=endpoint) == ["j2"]
    assert await found(endpoint="crm") == []
    assert await found(endpoint=endpoint, http_status="200") == []
    assert set(await found(since="2024-03-01T12:00:00Z", until="2024-03-01T12:00:01Z")) == {"j1", "j2", "j3"}
    assert await found(since="2024-03-01T12:00:01Z") == []


async def test_a_page_tests_a_bounded_number_of_rows_and_goes_on(any_api: Api) -> None:
    """A page without a match has a cursor, and following it finds every match once."""
    for number in range(6):
        await any_api.register(f"j{number}", metadata={"odd": number % 2})
        await any_api.deliver(f"j{number}")
        any_api.clock.advance(1_000)

    def walk(tx: Tx) -> list[int]:
        from relay.store.tables import deliveries
        from relay.store.tables.filters import DeliveryFilter, MetadataPair

        sizes, page = [], paging.Page(10, None, 2)
        while True:
            rows, cursor = deliveries.page(tx, page, DeliveryFilter(metadata=MetadataPair("odd", "1")))
            sizes.append(len(rows))
            if cursor is None:
                return sizes
            page = page._replace(cursor=cursor)

    sizes = await any_api.relay.store.read(walk)
    assert (sum(sizes), max(sizes)) == (3, 1)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"http_status": "6xx"}, "http_status"),
        ({"http_status": "20"}, "http_status"),
        ({"metadata": "acme"}, "metadata"),
    ],
)
async def test_malformed_filters_are_explained(api: Api, query: dict[str, str], field: str) -> None:
    """With an example of what to write instead."""
    for path in (DELIVERIES, JOBS):
        message = assert_refused(await api.http.get(path, params=query), 400, _code(field), field)
        assert "such as" in message


def _code(field: str) -> str:
    return "invalid_metadata" if field == "metadata" else "invalid_field"


async def test_a_lost_plus_is_explained(api: Api) -> None:
    """A + that was not encoded is a space: no empty list, but a refusal that says how to write it."""
    for path in (DELIVERIES, JOBS):
        answer = await api.http.get(f"{path}?since=2024-03-01T10:00:00+02:00")
        assert "%2B" in assert_refused(answer, 400, "invalid_field", "since")


async def resend(api: Api, **body: Any) -> Any:
    return (await api.http.post(f"{DELIVERIES}/resend", json=body)).json()


async def test_what_filters_select_is_resent(any_api: Api) -> None:
    """Counted first, then resent by who asked; what does not match stays."""
    ids = await filled(any_api)
    selected = {"status": "failed", "http_status": "5xx", "metadata": "customer=globex"}
    assert (await resend(any_api, **selected, dry_run=True))["count"] == 1
    assert (await resend(any_api, **selected))["count"] == 1
    statuses = {job: (await any_api.get(f"{DELIVERIES}/{id}"))["status"] for job, id in ids.items()}
    assert statuses == {"j1": "delivered", "j2": "pending", "j3": "failed"}


async def test_named_deliveries_are_resent(any_api: Api) -> None:
    """Whatever their status; those that are pending are skipped, unknown ones are not counted."""
    ids = await filled(any_api)
    await any_api.register("j4", callback_url="https://d.example/")
    [pending] = await any_api.deliver("j4")
    answer = await resend(any_api, ids=[ids["j1"], ids["j3"], pending, "dlv_unknown"])
    assert (answer["count"], answer["skipped"]) == (2, 0)
    assert (await any_api.get(f"{DELIVERIES}/{ids['j2']}"))["status"] == "failed"
    assert_refused(await any_api.http.post(f"{DELIVERIES}/resend", json={}), 400, "missing_field", "status")


async def test_a_replay_over_http(any_api: Api) -> None:
    """Counted, started, listed and stopped; a second one, and one of a disabled endpoint, are refused by name."""
    ids = await filled(any_api)
    endpoint = (await any_api.get(f"{DELIVERIES}/{ids['j1']}"))["endpoint"]["id"]
    path, since = f"/v1/endpoints/{endpoint}", "2024-03-01T12:00:00Z"
    assert await any_api.post(f"{path}/replay", {"since": since, "dry_run": True}, 200) == {"count": 1}
    assert await any_api.post(f"{path}/replay", {"since": "2024-03-01T13:00:00Z", "dry_run": True}, 200) == {"count": 0}
    started = await any_api.post(f"{path}/replay", {"since": since}, 202)
    assert (started["sent"], started["ended_at"], started["since"]) == (0, None, "2024-03-01T12:00:00.000Z")
    again = await any_api.http.post(f"{path}/replay", json={"since": since})
    assert "goes on" in assert_refused(again, 409, "replay_active")
    [stopped] = (await any_api.post(f"{path}/stop-replay", None, 200))["data"]
    assert (stopped["id"], stopped["reason"]) == (started["id"], "stopped")
    assert (await any_api.get(f"{path}/replays"))["data"] == [stopped]
    await any_api.post(f"{path}/disable", None, 200)
    refused = await any_api.http.post(f"{path}/replay", json={"since": since})
    assert "is disabled: disabled by hand" in assert_refused(refused, 409, "endpoint_disabled")
    unknown = await any_api.http.post("/v1/endpoints/ep_none/replay", json={"since": since})
    assert_refused(unknown, 404, "endpoint_not_found")
