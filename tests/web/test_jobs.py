"""Jobs over HTTP."""

from dataclasses import replace
from typing import Any

import pytest

from relay.model import EventType, ScenarioJob
from relay.model.duration_history import DurationHistory
from relay.model.poll_result import JobFound, Poll, PollFailed
from relay.polling.schedule.job_durations import fit_distribution
from relay.store.engine.database import Tx
from relay.store.tables import polls, watches
from tests.conftest import Clock
from tests.web.conftest import EXEC_KEY, Api, assert_refused, open_api

PRIOR = fit_distribution(DurationHistory())
EXEC_JOB = {
    "id": "j1",
    "status": "processing",
    "scenario": None,
    "created_at": "2024-03-01T12:00:00+00:00",
    "progress": {"of": "a kind unknown here", "n": 1.50},
}


async def poll(api: Api, job_id: str = "j1") -> None:
    """What the watcher does with two polls, one that failed and one that saw the job."""

    def work(tx: Tx) -> None:
        watch = watches.find(tx, job_id, None)
        assert watch is not None
        seen = ScenarioJob.model_validate(EXEC_JOB)
        for at, poll_result in ((1, PollFailed("timeout", "no answer in time")), (2, JobFound(seen))):
            polls.add(tx, watch, Poll(api.clock() + at, 40, poll_result))
        watches.save(tx, replace(watch, job=seen, polls=2, last_poll_at=api.clock() + 2, next_poll_reason="half-way"))

    await api.relay.store.write(work)


async def test_a_job_is_shown_with_polls_registrations_and_deliveries(any_api: Api) -> None:
    """Exec's job unchanged, polls made and planned, registrations, deliveries, and the latest polls."""
    made = await any_api.register()
    await poll(any_api)
    await any_api.deliver(type=EventType.COMPLETED)
    job = await any_api.get("/v1/jobs/j1")
    [registration] = job.pop("registrations")
    [delivery] = job.pop("deliveries")
    assert registration["id"] == made["id"]
    assert (delivery["event_type"], delivery["endpoint"]["id"]) == ("job.completed", made["endpoint"]["id"])
    assert job == {
        "job_id": "j1",
        "workspace": "default",
        "state": "active",
        "ended": False,
        "job": EXEC_JOB,
        "polls": 2,
        "last_poll_at": "2024-03-01T12:00:00.002Z",
        "next_poll_at": "2024-03-01T12:00:00.000Z",
        "next_poll_reason": "half-way",
        "last_error": None,
        "exec_callback": False,
        "callback_received_at": None,
        "created_at": "2024-03-01T12:00:00.000Z",
        "ended_at": None,
        "held_until": None,
        "hold_reason": None,
        "budget": {"minute": {"left": 48, "of": 48}, "day": {"left": 800, "of": 800}},
        "durations": {"seen": 0, "median": round(PRIOR.median, 1), "p90": round(PRIOR.p90, 1), "queued": 5.0},
        "history": [
            {"at": "2024-03-01T12:00:00.001Z", "duration_ms": 40, "outcome": "timeout", "detail": "no answer in time"},
            {"at": "2024-03-01T12:00:00.002Z", "duration_ms": 40, "outcome": "seen", "detail": "processing"},
        ],
    }


async def test_jobs_are_listed_by_state(any_api: Api) -> None:
    """Newest first, each without its history; by state."""
    for number in range(3):
        any_api.clock.advance(1)
        made = await any_api.register(f"j{number}")
    await any_api.http.delete(f"/v1/registrations/{made['id']}")
    found = await any_api.get("/v1/jobs", params={"limit": 2})
    assert [row["job_id"] for row in found["data"]] == ["j2", "j1"]
    rest = await any_api.get("/v1/jobs", params={"limit": 2, "cursor": found["next_cursor"]})
    assert [row["job_id"] for row in rest["data"]] == ["j0"]
    assert rest["next_cursor"] is None
    assert "history" not in rest["data"][0]
    for state, jobs in (("withdrawn", ["j2"]), ("active", ["j1", "j0"]), ("settled", [])):
        rows = (await any_api.get("/v1/jobs", params={"state": state}))["data"]
        assert [row["job_id"] for row in rows] == jobs


async def test_one_job_id_in_two_workspaces_is_two_jobs(store_url: str, clock: Clock) -> None:
    """Without a workspace the newest is shown, with rows of its workspace only."""
    spaces = [{"name": name, "api_key": EXEC_KEY + name} for name in ("emea", "apac")]
    async with open_api(store_url, clock, exec={}, workspaces=spaces) as api:
        for name in ("emea", "apac"):
            clock.advance(1)
            await api.register(workspace=name, callback_url=f"https://{name}.example/")
        assert (await api.get("/v1/jobs/j1"))["workspace"] == "apac"
        job = await api.get("/v1/jobs/j1", params={"workspace": "emea"})
        assert job["workspace"] == "emea"
        assert [row["endpoint"]["url"] for row in job["registrations"]] == ["https://emea.example/…"]
        found = (await api.get("/v1/jobs", params={"workspace": "emea"}))["data"]
        assert [row["workspace"] for row in found] == ["emea"]
        unnamed = await api.http.post("/v1/registrations", json={"job_id": "j1"})
        message = assert_refused(unnamed, 400, "unknown_workspace", "workspace")
        assert "apac, emea" in message


@pytest.mark.parametrize("query", [{}, {"workspace": "default"}])
async def test_an_unregistered_job_gets_404(api: Api, query: dict[str, Any]) -> None:
    """404 says how to have it watched."""
    answer = await api.http.get("/v1/jobs/unknown", params=query)
    assert "register" in assert_refused(answer, 404, "job_not_found")


@pytest.mark.parametrize("status", ["COMPLETED", "canceled", "succeeded", "completed "])
async def test_a_status_that_the_relay_does_not_know_is_shown(api: Api, status: str) -> None:
    """In the list and of the one job; the job is polled on."""
    await api.register()

    def see(tx: Tx, status: str) -> None:
        watch = watches.get_for_update(tx, "default", "j1")
        assert watch is not None
        watches.save(tx, replace(watch, job=ScenarioJob(id="j1", status=status)))

    await api.relay.store.write(lambda tx: see(tx, status))
    [listed] = (await api.get("/v1/jobs"))["data"]
    assert (listed["unknown_status"], listed["state"]) == (status, "active")
    assert (await api.get("/v1/jobs/j1"))["unknown_status"] == status
    await api.relay.store.write(lambda tx: see(tx, "processing"))
    assert "unknown_status" not in await api.get("/v1/jobs/j1")
