"""A relay with few file descriptors, and more that wait for it than it can hold."""

import asyncio
import resource
from collections import Counter

import httpx
import pytest

from tests.e2e.conftest import API_KEY, Served, Stage, free_port
from tests.loopback import http_client

DESCRIPTORS = 256
WAITS = 400


@pytest.mark.timeout(200)
async def test_too_many_waits_are_told_so_and_deliveries_go_on(stage: Stage) -> None:
    """The relay warns at its start; what it can't hold is answered or refused within seconds, nothing hangs, and the
    job's end is posted."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))

    port = free_port()
    relay = Served(stage.write_config(server={"port": port}), port, preexec_fn=limit)
    stage.served.append(relay)
    await relay.start()
    await relay.logs("requests can wait at a time")
    job = stage.exec.add(lasts=600_000)
    answers: Counter[int | str] = Counter()
    headers = {"authorization": f"Bearer {API_KEY}"}
    limits = httpx.Limits(max_connections=WAITS)
    async with http_client(base_url=relay.url, headers=headers, trust_env=False, limits=limits) as http:
        registered = {"job_id": job.id, "callback_url": f"{stage.receiver_url}/end"}
        assert (await http.post("/v1/registrations", json=registered)).status_code == 201

        async def wait() -> None:
            for _ in range(5):  # at the limit of connections one that has sent nothing yet may be closed for another
                try:
                    answer = await http.get(f"/v1/jobs/{job.id}", params={"wait": "5"}, timeout=20)
                except httpx.TransportError:
                    continue
                answers[answer.status_code] += 1
                return
            answers["no answer"] += 1

        async with asyncio.timeout(60):
            await asyncio.gather(*(wait() for _ in range(WAITS)))
            assert (await http.get("/healthz")).status_code == 200
        ended = stage.exec.add(lasts=100)
        registered = {"job_id": ended.id, "callback_url": f"{stage.receiver_url}/end"}
        assert (await http.post("/v1/registrations", json=registered)).status_code == 201
    await stage.receiver.wait_for(1, path="/end")
    assert answers.total() == WAITS
    assert answers[200] > 0
    assert answers[503] + answers[429] > 0
    assert set(answers) <= {200, 429, 503}, answers  # everybody who asks again gets an answer
