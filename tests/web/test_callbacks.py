"""Exec's own callbacks: where they arrive, and where people find the URL for Exec."""

import json
import logging
from typing import Any

import pytest

from relay.model import DAY, HOUR
from relay.registration import exec_callback_tokens
from relay.store.engine.database import Store
from relay.store.tables import callback_tokens as tokens
from relay.web.core.request_parsing import MAX_BODY
from tests.conftest import Clock
from tests.web.conftest import Api, assert_refused, open_api
from tests.web.test_auth import KEY, KEYS, bearer
from tests.web.test_middleware import BrokenClock

PUBLIC = "https://relay.example.com"
ENDED = {"id": "j1", "status": "completed"}


async def path_of(api: Api, workspace: str = "default") -> str:
    path: str = (await api.get(f"/v1/workspaces/{workspace}/callback"))["path"]
    return path


async def test_the_callback_url_is_shown(sqlite_url: str, clock: Clock) -> None:
    """One URL for each workspace, always the same, below server.public_url; without that the path, and what to set."""
    async with open_api(sqlite_url, clock, server={"public_url": PUBLIC + "/"}) as api:
        first, again = [await api.get("/v1/workspaces/default/callback") for _ in range(2)]
        assert first == again
        assert first["callback_url"] == PUBLIC + first["path"]
        assert (first["old_token_valid_until"], first["last_callback_at"]) == (None, None)
        assert_refused(await api.http.get("/v1/workspaces/other/callback"), 404, "workspace_not_found")
    async with open_api(sqlite_url, clock) as api:
        without = await api.get("/v1/workspaces/default/callback")
        assert (without["callback_url"], without["path"]) == (None, first["path"])
        assert "server.public_url" in without["text"]


async def test_a_callback_causes_one_poll(any_api: Api) -> None:
    """The hint makes the job due now, wakes the relay, is counted, and says nothing of the job by itself."""
    await any_api.register(exec_callback=True)
    any_api.clock.advance(60_000)
    before, woken = await any_api.get("/v1/jobs/j1"), any_api.relay.woken
    assert await any_api.post(await path_of(any_api), ENDED, 202) == {"job_id": "j1", "poll_scheduled": True}
    after = await any_api.get("/v1/jobs/j1")
    assert before["next_poll_at"] == "2024-03-01T12:15:00.000Z"
    assert "safety" in before["next_poll_reason"]
    assert after["next_poll_at"] == "2024-03-01T12:01:00.000Z"
    assert (after["state"], after["job"], after["next_poll_reason"]) == (
        "active",
        None,
        "Exec's callback says that it ended",
    )
    assert any_api.relay.woken == woken + 1
    assert await any_api.post(await path_of(any_api), ENDED, 202) == {"job_id": "j1", "poll_scheduled": False}
    assert any_api.relay.woken == woken + 1
    metrics = (await any_api.http.get("/metrics")).text
    assert 'relay_exec_callbacks_total{outcome="accepted",workspace="default"} 1.0' in metrics
    assert 'relay_exec_callbacks_total{outcome="ignored",workspace="default"} 1.0' in metrics


async def test_the_token_authorises_callbacks_only(sqlite_url: str, clock: Clock) -> None:
    """Exec has no key of the relay; showing or rotating the URL needs the scope admin."""
    async with open_api(sqlite_url, clock, security={"api_keys": KEYS}) as api:
        shown = (await api.http.get("/v1/workspaces/default/callback", headers=bearer(KEY["admin"]))).json()
        assert (await api.http.post(shown["path"], json=ENDED, headers={"host": "relay.example.com"})).is_success
        token = shown["path"].rpartition("/")[2]
        answer = await api.http.get("/v1/workspaces/default/callback", headers=bearer(token))
        assert_refused(answer, 401, "invalid_api_key")
        answer = await api.http.post("/v1/workspaces/default/callback/rotate", headers=bearer(KEY["read"]))
        assert_refused(answer, 403, "insufficient_scope")


@pytest.mark.parametrize("change", [lambda path: path[:-1], lambda path: path + "x", lambda path: path.swapcase()])
async def test_an_unknown_token_gets_404(api: Api, change: Any) -> None:
    """The response is that of any unknown path, for any body; nothing is stored."""
    path = await path_of(api)
    wrong = exec_callback_tokens.PATH + change(path.rpartition("/")[2])
    nowhere = await api.http.post("/v1/nowhere", json=ENDED)
    bodies: tuple[dict[str, Any], ...] = ({"json": ENDED}, {"content": b"{"}, {"content": b"x" * (MAX_BODY + 1)})
    for body in bodies:
        answer = await api.http.post(wrong, **body)
        assert (answer.status_code, answer.json()) == (404, nowhere.json())
    assert set(await api.stored()) == {"callback_tokens"}


async def test_a_rotated_token_works_for_a_day(any_api: Api) -> None:
    """The new URL and the previous one are accepted for 24 hours; after that, or after another rotation, the old one is
    not."""
    first = await path_of(any_api)
    second = await any_api.post("/v1/workspaces/default/callback/rotate")
    assert second["path"] != first
    assert second["old_token_valid_until"] == "2024-03-02T12:00:00.000Z"
    any_api.clock.advance(DAY - 1)
    for path in (first, second["path"]):
        assert (await any_api.http.post(path, json=ENDED)).status_code == 202
    any_api.clock.advance(1)
    assert (await any_api.http.post(first, json=ENDED)).status_code == 404
    assert (await any_api.get("/v1/workspaces/default/callback"))["old_token_valid_until"] is None
    await any_api.post("/v1/workspaces/default/callback/rotate")
    assert (await any_api.http.post(second["path"], json=ENDED)).status_code == 202
    await any_api.post("/v1/workspaces/default/callback/rotate")
    assert (await any_api.http.post(second["path"], json=ENDED)).status_code == 404


async def test_each_workspace_has_a_token_of_its_own(sqlite_url: str, clock: Clock) -> None:
    """A callback is about a job of the workspace whose token it came with."""
    spaces = [{"name": name, "api_key": f"exec_live_{name * 40}"} for name in "ab"]
    async with open_api(sqlite_url, clock, exec={}, workspaces=spaces) as api:
        await api.post(await path_of(api, "b"), ENDED, 202)
        found = await api.get("/v1/jobs")
        assert [(row["job_id"], row["workspace"]) for row in found["data"]] == [("j1", "b")]


@pytest.mark.parametrize(
    "body", [{"id": "j1"}, {"job_id": "j1"}, {"job": {"id": "j1"}}, {"data": {"id": "j1"}}, {"id": 7, "job_id": "j1"}]
)
async def test_the_job_id_is_found_in_similar_bodies(api: Api, body: Any) -> None:
    """Exec's page says only that the body mirrors the job: no media type is asked for, and close names are taken."""
    path = await path_of(api)
    answer = await api.http.post(path, content=json.dumps(body), headers={"content-type": "text/plain"})
    assert (answer.status_code, answer.json()["job_id"]) == (202, "j1")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"\xff", "invalid_json", None),
        (b"[" * 100_000, "invalid_json", None),
        (b"[]", "invalid_job_id", "id"),
        (b"{}", "invalid_job_id", "id"),
        (b'{"id": "../j1"}', "invalid_job_id", "id"),
        (b'{"id": ["j1"]}', "invalid_job_id", "id"),
    ],
)
async def test_a_body_that_names_no_job_is_refused(api: Api, body: bytes, code: str, field: str | None) -> None:
    """The answer says what is missing; nothing is stored."""
    answer = await api.http.post(await path_of(api), content=body)
    assert_refused(answer, 400, code, field)
    assert set(await api.stored()) == {"callback_tokens"}


async def test_a_body_that_is_too_long_is_refused(api: Api) -> None:
    """256 KiB at most."""
    answer = await api.http.post(await path_of(api), content=b" " * (MAX_BODY + 1))
    assert_refused(answer, 413, "body_too_large")


async def test_hints_of_unknown_jobs_are_limited(any_api: Api) -> None:
    """Fifty jobs a day that nobody knows, then 429; a registered job is not held up; a day later, there is room."""
    path = await path_of(any_api)
    await any_api.register("mine", exec_callback=True)
    for number in range(50):
        await any_api.post(path, {"id": f"made-up-{number}"}, 202)
    answer = await any_api.http.post(path, json={"id": "one-more"})
    assert_refused(answer, 429, "too_many_unknown_jobs")
    assert (await any_api.stored())["watches"] == 51
    assert (await any_api.post(path, {"id": "mine"}, 202))["poll_scheduled"]
    any_api.clock.advance(DAY + 1)
    assert (await any_api.post(path, {"id": "one-more"}, 202))["poll_scheduled"]


async def test_a_registered_job_does_not_count_as_unknown(any_api: Api) -> None:
    """It frees a place for another unknown job."""
    path = await path_of(any_api)
    for number in range(50):
        await any_api.post(path, {"id": f"j{number}"}, 202)
    await any_api.register("j7")
    assert (await any_api.post(path, {"id": "another"}, 202))["poll_scheduled"]


async def test_received_callbacks_are_recorded(any_api: Api) -> None:
    """At most once an hour, so that a flood of callbacks is not written one by one."""
    path = await path_of(any_api)
    for ahead in (0, HOUR - 1, 1):
        any_api.clock.advance(ahead)
        await any_api.post(path, ENDED, 202)
    assert (await any_api.get("/v1/workspaces/default/callback"))["last_callback_at"] == "2024-03-01T13:00:00.000Z"


async def test_tokens_are_absent_from_log_and_repr(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Even if the relay itself fails in the middle of a callback."""
    clock = BrokenClock()
    async with open_api(sqlite_url, clock) as api:
        path = await path_of(api)
        stored = await api.relay.store.read(lambda tx: tokens.get(tx, "default"))
        clock.broken = True
        with caplog.at_level(logging.DEBUG):
            answer = await api.http.post(path, json=ENDED)
        clock.broken = False
    assert_refused(answer, 500, "internal_error")
    token = path.rpartition("/")[2]
    assert stored is not None
    assert token not in repr(stored)
    assert token not in exec_callback_tokens.masked_url(stored, PUBLIC)
    relays = [record.getMessage() for record in caplog.records if record.name == "relay"]
    assert "/v1/exec/callbacks/…" in relays[0]
    assert token not in "".join(relays)


async def test_concurrent_requests_create_one_token(store: Store) -> None:
    """The second one gets the existing token."""
    made = [await store.write(lambda tx: exec_callback_tokens.get_or_create_token(tx, "default")) for _ in range(2)]
    assert made[0] == made[1]
