"""Exec's own callback, from one real server to another."""

import asyncio
import json
from typing import Any

from relay.model import SECOND
from relay.sandbox.job_simulation import JobProfile
from relay.sandbox.local_server import serve
from relay.sandbox.receiver import Receiver, Respond
from tests.sandbox import exec_page
from tests.sandbox.standin import Clock, StandIn, standin

FIXED = JobProfile(median=40 * SECOND, sigma=0)


def wanted(url: str, **more: Any) -> dict[str, Any]:
    return {**exec_page.CREATE, "callback_url": url, **more}


async def called(here: StandIn, job_id: str) -> dict[str, Any]:
    """The outcome of the job's callback, once it is sent."""
    async with asyncio.timeout(30):
        while not (found := here.exec.stats(job_id)["jobs"][job_id]["callback"]):
            await asyncio.sleep(0.01)
    assert isinstance(found, dict)
    return found


async def test_callback_is_sent_once_at_the_end() -> None:
    """The body is that of a poll, with the creator's headers, unsigned; a 500 is not retried."""
    receiver = Receiver([], Clock())
    receiver.always(Respond(status=500))
    async with serve(receiver.app) as url, standin(profile=FIXED) as here:
        headers = {"Authorization": "Bearer webhook-secret-token", "X-Mine": "yes"}
        job_id = (await here.create(wanted(f"{url}/from-exec?a=1", callback_headers=headers))).json()["id"]
        here.clock.turn(44_999)
        other = here.exec.add(lasts=0)
        assert here.exec.stats(other.id)["jobs"][other.id]["callback"] is None
        assert not receiver.received
        here.clock.turn(1)
        [came] = await receiver.wait_for()
        assert json.loads(came.body) == (await here.poll(job_id)).json()
        assert (await called(here, job_id))["status"] == 500
        here.clock.turn(3_600_000)
        await here.poll(job_id)
        assert len(receiver.received) == 1
    assert came.path == "/from-exec"
    assert came.headers["authorization"] == "Bearer webhook-secret-token"
    assert came.headers["x-mine"] == "yes"
    assert came.headers["content-type"] == "application/json"
    assert not any(name.startswith("webhook-") for name in came.headers)


async def test_callback_of_a_cancelled_job_is_sent_at_once() -> None:
    """DELETE ends the job, so the callback is sent then, and not again at the planned end."""
    receiver = Receiver([], Clock())
    async with serve(receiver.app) as url, standin(profile=FIXED) as here:
        job_id = (await here.create(wanted(url))).json()["id"]
        await here.cancel(job_id)
        [came] = await receiver.wait_for()
        assert json.loads(came.body)["status"] == "cancelled"
        here.clock.turn(45_000)
        second = (await here.create(wanted(url, request_id="2"))).json()["id"]
        here.clock.turn(45_000)
        last = (await receiver.wait_for(2))[-1]
        assert json.loads(last.body)["id"] == second


async def test_callback_may_be_lost() -> None:
    """With all callbacks lost none is sent; jobs still end."""
    receiver = Receiver([], Clock())
    async with serve(receiver.app) as url:
        async with standin(profile=FIXED, lost_callbacks=1.0) as here:
            job_id = (await here.create(wanted(url))).json()["id"]
            here.clock.turn(45_000)
            assert (await here.poll(job_id)).json()["status"] == "completed"
            assert not here.exec.callbacks._waiting
        assert not receiver.received


async def test_failing_callback_breaks_nothing() -> None:
    """A refused connection or an invalid header is recorded, and the next callback is sent."""
    receiver = Receiver([], Clock())
    async with serve(receiver.app) as url, standin(profile=FIXED) as here:
        dead = (await here.create(wanted("http://127.0.0.1:1/", request_id="1"))).json()["id"]
        odd = (await here.create(wanted(url, request_id="2", callback_headers={"x": "a\r\nb: c"}))).json()["id"]
        await here.create(wanted(url, request_id="3"))
        here.clock.turn(45_000)
        await receiver.wait_for()
        assert await called(here, dead) == {"at": here.clock.now, "status": None, "error": "ConnectError"}
        assert (await called(here, odd))["status"] is None
    assert len(receiver.received) == 1
