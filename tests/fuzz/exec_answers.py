"""Exec's answers: job, envelope, Retry-After. The first two bytes choose the status, a line the header."""

import asyncio

import httpx

from relay.model.poll_result import JobFound
from relay.polling.exec_client import ExecClient
from tests.fuzz.target import Target, text_of

KEY = "exec_live_" + "5ecret" * 5
STATUSES = (200, 200, 401, 404, 429, 500, 302, 204, 403, 999)

CLIENT = ExecClient(
    "default", KEY, "https://exec.example/rest/v1", timeout=1_000, clock=lambda: 0, http=httpx.AsyncClient()
)
asyncio.run(CLIENT.aclose())  # only what it reads is wanted


def parse(data: bytes) -> None:
    status = STATUSES[data[0] % len(STATUSES)] if data else 200
    header, _, body = data[1:].partition(b"\n")
    text = "".join(one for one in text_of(header) if one.isprintable()).encode("utf-8", "replace")
    headers = httpx.Headers([(b"retry-after", text), (b"location", text)])
    poll_result = CLIENT._read("j1", status, headers, body)
    assert KEY not in repr(poll_result)
    if isinstance(poll_result, JobFound):
        assert poll_result.job.id == "j1"
        poll_result.job.raw()


TARGET = Target(
    "exec_answers",
    parse,
    seeds=(
        b'\x00\n{"id": "j1", "status": "completed", "scenario": {"id": "s", "name": "n", "url": "https://a"}}',
        b'\x00\n{"id": "j1", "status": "failed", "error": {"code": "X", "message": "y"}, "created_at": "2024-03-01"}',
        b'\x02\n{"error": {"type": "authentication_error", "message": "' + KEY.encode() + b'"}}',
        b'\x00\n{"id": "j1", "status": "failed", "scenario": {"name": "' + KEY.encode() + b'"}}',
        b'\x04Fri, 01 Mar 2024 10:00:30 GMT\n{"retry_after": 7.5}',
        b"\x06https://elsewhere.example/x\n",
        b"\x00\n" + b"[" * 2_000,
    ),
)
