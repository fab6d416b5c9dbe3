"""kill -9 while digests are gathered and sent: each job is in exactly one, only an attempt in flight is repeated."""

import asyncio
import random
from collections import Counter, defaultdict

import pytest

from tests.e2e.conftest import API_KEY, Served, Stage
from tests.loopback import http_client
from tests.make import SECRET

JOBS = 150
KILLS = 25
BEARER = {"authorization": f"Bearer {API_KEY}"}


async def deliveries(relay: Served) -> list[dict[str, object]]:
    """All deliveries, over all pages."""
    rows, cursor = list[dict[str, object]](), ""
    async with http_client(base_url=relay.url, headers=BEARER, trust_env=False) as http:
        while True:
            page = (await http.get(f"/v1/deliveries?limit=100{cursor and f'&cursor={cursor}'}")).json()
            rows += page["data"]
            if page["next_cursor"] is None:
                return rows
            cursor = page["next_cursor"]


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_kills_lose_no_job_of_a_digest(stage: Stage) -> None:
    """A chat with a digest of ten seconds, jobs that end all the time, and a relay that is killed all the time."""
    chat = {"name": "chat", "url": f"{stage.receiver_url}/chat", "format": "slack", "digest": "10s", "secret": SECRET}
    relay, rng = stage.serve(chat), random.Random(7)
    await relay.start()
    jobs = [stage.exec.add(lasts=rng.randint(1, 60_000)).id for _ in range(JOBS)]
    async with http_client(base_url=relay.url, headers=BEARER, trust_env=False) as http:
        for job in jobs:
            (await http.post("/v1/registrations", json={"job_id": job})).raise_for_status()
    for _ in range(KILLS):
        await asyncio.sleep(rng.uniform(0.1, 3))
        await relay.kill()
        await relay.start()
    async with asyncio.timeout(300):
        while (
            Counter(row["status"] for row in await deliveries(relay)).keys() != {"delivered"}
            or len([row for row in await deliveries(relay) if row["event_type"] == "job.completed"]) < JOBS
        ):
            await asyncio.sleep(1)
    rows = await deliveries(relay)
    digests = {row["id"]: row for row in rows if row["event_type"] == "jobs.digest"}
    members = [row for row in rows if row["event_type"] == "job.completed"]
    assert Counter(row["job_id"] for row in members) == Counter(jobs)
    in_digest = Counter(row["digest_id"] for row in members if row["digest_id"])
    assert in_digest.keys() == digests.keys()
    sent = defaultdict(set)
    for request in stage.receiver.received:
        sent[request.webhook_id].add(request.body)
    assert all(len(bodies) == 1 for bodies in sent.values())
    assert {row["event_id"] for row in digests.values()} <= sent.keys()
    repeats = len(stage.receiver.received) - len(sent)
    assert repeats <= KILLS
    assert len(digests) < JOBS / 3
