"""`POST /v1/jobs`: one request creates a job at Exec and registers it, whatever fails in between."""

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from relay.model import DAY, MINUTE, SECOND
from relay.sandbox.exec_server import ExecSettings
from relay.sandbox.fault_injection import FaultConfig
from relay.sandbox.job_simulation import JobProfile
from relay.sandbox.local_server import serve
from relay.web.app import create_app
from tests.flows.conftest import Start, World, api_of
from tests.loopback import http_client
from tests.make import SECRET

FIXED = ExecSettings(seed=1, profile=JobProfile(median=40 * SECOND, sigma=0))
ASKED = {"user_email": "jane@acme.com", "prompt": "A discovery call"}


def asked(world: World, **fields: Any) -> dict[str, Any]:
    return {**ASKED, "callback_url": f"{world.receiver_url}/told", "secret": SECRET, **fields}


def creations(world: World) -> int:
    return sum(one.call == "create" for one in world.exec.records.requests)


async def test_one_request_creates_registers_and_notifies(start: Start) -> None:
    """Exec's response counts as a poll, so that none is made at once."""
    async with start(sandbox=FIXED) as world, api_of(world) as http:
        answer = await http.post("/v1/jobs", json=asked(world, request_id="order-1", metadata={"team": "sales"}))
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert made["request_id"] == "order-1"
        assert made["job"]["id"] == made["registration"]["job_id"] in world.exec.jobs
        assert answer.headers["location"] == f"/v1/jobs/{made['job']['id']}"
        await world.settle()
        assert [one.call for one in world.exec.records.requests] == ["create"]
        await world.advance(MINUTE)
        [came] = world.received("/told")
        assert (came.verified, came.event_type) == (True, "job.completed")


async def test_the_created_job_has_the_relays_callback_url(start: Start) -> None:
    """With server.public_url each job has the callback. Once one has arrived, the relay relies on it: two requests per
    job."""
    async with start(sandbox=FIXED, polling={"strategy": "adaptive"}) as world:
        await world.restart(polling={"strategy": "adaptive"})
        server = serve(create_app(world.relay, owns_relay=False))
        async with server as url:
            await world.restart(polling={"strategy": "adaptive"}, server={"public_url": url})
        port = int(url.rpartition(":")[2])
        async with serve(create_app(world.relay, owns_relay=False), "127.0.0.1", port), http_client() as http:
            polls = []
            for number in range(2):
                answer = await http.post(f"{url}/v1/jobs", json=asked(world, request_id=f"order-{number}"))
                job = world.exec.jobs[answer.json()["job"]["id"]]
                assert (await world.watch(job.id)).exec_callback == bool(number)
                assert job.ended_at is not None
                await world.advance(job.ended_at - world.clock())
                async with asyncio.timeout(30):
                    while job.id not in world.exec.callbacks.called:
                        await asyncio.sleep(0.01)
                await world.settle()
                polls.append((await world.watch(job.id)).polls)
            assert [one.at for one in world.received("/told")][-1] == job.ended_at
            assert polls[1] == 1


async def test_a_repeated_request_id_creates_nothing_twice(start: Start) -> None:
    """The same response with 200, without a request to Exec; for another job it is refused."""
    async with start(sandbox=FIXED) as world, api_of(world) as http:
        first = await http.post("/v1/jobs", json=asked(world, request_id="order-1"))
        again = await http.post("/v1/jobs", json=asked(world, request_id="order-1"))
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json()["job"] == first.json()["job"]
        assert again.json()["registration"]["id"] == first.json()["registration"]["id"]
        other = await http.post("/v1/jobs", json=asked(world, request_id="order-1", prompt="Another"))
        assert (other.status_code, other.json()["error"]["code"]) == (409, "request_id_reused")
        assert (creations(world), len(world.exec.jobs)) == (1, 1)
        world.clock.advance(2 * DAY)
        late = await http.post("/v1/jobs", json=asked(world, request_id="order-1"))
        assert late.json()["job"]["id"] == first.json()["job"]["id"]
        assert (creations(world), len(world.exec.jobs)) == (2, 1)


async def test_an_idempotency_key_serves_as_request_id(start: Start) -> None:
    """The same key again creates nothing twice; without either, two calls create two jobs."""
    async with start(sandbox=FIXED) as world, api_of(world) as http:
        for _ in range(2):
            answer = await http.post("/v1/jobs", json=asked(world), headers={"idempotency-key": "k1"})
            assert answer.is_success, answer.text
        assert len(world.exec.jobs) == 1
        wrong = await http.post("/v1/jobs", json=asked(world, request_id="r"), headers={"idempotency-key": "k" * 256})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_idempotency_key")
        for _ in range(2):
            assert (await http.post("/v1/jobs", json=asked(world))).status_code == 201
        assert len(world.exec.jobs) == 3


async def test_a_crash_between_exec_s_answer_and_ours_loses_no_job(start: Start) -> None:
    """The store fails while Exec creates the job. After a restart the same request_id returns that job, registered, and
    Exec has only one."""
    async with start(sandbox=FIXED) as world:
        slow = {"faults": [{"kind": "slow", "wait": 500, "calls": "all"}]}
        world.exec.faults.order(FaultConfig.model_validate(slow), world.clock())
        async with api_of(world) as http:
            calling = asyncio.create_task(http.post("/v1/jobs", json=asked(world, request_id="order-1")))
            async with asyncio.timeout(30):
                while not world.exec.jobs:
                    await asyncio.sleep(0.005)
            await world.relay.store.aclose()
            answer = await calling
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "job_not_registered")
        assert "the same request_id" in answer.json()["error"]["message"]
        [job_id] = world.exec.jobs
        world.exec.faults.order(FaultConfig.model_validate({"faults": []}), world.clock())
        await world.restart()
        async with api_of(world) as http:
            repeated = await http.post("/v1/jobs", json=asked(world, request_id="order-1"))
        assert repeated.status_code == 201, repeated.text
        assert repeated.json()["job"]["id"] == job_id
        assert len(world.exec.jobs) == 1
        await world.advance(2 * MINUTE)
        assert [one.event_type for one in world.received("/told")] == ["job.completed"]


async def test_creating_a_job_spends_the_workspaces_budget(start: Start) -> None:
    """One request each; without any left, 429 with the wait, and no request to Exec."""
    budget = {"budget": {"per_minute": 2, "per_day": 1_000, "share": 1.0}}
    async with start(sandbox=FIXED, exec=budget) as world, api_of(world) as http:
        answers = [await http.post("/v1/jobs", json=asked(world)) for _ in range(3)]
        assert [one.status_code for one in answers] == [201, 201, 429]
        assert creations(world) == 2
        assert 55 <= int(answers[2].headers["retry-after"]) <= 62
        world.clock.advance(int(answers[2].headers["retry-after"]) * SECOND)
        assert (await http.post("/v1/jobs", json=asked(world))).status_code == 201


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"user_email": "nobody"}, 400, "invalid_user_email"),
        ({"prompt": ""}, 400, None),
        ({"prompt": "x" * 10_001}, 400, "prompt_too_long"),
        ({"scenario_slug": "No Slug"}, 404, None),
        ({"callback_url": "ftp://example.com"}, 400, "invalid_url"),
        ({"exec_callback": True}, 400, "no_public_url"),
        ({"exec_fields": {"callback_url": "https://x.example"}}, 400, "invalid_field"),
        ({"request_id": "two words"}, 400, "invalid_field"),
    ],
)
async def test_invalid_create_requests_are_refused_with_the_reason(
    start: Start, fields: dict[str, Any], status: int, code: str | None
) -> None:
    """Exec's own message with its status, or the relay's before Exec is asked; nothing is created or registered."""
    async with start(sandbox=FIXED) as world, api_of(world) as http:
        answer = await http.post("/v1/jobs", json=asked(world, **fields))
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert code in (None, error["code"]), error
        assert not world.exec.jobs
        assert await world.next_due() is None


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("401", 502, "the relay's Exec key is wrong, not yours"),
        ("403", 502, "the relay's Exec key is wrong, not yours"),
        ("429", 429, "try again in"),
        ("500", 502, "repeat the call with"),
        ("not_json", 502, "repeat the call with"),
        ("closed", 502, "repeat the call with"),
        ("timeout", 504, "repeat the call with"),
    ],
)
async def test_errors_of_exec_are_reported_to_the_caller(start: Start, fault: str, status: int, words: str) -> None:
    """Whether a job may have been created, and what to do: the right status, without the key."""
    async with start(sandbox=FIXED, exec={"timeout": "1s"}) as world, api_of(world) as http:
        orders = {"faults": [{"kind": fault, "calls": "all"}]}
        world.exec.faults.order(FaultConfig.model_validate(orders), world.clock())
        answer = await http.post("/v1/jobs", json=asked(world))
        assert (answer.status_code, words in answer.text) == (status, True), answer.text
        assert "exec_live" not in answer.text


async def test_exec_fields_are_passed_on_unchanged(start: Start) -> None:
    """Exec gets all of its fields, null and unknown ones included, and none of the registration."""
    came: list[dict[str, Any]] = []

    async def create(request: Request) -> Response:
        came.append(await request.json())
        return JSONResponse({"id": "j1", "status": "queued", "is_new": True}, 201)

    exec = Starlette(routes=[Route("/rest/v1/scenario-studio/jobs", create, methods=["POST"])])
    async with serve(exec) as exec_url, start(exec={"base_url": f"{exec_url}/rest/v1"}) as world:
        own = {**ASKED, "context": None, "scenario_slug": "a-slug", "request_id": "r1"}
        async with api_of(world) as http:
            fields = {**asked(world, **own), "exec_fields": {"language": "de", "n": [1.5, None]}}
            assert (await http.post("/v1/jobs", json=fields)).status_code == 201
    assert came == [{**own, "language": "de", "n": [1.5, None]}]
