"""One poll of an Exec on loopback that answers whatever a test wants."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from relay.model.poll_result import PollResult
from relay.polling.exec_client import ExecClient
from relay.polling.exec_transport import make_http
from tests.loopback import Behaviour, Served, answer, answering, serving

NOW = 1_709_287_200_000  # 2024-03-01T10:00:00Z
KEY = "exec_live_" + "k3y" * 13 + "k"
JOB = {
    "id": "j1o2b3i4d5x6",
    "status": "completed",
    "scenario": {"id": "s1", "name": "Café 🎭", "url": "https://acme.app.exec.com/scenarios/s1", "slug": "s1"},
    "error": None,
    "created_at": "2024-03-01T10:00:00Z",
    "started_at": "2024-03-01T10:00:05Z",
    "completed_at": "2024-03-01T10:00:45Z",
    "duration_seconds": 40,
    "credits": {"used": 1.5},
}


@asynccontextmanager
async def exec_client(served: Served, timeout: int = 2_000, path: str = "/rest/v1") -> AsyncIterator[ExecClient]:
    """A client of the server with a well-formed key."""
    client = ExecClient("default", KEY, served.url(path), timeout=timeout, clock=lambda: NOW, http=make_http(timeout))
    yield client
    await client.aclose()


async def poll_at(behave: Behaviour, job_id: str = "j1o2b3i4d5x6", timeout: int = 2_000) -> PollResult:
    """What one poll of such a server brings."""
    async with serving(behave) as served, exec_client(served, timeout) as client:
        poll = await client.get_job(job_id)
        assert KEY not in repr(poll)
        return poll.result


def job_answer(**changes: Any) -> bytes:
    """A 200 with the job, changed."""
    return answer(json.dumps({**JOB, **changes}).encode(), "200 OK", "Content-Type: application/json")


def failing(status: str, body: Any, *headers: str) -> Behaviour:
    """An answer other than a job."""
    return answering(answer(json.dumps(body).encode(), status, *headers))
