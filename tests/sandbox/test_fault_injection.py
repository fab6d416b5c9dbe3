"""Faults on demand, as a client on a real socket meets them."""

import asyncio
import json
from collections import Counter
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from relay.model import MINUTE, SECOND
from relay.sandbox.fault_injection import NAMED, Fault, FaultConfig, FaultRule
from tests.sandbox import exec_page
from tests.sandbox.standin import StandIn, standin


async def scripted(here: StandIn, *script: Any) -> str:
    """A job whose next polls get the responses of the script."""
    job = here.exec.add(lasts=0)
    assert (await here.order(jobs={job.id: list(script)})).status_code == 200
    return job.id


async def test_script_sets_the_responses_of_polls() -> None:
    """The responses come in order, then polls succeed; other jobs are not affected."""
    async with standin() as here:
        job_id = await scripted(here, "500", "ok", {"kind": "503"}, "404", "401", "403", "418")
        other = here.exec.add()
        codes = []
        for _ in range(8):
            codes.append((await here.poll(job_id)).status_code)
            assert (await here.poll(other.id)).status_code == 200
    assert codes == [500, 200, 503, 404, 401, 403, 418, 200]


async def test_second_script_extends_the_first() -> None:
    """A second script continues after the end of the first."""
    async with standin() as here:
        job_id = await scripted(here, "500")
        await here.order(jobs={job_id: ["502"]})
        assert [(await here.poll(job_id)).status_code for _ in range(3)] == [500, 502, 200]


async def test_scripted_errors_have_the_bodies_of_exec() -> None:
    """401 and 404 have Exec's bodies; 502 has a proxy's page, 500 Exec's envelope."""
    async with standin() as here:
        job_id = await scripted(here, "401", "404", "502", "500")
        assert (await here.poll(job_id)).json() == exec_page.UNAUTHORIZED
        assert (await here.poll(job_id)).json()["error"]["message"] == f"Scenario not found: {job_id}"
        assert "text/html" in (await here.poll(job_id)).headers["content-type"]
        assert set((await here.poll(job_id)).json()["error"]) == {"type", "code", "message"}


@pytest.mark.parametrize("form", ["both", "body", "error", "header", "date", "none"])
async def test_429_has_the_wait_in_every_form(form: str) -> None:
    """In the body, in its error, in the header as seconds or as a date, or nowhere."""
    async with standin() as here:
        job_id = await scripted(here, {"kind": "429", "wait": 6_500, "retry_after": form})
        refused = await here.poll(job_id)
    body, header = refused.json(), refused.headers.get("retry-after")
    assert refused.status_code == 429
    assert body["error"]["type"] == "rate_limited"
    assert body.get("retry_after") == (7 if form in ("both", "body") else None)
    assert body["error"].get("retry_after") == (7 if form == "error" else None)
    if form == "date":
        assert parsedate_to_datetime(header or "").timestamp() == here.clock.now / SECOND + 7
    else:
        assert header == ("7" if form in ("both", "header") else None)


async def test_429_without_a_wait_has_no_retry_after() -> None:
    """The client chooses how long to wait."""
    async with standin() as here:
        refused = await here.poll(await scripted(here, "429"))
    assert "retry_after" not in refused.text
    assert "retry-after" not in refused.headers


def _is_no_job(text: str, job_id: str) -> bool:
    try:
        found = json.loads(text)
    except ValueError:
        return True
    if not isinstance(found, dict) or found.get("id") != job_id or not isinstance(found.get("status"), str):
        return True
    return not isinstance(found.get("scenario"), dict | None)


@pytest.mark.parametrize("kind", ["not_json", "wrong_shape", "other_job", "truncated"])
async def test_malformed_responses_are_200_without_a_job(kind: str) -> None:
    """They are complete, with status 200, but not the requested job."""
    async with standin() as here:
        job_id = await scripted(here, *[kind] * 12)
        answers = [await here.poll(job_id) for _ in range(12)]
    assert {answer.status_code for answer in answers} == {200}
    assert all(_is_no_job(answer.text, job_id) for answer in answers)
    if kind == "wrong_shape":
        assert len({answer.text for answer in answers}) > 2


async def test_huge_response_is_a_job_of_more_than_a_mebibyte() -> None:
    """Only its size is wrong."""
    async with standin() as here:
        job_id = await scripted(here, "huge")
        huge = await here.poll(job_id)
    assert len(huge.content) > 1024 * 1024
    assert huge.json()["id"] == job_id


async def test_unknown_status_has_no_ending() -> None:
    """An unpublished status, without the fields of an ended job."""
    async with standin() as here:
        shown = (await here.poll(await scripted(here, "unknown_status"))).json()
    assert list(shown) == list(exec_page.PROCESSING)
    assert shown["status"] not in ("queued", "processing", "completed", "failed", "cancelled")
    assert (shown["scenario"], shown["error"], shown["completed_at"]) == (None, None, None)


async def test_connection_closes_in_the_middle() -> None:
    """The body is shorter than announced; the next poll succeeds."""
    async with standin() as here:
        job_id = await scripted(here, "closed")
        with pytest.raises(httpx.RemoteProtocolError, match="peer closed"):
            await here.poll(job_id)
        assert (await here.poll(job_id)).status_code == 200
        polls = here.exec.stats(job_id)["jobs"][job_id]["polls"]
    results = [(poll["status"], poll["job_status"], poll["fault"]) for poll in polls]
    assert results == [(None, None, "closed"), (200, "completed", None)]


async def test_timeout_fault_sends_no_response() -> None:
    """The client gives up first, and the log records no response; the server then stops at once."""
    async with standin() as here:
        job_id = await scripted(here, {"kind": "timeout", "wait": MINUTE})
        with pytest.raises(httpx.ReadTimeout):
            await here.poll(job_id, timeout=0.05)
        polls = here.exec.stats(job_id)["jobs"][job_id]["polls"]
        assert [(poll["status"], poll["fault"]) for poll in polls] == [(None, "timeout")]


async def test_slow_response_is_late_and_complete() -> None:
    """Only its time is wrong."""
    async with standin() as here:
        job_id = await scripted(here, {"kind": "slow", "wait": 80})
        started = asyncio.get_running_loop().time()
        assert (await here.poll(job_id)).json()["status"] == "completed"
        assert asyncio.get_running_loop().time() - started >= 0.079


async def test_first_polls_of_each_job_get_404() -> None:
    """Exec does not know a new job yet: the first polls of each job get 404, counted per job."""
    async with standin(fault_config=FaultConfig(missing_first=2)) as here:
        one, two = here.exec.add(), here.exec.add()
        assert [(await here.poll(one.id)).status_code for _ in range(4)] == [404, 404, 200, 200]
        assert (await here.poll(two.id)).status_code == 404
        await here.order(missing_first=0)
        assert (await here.poll(two.id)).status_code == 200


async def test_faults_have_their_shares() -> None:
    """Over many polls each fault has its share, and creations have no faults."""
    faults = (FaultRule(kind="500", share=0.3), FaultRule(kind="404", share=0.2))
    async with standin(fault_config=FaultConfig(faults=faults)) as here:
        job = here.exec.add()
        counts = Counter([(await here.poll(job.id)).status_code for _ in range(400)])
        created = await here.create(exec_page.CREATE)
    assert counts[500] == pytest.approx(120, abs=40)
    assert counts[404] == pytest.approx(80, abs=35)
    assert counts[200] == 400 - counts[500] - counts[404]
    assert created.status_code == 201


async def test_outage_ends_after_its_time() -> None:
    """401 for a while, on every call; then calls succeed again. A new configuration replaces the old one."""
    async with standin() as here:
        job = here.exec.add(lasts=None)
        ordered = await here.order(faults=[{"kind": "401", "lasts": 10_000, "calls": "all"}])
        assert ordered.json()["faults"][0]["kind"] == "401"
        assert (await here.poll(job.id)).status_code == 401
        assert (await here.create(exec_page.CREATE)).status_code == 401
        assert (await here.cancel(job.id)).status_code == 401
        here.clock.turn(10_000)
        assert (await here.poll(job.id)).status_code == 200
        assert (await here.http.get("/sandbox/faults")).json()["faults"] == []
        await here.order(faults=[{"kind": "503"}])
        await here.order(missing_first=0)
        assert (await here.poll(job.id)).status_code == 503
        await here.order(faults=[])
        assert (await here.poll(job.id)).status_code == 200


async def test_creation_with_a_lost_response_creates_the_job() -> None:
    """The connection closes, and the same request_id returns the created job."""
    async with standin() as here:
        await here.order(faults=[{"kind": "closed", "calls": "all", "lasts": 1_000}])
        with pytest.raises(httpx.RemoteProtocolError):
            await here.create(exec_page.CREATE)
        here.clock.turn(1_000)
        again = await here.create(exec_page.CREATE)
    assert (again.status_code, again.json()["is_new"]) == (200, False)


async def test_refused_key_meets_no_fault() -> None:
    """Faults apply to valid keys only: an invalid key is refused first and does not consume a script."""
    async with standin() as here:
        job_id = await scripted(here, "500")
        assert (await here.poll(job_id, headers={"authorization": "Bearer x"})).status_code == 401
        assert (await here.poll(job_id)).status_code == 500


@pytest.mark.parametrize(
    "orders",
    [
        {"faults": [{"kind": "200"}]},
        {"faults": [{"kind": "explode"}]},
        {"faults": [{"kind": "٥٠٠"}]},
        {"faults": [{"kind": "500", "share": 0}]},
        {"faults": [{"kind": "500", "share": 0.6}, {"kind": "502", "share": 0.6}]},
        {"faults": [{"kind": "500", "shares": 0.6}]},
        {"jobs": {"abc": ["slow", "nonsense"]}},
        {"missing_first": -1},
        {"unknown": 1},
    ],
)
async def test_invalid_fault_config_is_refused(orders: dict[str, Any]) -> None:
    """The error is in the envelope of Exec and names the problem; the previous configuration stays."""
    async with standin(fault_config=FaultConfig(faults=(FaultRule(kind="502"),))) as here:
        job = here.exec.add()
        refused = await here.order(**orders)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_faults")
        assert (await here.poll(job.id)).status_code == 502


async def test_fault_config_that_is_no_json_is_refused() -> None:
    """A typing error gets 400, not a crash."""
    async with standin() as here:
        refused = await here.http.post("/sandbox/faults", content=b"{oops")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_faults")


def test_named_faults_are_accepted_and_others_refused() -> None:
    """The names in the help are valid; the error for another name lists them."""
    assert all(Fault(kind=name).kind == name for name in NAMED)
    with pytest.raises(ValidationError, match="unknown_status"):
        Fault(kind="boom")
