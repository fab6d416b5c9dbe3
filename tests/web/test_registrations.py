"""POST, GET and DELETE of registrations."""

import asyncio
import re
from typing import Any

import pytest
from sqlalchemy import Connection, event

from relay.model import EventType
from relay.signing import standard_webhooks
from relay.store.tables import endpoints
from tests.conftest import Clock
from tests.make import make_endpoint
from tests.web.conftest import SECRET, Api, assert_refused, open_api

REGISTRATIONS = "/v1/registrations"


async def test_a_registration_is_created(any_api: Api) -> None:
    """201 with the job, the masked endpoint, its secret, the events, the metadata and the time; and the job is due."""
    answer = await any_api.http.post(
        REGISTRATIONS,
        json={
            "job_id": "j1o2b3i4d5x6",
            "callback_url": "https://hooks.slack.com/services/T0/B0/hidden",
            "events": ["job.completed", "job.failed", "job.completed"],
            "metadata": {"team": "sales", "deep": [{"er": None}]},
        },
    )
    made = answer.json()
    assert answer.status_code == 201
    secret = made["endpoint"].pop("secret")
    standard_webhooks.check_secret(secret)
    assert made == {
        "id": made["id"],
        "job_id": "j1o2b3i4d5x6",
        "workspace": "default",
        "status": "active",
        "endpoint": {"id": made["endpoint"]["id"], "url": "https://hooks.slack.com/…", "format": "slack"},
        "events": ["job.completed", "job.failed"],
        "metadata": {"team": "sales", "deep": [{"er": None}]},
        "created_at": "2024-03-01T12:00:00.000Z",
        "requested_by": None,
        "trace_id": made["trace_id"],
    }
    assert re.fullmatch("[0-9a-f]{32}", made["trace_id"])
    assert answer.headers["location"] == f"/v1/registrations/{made['id']}"
    assert (made["id"][:4], made["endpoint"]["id"][:3]) == ("reg_", "ep_")
    assert any_api.relay.woken == 1
    assert await any_api.stored() == {"endpoints": 1, "registrations": 1, "watches": 1}
    assert await any_api.get(answer.headers["location"]) == made


async def test_a_registration_reads_nothing_beside_its_own_transaction(api: Api) -> None:
    """With a URL of its own: another read takes a third as long as the registration."""
    begun = list[Connection]()
    await api.register("j1")  # reads the API keys, for the next requests too
    event.listen(api.relay.store._reader, "begin", begun.append)
    await api.register("j2")
    assert begun == []


async def test_a_repeat_finds_the_same_registration(any_api: Api) -> None:
    """The same job and URL again answer 200 with the same id and without the secret; another job is another."""
    first = await any_api.register("j1")
    again = await any_api.register("j1", 200)
    assert again["id"] == first["id"]
    assert "secret" not in again["endpoint"]
    other = await any_api.register("j2")
    assert other["id"] != first["id"]
    assert other["endpoint"]["id"] == first["endpoint"]["id"]


async def test_concurrent_identical_registrations_create_one(any_api: Api) -> None:
    """Forty equal requests at the same time create one registration; one response is 201, with the secret."""
    body = {"job_id": "j1", "callback_url": "https://example.com/callback"}
    answers = await asyncio.gather(*(any_api.http.post(REGISTRATIONS, json=body) for _ in range(40)))
    assert sorted(answer.status_code for answer in answers) == [200] * 39 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("secret" in answer.json()["endpoint"] for answer in answers) == 1
    assert await any_api.stored() == {"endpoints": 1, "registrations": 1, "watches": 1}


async def test_a_registration_names_its_endpoint_by_id_or_name(api: Api) -> None:
    """With neither URL nor endpoint the standing endpoints are notified."""
    made = await api.post("/v1/endpoints", {"name": "ops", "url": "https://example.com/ops"}, 201)
    by_name = await api.post(REGISTRATIONS, {"job_id": "j1", "endpoint": "ops"}, 201)
    by_id = await api.post(REGISTRATIONS, {"job_id": "j1", "endpoint": made["id"]}, 200)
    assert by_name["id"] == by_id["id"]
    shown = {"id": made["id"], "name": "ops", "url": "https://example.com/…", "format": "standard"}
    assert by_name["endpoint"] == shown
    for_all = await api.post(REGISTRATIONS, {"job_id": "j1"}, 201)
    assert for_all["endpoint"] is None


async def test_options_of_a_url_belong_to_its_endpoint(api: Api) -> None:
    """Format, secret and headers identify the endpoint."""
    fields: dict[str, Any] = {"format": "zapier", "secret": SECRET, "headers": {"Authorization": "Bearer hidden"}}
    made = await api.register(**fields)
    assert made["endpoint"]["format"] == "zapier"
    assert made["endpoint"]["secret"] == SECRET
    [endpoint] = (await api.get("/v1/endpoints"))["data"]
    assert endpoint["header_names"] == ["Authorization"]
    assert "hidden" not in str(endpoint)


async def test_odd_texts_are_stored_unchanged(any_api: Api) -> None:
    """NUL, emoji, other scripts, and texts of SQL, in each database."""
    odd = {"nul": "a\u0000b", "emoji": "🦄", "arabic": "مرحبا", "sql": "'); DROP TABLE watches; --", "": [None, 1e-9]}
    made = await any_api.register(metadata=odd)
    assert (await any_api.get(f"{REGISTRATIONS}/{made['id']}"))["metadata"] == odd
    assert [row["metadata"] for row in (await any_api.get("/v1/jobs/j1"))["registrations"]] == [odd]


async def test_nulls_count_as_left_out(api: Api) -> None:
    """A client may send null for fields that it does not set."""
    nothing: dict[str, Any] = {"endpoint": None, "events": None, "secret": None, "workspace": None}
    made = await api.register(**nothing)
    assert len(made["events"]) == 5


async def test_lists_are_filtered_and_paged(any_api: Api) -> None:
    """Newest first, by job, endpoint and status; each page goes on where the last stopped; none twice, none lost."""
    for number in range(7):
        any_api.clock.advance(number % 2)  # some at the same instant
        await any_api.register(f"j{number}")
    any_api.clock.advance(1)
    gone = await any_api.register("j9", callback_url="https://other.example/")
    await any_api.http.delete(f"{REGISTRATIONS}/{gone['id']}")
    seen: list[str] = []
    cursor = None
    while True:
        page = await any_api.get(REGISTRATIONS, params={"limit": 3} | ({"cursor": cursor} if cursor else {}))
        seen += [row["job_id"] for row in page["data"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen[0] == "j9"
    assert sorted(seen) == ["j0", "j1", "j2", "j3", "j4", "j5", "j6", "j9"]

    async def jobs(**query: Any) -> list[str]:
        return sorted(row["job_id"] for row in (await any_api.get(REGISTRATIONS, params=query))["data"])

    assert await jobs(status="withdrawn") == ["j9"]
    assert await jobs(job_id="j3") == ["j3"]
    assert await jobs(endpoint=gone["endpoint"]["id"]) == ["j9"]
    assert await jobs(endpoint="ep_unknown") == []


async def test_withdrawing_a_registration_stops_polling(any_api: Api) -> None:
    """DELETE answers 204, twice too; registering again creates a new registration."""
    made = await any_api.register()
    [delivery] = await any_api.deliver()
    for _ in range(2):
        answer = await any_api.http.delete(f"{REGISTRATIONS}/{made['id']}")
        assert (answer.status_code, answer.content) == (204, b"")
    assert (await any_api.get(f"{REGISTRATIONS}/{made['id']}"))["status"] == "withdrawn"
    assert (await any_api.get(f"/v1/deliveries/{delivery}"))["status"] == "cancelled"
    assert (await any_api.get("/v1/jobs/j1"))["state"] == "withdrawn"
    assert (await any_api.register())["id"] != made["id"]


async def test_an_unknown_registration_gets_404(any_api: Api) -> None:
    """GET and DELETE of a malformed or unknown id, never 500."""
    for id in ("reg_unknown", "%00", "a" * 5_000, "ü", "%F0%9F%A6%84", "reg_'--", "..%2f..%2fx"):
        for method in ("GET", "DELETE"):
            answer = await any_api.http.request(method, f"{REGISTRATIONS}/{id}")
            assert_refused(answer, 404, "unknown_path" if "%2f" in id else "registration_not_found")


async def test_a_late_registration_gets_the_missed_event(api: Api) -> None:
    """A registration of an ended job is settled, and has its delivery."""
    await api.register()
    await api.deliver(type=EventType.STARTED)
    late = await api.register(callback_url="https://late.example/", events=["job.started"])
    found = (await api.get("/v1/deliveries", params={"endpoint": late["endpoint"]["id"]}))["data"]
    assert [row["event_type"] for row in found] == ["job.started"]


# --- batches ---------------------------------------------------------------------------------------------------


async def test_each_item_of_a_batch_has_its_own_result(api: Api) -> None:
    """Results come in order; a wrong item has the path of its field and does not affect the others."""
    await api.register("j1")
    url = "https://example.com/callback"
    items = [
        {"job_id": "j1", "callback_url": url},
        {"job_id": "j2", "callback_url": url},
        {"job_id": "no spaces", "callback_url": url},
        {"job_id": "j3", "callback_url": "https://user:hidden@example.com/"},
        "not an object",
        {"job_id": "j4", "endpoint": "nobody"},
        {"job_id": "j5", "workspace": "nowhere"},
        {"job_id": "j6", "calback_url": url},
        {"job_id": "j2", "callback_url": url},
    ]
    answer = await api.post(f"{REGISTRATIONS}/batch", {"registrations": items})
    results = answer["data"]
    assert [one["status"] for one in results] == [200, 201, 400, 400, 400, 400, 400, 400, 200]
    assert results[8]["registration"]["id"] == results[1]["registration"]["id"]
    assert [(one["error"]["code"], one["error"].get("field")) for one in results if "error" in one] == [
        ("invalid_job_id", "registrations[2].job_id"),
        ("invalid_url", "registrations[3].callback_url"),
        ("invalid_field", "registrations[4]"),
        ("unknown_endpoint", "registrations[5].endpoint"),
        ("unknown_workspace", "registrations[6].workspace"),
        ("unknown_field", "registrations[7].calback_url"),
    ]
    assert "hidden" not in str(answer)
    assert await api.stored() == {"endpoints": 1, "registrations": 2, "watches": 2}


async def test_a_batch_has_at_most_a_thousand_items(api: Api) -> None:
    """One more is refused."""
    items = [{"job_id": f"j{number}"} for number in range(1_001)]
    answer = await api.http.post(f"{REGISTRATIONS}/batch", json={"registrations": items})
    assert_refused(answer, 400, "invalid_field", "registrations")
    assert await api.stored() == {}
    done = await api.post(f"{REGISTRATIONS}/batch", {"registrations": items[:1_000]})
    assert {one["status"] for one in done["data"]} == {201}
    assert await api.stored() == {"registrations": 1_000, "watches": 1_000}
    assert api.relay.woken == 1


async def test_a_registration_at_a_disabled_endpoint_says_so(any_api: Api) -> None:
    """It gives the reason while the endpoint is disabled; an enabled endpoint has none."""
    first = await any_api.register("j1", callback_url="https://example.com/zap")
    id = first["endpoint"]["id"]
    assert "enabled" not in first["endpoint"]
    await any_api.post(f"/v1/endpoints/{id}/disable")
    again = await any_api.register("j2", callback_url="https://example.com/zap")
    expected = {"enabled": False, "disabled_reason": "disabled by hand"}
    assert expected.items() <= again["endpoint"].items()
    batch = {"registrations": [{"job_id": "j3", "callback_url": "https://example.com/zap"}]}
    [result] = (await any_api.post(f"{REGISTRATIONS}/batch", batch, 200))["data"]
    assert expected.items() <= result["registration"]["endpoint"].items()
    await any_api.post(f"/v1/endpoints/{id}/enable")
    assert "enabled" not in (await any_api.get(f"{REGISTRATIONS}/{again['id']}"))["endpoint"]


# --- whose they are --------------------------------------------------------------------------------------------

_REGISTER_KEYS = {name: f"relay_{name}_0123456789abcdef" for name in ("sales", "support")}
_READ_KEYS = {name: f"relay_{name}_0123456789abcdef" for name in ("read", "admin")}
_OWNERS = {
    "api_keys": [
        *({"name": name, "key": key, "scopes": ["register"]} for name, key in _REGISTER_KEYS.items()),
        *({"name": name, "key": key, "scopes": ["register", name]} for name, key in _READ_KEYS.items()),
    ]
}


def _as(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {(_REGISTER_KEYS | _READ_KEYS)[name]}"}


@pytest.mark.parametrize("shared_by", [{"endpoint": "ops"}, {}], ids=["one endpoint", "no endpoint"])
async def test_a_registration_belongs_to_the_key_that_made_it(
    sqlite_url: str, clock: Clock, shared_by: dict[str, str]
) -> None:
    """Another key with `register` alone sees none of its metadata and can't withdraw it, alone, in a batch, at once."""
    ops = [{"name": "ops", "url": "https://example.com/ops"}]
    async with open_api(sqlite_url, clock, security=_OWNERS) as api:
        made = await api.http.post("/v1/endpoints", json=ops[0], headers=_as("admin"))
        assert made.status_code == 201
        body = {"job_id": "j1", **shared_by}
        mine = body | {"metadata": {"customer": "ACME"}}
        first = await api.post(REGISTRATIONS, mine, 201, headers=_as("sales"))
        for name in ("sales", "read", "admin"):
            assert (await api.post(REGISTRATIONS, body, headers=_as(name)))["metadata"] == {"customer": "ACME"}
        batch = {"registrations": [body]}
        others = await asyncio.gather(
            *(api.http.post(REGISTRATIONS, json=body, headers=_as("support")) for _ in range(10)),
            *(api.http.post(f"{REGISTRATIONS}/batch", json=batch, headers=_as("support")) for _ in range(10)),
        )
        assert [answer.status_code for answer in others] == [200] * 20
        assert [answer.text for answer in others if "ACME" in answer.text] == []
        path = f"{REGISTRATIONS}/{first['id']}"
        assert_refused(await api.http.delete(path, headers=_as("support")), 404, "registration_not_found")
        assert (await api.get(path, headers=_as("read")))["status"] == "active"
        assert (await api.http.delete(path, headers=_as("sales"))).status_code == 204


@pytest.mark.parametrize("name", ["read", "admin"])
async def test_operators_withdraw_registrations_of_any_key(sqlite_url: str, clock: Clock, name: str) -> None:
    """A key that may read everything may withdraw everything."""
    async with open_api(sqlite_url, clock, security=_OWNERS) as api:
        made = await api.post(REGISTRATIONS, {"job_id": "j1"}, 201, headers=_as("sales"))
        answer = await api.http.delete(f"{REGISTRATIONS}/{made['id']}", headers=_as(name))
        assert answer.status_code == 204


# --- whom they notify ------------------------------------------------------------------------------------------


async def test_a_registration_without_recipient_has_a_warning(any_api: Api) -> None:
    """With an Idempotency-Key and in a batch too; if there is a standing endpoint the response names it."""
    body = {"job_id": "j1"}

    async def answers() -> list[Any]:
        batch = await any_api.post(f"{REGISTRATIONS}/batch", {"registrations": [body, {"job_id": "j2"}]})
        return [
            (await any_api.http.post(REGISTRATIONS, json=body)).json(),
            (await any_api.http.post(REGISTRATIONS, json=body, headers={"Idempotency-Key": f"k{len(named)}"})).json(),
            *(item["registration"] for item in batch["data"]),
        ]

    named: list[str] = []
    for answer in await answers():
        assert answer["endpoints"] == []
        assert "nothing is notified" in answer["warning"]
    named.append((await any_api.make_endpoint())["id"])
    for answer in await answers():
        assert (answer["endpoints"], "warning" in answer) == (named, False)
    own = await any_api.register("j3")
    assert ("endpoints" in own, "warning" in own) == (False, False)


async def test_an_endpoint_for_the_operator_alone_notifies_nobody_of_a_job(api: Api) -> None:
    """It is standing, but gets no events of jobs."""
    await api.relay.store.write(lambda tx: endpoints.add(tx, make_endpoint(name="ops", events=())))
    answer = (await api.http.post(REGISTRATIONS, json={"job_id": "j1"})).json()
    assert answer["endpoints"] == []
    assert "nothing is notified" in answer["warning"]


async def test_a_registration_for_a_disabled_endpoint_is_warned_of(api: Api) -> None:
    """By its name, by its URL, and if it is the only standing one: the notifications are held."""
    id = (await api.make_endpoint(name="crm"))["id"]
    own = (await api.register("j1"))["endpoint"]["id"]
    for one in (id, own):
        await api.relay.disable_endpoint(one, api.clock())
    for body in ({"job_id": "j2", "endpoint": "crm"}, {"job_id": "j3"}):
        answer = (await api.http.post(REGISTRATIONS, json=body)).json()
        assert answer["warning"] == (
            f"the endpoint crm is disabled: its notifications are held until it is enabled with "
            f"POST /v1/endpoints/{id}/enable"
        )
    assert f"/v1/endpoints/{own}/enable" in (await api.register("j4"))["warning"]
    await api.relay.enable_endpoint(id, api.clock())
    assert "warning" not in (await api.http.post(REGISTRATIONS, json={"job_id": "j5", "endpoint": "crm"})).json()
