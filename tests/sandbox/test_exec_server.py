"""The fake Exec over a real socket, compared with Exec's pages."""

from typing import Any

import httpx
import pytest

from relay.model import MINUTE, SECOND
from relay.sandbox.exec_server import ExecSettings
from relay.sandbox.job_simulation import JobProfile, Outcome
from relay.sandbox.rate_limits import Limits
from tests.sandbox import exec_page
from tests.sandbox.standin import JOBS, KEY, OTHER_KEY, standin

FIXED = JobProfile(median=40 * SECOND, sigma=0)


async def test_job_is_queued_then_processing_then_completed() -> None:
    """Each poll returns JSON in the form of the page, at the times of the page."""
    async with standin(profile=FIXED) as here:
        created = await here.create(exec_page.CREATE)
        assert created.status_code == 201
        body = created.json()
        assert list(body) == [*exec_page.QUEUED, "is_new"]
        assert body.pop("is_new") is True
        assert body == {**exec_page.QUEUED, "id": body["id"], "created_at": "2024-03-01T10:00:00.000Z"}
        seen = []
        for _ in range(3):
            poll = await here.poll(body["id"])
            assert (poll.status_code, poll.headers["content-type"]) == (200, "application/json")
            seen.append((poll.json()["status"], poll.json()["duration_seconds"]))
            here.clock.turn(22_500)
        assert seen == [("queued", None), ("processing", None), ("completed", 40)]


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CANCELLED])
async def test_failed_and_cancelled_jobs(outcome: Outcome) -> None:
    """A failed job has an error and no scenario; a job cancelled by Exec has neither."""
    async with standin() as here:
        job = here.exec.add(lasts=1_000, outcome=outcome)
        here.clock.turn(1_000)
        shown = (await here.poll(job.id)).json()
    assert shown["status"] == outcome
    assert shown["scenario"] is None
    assert (shown["error"] is not None) == (outcome == Outcome.FAILED)
    if outcome == Outcome.FAILED:
        assert list(shown["error"]) == list(exec_page.FAILED["error"])


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", f"Basic {KEY}", KEY, "Bearer exec_live_short", f"Bearer {KEY}x", f"Bearer {OTHER_KEY}"],
)
async def test_invalid_key_gets_401(authorization: str | None) -> None:
    """Missing, malformed and unknown keys get the body of the page, on every call."""
    async with standin() as here:
        job = here.exec.add(lasts=None)
        del here.http.headers["authorization"]
        headers = {} if authorization is None else {"authorization": authorization}
        for method, path in (("GET", f"{JOBS}/{job.id}"), ("DELETE", f"{JOBS}/{job.id}"), ("POST", JOBS)):
            refused = await here.http.request(method, path, headers=headers)
            assert (refused.status_code, refused.json()) == (401, exec_page.UNAUTHORIZED)


async def test_inactive_workspace_gets_403() -> None:
    """Its key gets 403 workspace_inactive."""
    async with standin(inactive_keys=(OTHER_KEY,)) as here:
        refused = await here.poll("abc123", headers={"authorization": f"Bearer {OTHER_KEY}"})
    assert refused.status_code == 403
    assert refused.json()["error"]["type"] == "authorization_error"
    assert refused.json()["error"]["code"] == "workspace_inactive"


async def test_unknown_job_gets_404() -> None:
    """The body is the one of the page, without a code; a job of another workspace is unknown too."""
    async with standin(keys=(KEY, OTHER_KEY)) as here:
        unknown = await here.poll("abc123")
        assert (unknown.status_code, unknown.json()) == (404, exec_page.NOT_FOUND)
        theirs = here.exec.add(key=OTHER_KEY)
        assert (await here.poll(theirs.id)).status_code == 404
        assert (await here.cancel(theirs.id)).status_code == 404
        assert (await here.poll(theirs.id, headers={"authorization": f"Bearer {OTHER_KEY}"})).status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "body"),
    [
        ({"prompt": None}, 400, exec_page.NO_PROMPT),
        ({"prompt": ""}, 400, exec_page.NO_PROMPT),
        ({"prompt": "x" * 10_001}, 400, exec_page.PROMPT_TOO_LONG),
        ({"user_email": "unknown@example.com"}, 400, exec_page.USER_NOT_FOUND),
        ({"scenario_slug": "Invalid Slug!"}, 404, exec_page.NO_SUCH_SLUG),
    ],
)
async def test_invalid_creation_gets_the_errors_of_the_page(
    change: dict[str, Any], status: int, body: dict[str, Any]
) -> None:
    """The examples of the page are returned exactly, and no job is created."""
    async with standin(members=("jane@acme.com",)) as here:
        refused = await here.create({**exec_page.CREATE, **change})
        assert (refused.status_code, refused.json()) == (status, body)
        assert not here.exec.jobs


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"user_email": "jane"}, "invalid_user_email"),
        ({"user_email": 7}, "invalid_user_email"),
        ({"prompt": ["x"]}, "invalid_prompt"),
        ({"context": "x" * 50_001}, "context_too_long"),
        ({"request_id": 12}, "invalid_request_id"),
        ({"callback_url": "ftp://example.com"}, "invalid_callback_url"),
        ({"callback_url": "https://[bad"}, "invalid_callback_url"),
        ({"callback_url": "https://example.com", "callback_headers": {"x": 1}}, "invalid_callback_headers"),
        ({"callback_headers": "x"}, "invalid_callback_headers"),
    ],
)
async def test_other_invalid_fields_get_400_with_their_name(change: dict[str, Any], code: str) -> None:
    """The field is named in Exec's envelope."""
    async with standin() as here:
        refused = await here.create({**exec_page.CREATE, **change})
    assert refused.status_code == 400
    assert refused.json()["error"]["type"] == "invalid_request"
    assert refused.json()["error"]["code"] == code


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff", b"[" * 100_000])
async def test_body_that_is_no_json_object_gets_400(body: bytes) -> None:
    """Garbage and deep nesting are refused and break nothing."""
    async with standin() as here:
        refused = await here.http.post(JOBS, content=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_json")


async def test_longest_prompt_is_accepted() -> None:
    """10,000 characters are allowed, counted as characters."""
    async with standin() as here:
        assert (await here.create({**exec_page.CREATE, "prompt": "é" * 10_000})).status_code == 201


async def test_request_id_creates_one_job() -> None:
    """The same request_id again: 200, the same job in its current state, not new; other workspaces have their own."""
    async with standin(profile=FIXED, keys=(KEY, OTHER_KEY)) as here:
        first = (await here.create(exec_page.CREATE)).json()
        here.clock.turn(MINUTE)
        again = await here.create(exec_page.CREATE)
        assert again.status_code == 200
        assert (again.json()["id"], again.json()["status"], again.json()["is_new"]) == (first["id"], "completed", False)
        other = await here.create(exec_page.CREATE, headers={"authorization": f"Bearer {OTHER_KEY}"})
        assert other.status_code == 201
        without = {name: value for name, value in exec_page.CREATE.items() if name != "request_id"}
        made = [(await here.create(without)).json()["id"] for _ in range(2)]
    assert len({first["id"], other.json()["id"], *made}) == 4


async def test_delete_cancels_active_jobs() -> None:
    """Queued and processing jobs are cancelled at once, with the body of the page; a second time is refused."""
    async with standin(profile=FIXED) as here:
        processing = (await here.create(exec_page.CREATE)).json()["id"]
        here.clock.turn(10_000)
        queued = (await here.create({**exec_page.CREATE, "request_id": "2"})).json()["id"]
        done = await here.cancel(processing)
        assert done.status_code == 200
        assert list(done.json()) == list(exec_page.CANCELLED)
        assert (done.json()["status"], done.json()["duration_seconds"]) == ("cancelled", 5)
        assert (await here.cancel(queued)).json()["started_at"] is None
        here.clock.turn(MINUTE)
        assert (await here.poll(processing)).json() == done.json()
        refused = await here.cancel(processing)
        assert refused.status_code == 400
        assert refused.json()["error"]["message"] == "Cannot cancel job in 'cancelled' state"


async def test_ended_or_unknown_job_can_not_be_cancelled() -> None:
    """400 for a completed job and 404 for an unknown one, as on the page."""
    async with standin() as here:
        job = here.exec.add(lasts=0)
        refused, unknown = await here.cancel(job.id), await here.cancel("j1o2b3i4d5x6")
    assert (refused.status_code, refused.json()) == (400, exec_page.NOT_CANCELLABLE)
    assert (unknown.status_code, unknown.json()) == (404, exec_page.NO_JOB_TO_CANCEL)


async def test_over_the_limit_429_until_retry_after() -> None:
    """The retry_after of the body and the header are equal; after it polls succeed. Keys are counted separately."""
    async with standin(limits=Limits(per_minute=3), keys=(KEY, OTHER_KEY)) as here:
        job = here.exec.add(lasts=None)
        assert [(await here.poll(job.id)).status_code for _ in range(3)] == [200] * 3
        here.clock.turn(100)
        refused = await here.poll(job.id)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "rate_limited"
        assert refused.json()["retry_after"] == int(refused.headers["retry-after"]) == 60
        assert (await here.poll("abc", headers={"authorization": f"Bearer {OTHER_KEY}"})).status_code == 404
        here.clock.turn(60 * SECOND - 101)
        assert (await here.poll(job.id)).headers["retry-after"] == "1"
        here.clock.turn(1)
        assert (await here.poll(job.id)).status_code == 200


async def test_eleventh_creation_in_a_minute_gets_429() -> None:
    """By default the published limits apply: the eleventh new job in a minute is refused and not created."""
    async with standin(limits=Limits()) as here:
        made = [await here.create({**exec_page.CREATE, "request_id": str(number)}) for number in range(11)]
        assert [answer.status_code for answer in made] == [201] * 10 + [429]
        assert len(here.exec.jobs) == 10
        assert [(await here.poll("abc123")).status_code for _ in range(51)] == [404] * 50 + [429]


async def test_unknown_paths_and_methods_get_the_envelope() -> None:
    """A wrong path or method gets an error in Exec's envelope."""
    async with standin() as here:
        nowhere, put = await here.http.get("/rest/v1/nowhere"), await here.http.put(f"{JOBS}/abc")
    assert (nowhere.status_code, nowhere.json()["error"]["type"]) == (404, "not_found")
    assert (put.status_code, put.json()["error"]["code"]) == (405, "method_not_allowed")


async def test_same_seed_creates_the_same_jobs() -> None:
    """With the same seed jobs get the same ids, courses and names, with any faults in between."""
    histories = []
    for fault in ([], [{"kind": "500", "share": 0.5}]):
        async with standin(seed=5, profile=JobProfile(fail=0.3)) as here:
            await here.order(faults=fault)
            for number in range(5):
                made = await here.create({**exec_page.CREATE, "request_id": str(number)})
                await here.poll(made.json()["id"])
            histories.append(list(here.exec.jobs.values()))
    assert histories[0] == histories[1]


async def test_statistics_list_requests_by_key_and_job() -> None:
    """Polls by job with their times, statuses by key, the ends of jobs; keys are masked."""
    async with standin(profile=FIXED, limits=Limits(per_minute=4)) as here:
        job_id = (await here.create(exec_page.CREATE)).json()["id"]
        start = here.clock.now
        for _ in range(3):
            here.clock.turn(10_000)
            await here.poll(job_id)
        here.clock.turn(20_000)
        await here.poll(job_id)
        await here.poll("abc123", headers={"authorization": "Bearer nonsense"})
        stats = (await here.http.get("/sandbox/stats")).json()
        of_one = (await here.http.get("/sandbox/stats", params={"job_id": job_id})).json()
    polls = stats["jobs"][job_id].pop("polls")
    assert [(poll["at"] - start, poll["status"], poll["job_status"]) for poll in polls] == [
        (10_000, 200, "processing"),
        (20_000, 200, "processing"),
        (30_000, 200, "processing"),
        (50_000, 429, None),
    ]
    assert stats["jobs"][job_id] == {
        "key": "exec_live_…box0",
        "status": "completed",
        "created_at": start,
        "completed_at": start + 45_000,
        "callback": None,
    }
    assert stats["keys"]["exec_live_…box0"] == {
        "requests": 5,
        "polls": 4,
        "creates": 1,
        "cancels": 0,
        "statuses": {"201": 1, "200": 3, "429": 1},
        "busiest_minute": 5,
    }
    assert stats["keys"]["?"]["statuses"] == {"401": 1}
    assert list(of_one["jobs"]) == [job_id]
    assert KEY not in str(stats)


async def test_jobs_can_be_added_without_a_request() -> None:
    """With a chosen id, course and name, without spending a request."""
    async with standin(limits=Limits(per_minute=1)) as here:
        here.exec.add(job_id="my-job_1", queued=10, lasts=20, name="Mine")
        with pytest.raises(ValueError, match="job id"):
            here.exec.add(job_id="my-job_1")
        here.clock.turn(30)
        shown = (await here.poll("my-job_1")).json()
    assert (shown["status"], shown["scenario"]["name"], shown["duration_seconds"]) == ("completed", "Mine", 0.02)


def test_malformed_key_is_refused() -> None:
    """Keys are exec_live_ and 40 letters and digits; the repr of settings does not contain them."""
    with pytest.raises(ValueError, match="exec_live_"):
        ExecSettings(keys=("sk_live_123",))
    assert KEY not in repr(ExecSettings())


async def test_connection_is_kept_and_bearer_is_case_insensitive() -> None:
    """The case of the scheme does not matter in HTTP."""
    async with standin() as here:
        job = here.exec.add(lasts=None)
        answer: httpx.Response = await here.poll(job.id, headers={"authorization": f"bearer {KEY}"})
    assert answer.status_code == 200
