"""From a request to all its attempts: one trace, in the log and in the requests."""

import io
import json
import re
from typing import Any

import pytest

from relay.model import MINUTE
from relay.sandbox.receiver import Respond
from relay.telemetry import set_up_logging
from tests.docs.pages import DOCS, blocks
from tests.flows.conftest import Start, World, api_of
from tests.make import SECRET

OPERATIONS = DOCS / "operations.md"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CAME = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


async def register(world: World, job_id: str, headers: dict[str, str], **fields: Any) -> Any:
    """The API's answer to a valid registration."""
    async with api_of(world) as http:
        answer = await http.post("/v1/registrations", json={"job_id": job_id, **fields}, headers=headers)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


@pytest.fixture
def log(logging_restored: None) -> io.StringIO:
    """The log as it is written in production, from `debug` on."""
    stream = io.StringIO()
    set_up_logging("json", "debug", stream)
    return stream


async def test_every_attempt_carries_the_callers_trace(start: Start) -> None:
    """The receiver gets the caller's trace with a new span for each attempt; body and webhook-id stay the same."""
    async with start() as world:
        world.receiver.script(Respond(status=500))
        job = world.exec.add(lasts=1_000)
        made = await register(world, job.id, CAME, callback_url=f"{world.receiver_url}/x", secret=SECRET)
        await world.advance(MINUTE)
        first, second = world.received()
        traces = [one.headers["traceparent"].split("-") for one in (first, second)]
        assert [(version, id, flags) for version, id, _, flags in traces] == [("00", TRACE, "01")] * 2
        spans = [span for _, _, span, _ in traces]
        assert len({*spans, SPAN}) == 3
        assert all(re.fullmatch("[0-9a-f]{16}", span) for span in spans)
        assert (first.body, first.webhook_id) == (second.body, second.webhook_id)
        assert second.verified
        assert made["trace_id"] == TRACE


@pytest.mark.parametrize("sent", [{}, {"traceparent": "00-short-01"}])
async def test_without_a_trace_receivers_get_no_traceparent(start: Start, sent: dict[str, str]) -> None:
    """The relay's own trace connects its log lines and is not sent; a malformed header counts as none."""
    async with start() as world:
        job = world.exec.add(lasts=1_000)
        made = await register(world, job.id, sent, callback_url=f"{world.receiver_url}/x")
        await world.advance(MINUTE)
        [one] = world.received()
        assert "traceparent" not in one.headers
        [delivery] = await world.deliveries()
        assert delivery.trace == made["trace_id"]


async def test_two_traceparents_are_ignored(start: Start) -> None:
    """It is not clear which one is meant."""
    async with start() as world:
        async with api_of(world) as http:
            twice = [("traceparent", CAME["traceparent"])] * 2
            answer = await http.post("/v1/registrations", json={"job_id": "j1"}, headers=twice)
        assert answer.json()["trace_id"] != TRACE


async def test_each_subscriber_gets_the_trace_of_its_request(start: Start) -> None:
    """A second registration has its own trace; a standing endpoint gets that of the first registration."""
    async with start() as world:
        job = world.exec.add(lasts=30_000)
        other = TRACE[::-1]
        async with api_of(world) as http:
            made = await http.post("/v1/endpoints", json={"name": "all", "url": f"{world.receiver_url}/all"})
            assert made.status_code == 201, made.text
        await register(world, job.id, CAME, callback_url=f"{world.receiver_url}/a")
        second = {"traceparent": f"00-{other}-{SPAN}-00"}
        await register(world, job.id, second, callback_url=f"{world.receiver_url}/b")
        again = await register(world, job.id, second, callback_url=f"{world.receiver_url}/a")
        assert again["trace_id"] == TRACE
        await world.advance(MINUTE)
        trace_ids = {one.path: one.headers["traceparent"][3:35] for one in world.received()}
        assert trace_ids == {"/a": TRACE, "/b": other, "/all": TRACE}


async def test_one_trace_id_connects_the_log_lines_of_a_job(start: Start, log: io.StringIO) -> None:
    """The lines of request, registration, polls, event and attempts have the trace, and their own ids."""
    async with start() as world:
        world.receiver.script(Respond(status=500))
        job = world.exec.add(lasts=1_000)
        headers = {**CAME, "x-request-id": "order-4711"}
        made = await register(world, job.id, headers, callback_url=f"{world.receiver_url}/x")
        await world.advance(MINUTE)
        [delivery] = await world.deliveries()
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    traced = [line for line in lines if line.get("trace_id") == TRACE]
    kinds = [(line["level"], line["message"].partition(":")[0]) for line in traced]
    assert kinds == [
        ("info", made["id"]),
        ("debug", f"poll of job {job.id}"),
        ("info", "job.completed"),
        ("warning", f"{delivery.id} of job.completed"),
        ("info", f"{delivery.id} of job.completed"),
    ]
    first, *_, last = traced
    assert (first["request_id"], first["registration_id"], first["job_id"]) == ("order-4711", made["id"], job.id)
    assert (last["registration_id"], last["delivery_id"], last["attempt"]) == (made["id"], delivery.id, 2)
    assert (last["event_id"], last["outcome"], last["workspace"]) == (delivery.event_id, "delivered", "default")
    assert all(line["job_id"] == job.id for line in traced)
    [documented] = [json.loads(one) for one in blocks(OPERATIONS.read_text(), "text") if "trace_id" in one]
    assert list(traced[3]) == list(documented)
