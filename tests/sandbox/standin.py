"""A fake Exec on a real socket, with a clock that the test moves."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from relay.model import Instant
from relay.sandbox.exec_server import BASE, SANDBOX_KEY, ExecSettings, FakeExec
from relay.sandbox.local_server import serve
from relay.sandbox.rate_limits import UNLIMITED

JOBS = f"{BASE}/scenario-studio/jobs"
KEY = SANDBOX_KEY
OTHER_KEY = "exec_live_" + "A1b2" * 10
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Nothing here uses TLS; loading the certificates for each client would take 25 ms."""

PAGE_NOW: Instant = 1_709_287_200_000
"""2024-03-01T10:00:00Z, when the page's example job is created."""


class Clock:
    """Stands still until the test moves it."""

    def __init__(self, now: Instant = PAGE_NOW) -> None:
        self.now = now

    def __call__(self) -> Instant:
        return self.now

    def turn(self, milliseconds: int) -> None:
        self.now += milliseconds


class StandIn:
    """The `FakeExec`, its clock, and a client that holds its key."""

    def __init__(self, exec: FakeExec, clock: Clock, http: httpx.AsyncClient) -> None:
        self.exec = exec
        self.clock = clock
        self.http = http

    async def poll(self, job_id: str, **request: Any) -> httpx.Response:
        return await self.http.get(f"{JOBS}/{job_id}", **request)

    async def create(self, wanted: Any, **request: Any) -> httpx.Response:
        return await self.http.post(JOBS, json=wanted, **request)

    async def cancel(self, job_id: str) -> httpx.Response:
        return await self.http.delete(f"{JOBS}/{job_id}")

    async def order(self, **orders: Any) -> httpx.Response:
        return await self.http.post("/sandbox/faults", json=orders)


@asynccontextmanager
async def standin(**settings: Any) -> AsyncIterator[StandIn]:
    """A fake Exec with these `ExecSettings`; without limits by default."""
    clock = Clock()
    exec = FakeExec(ExecSettings(**{"limits": UNLIMITED, "seed": 1, **settings}), clock)
    bearer = {"authorization": f"Bearer {KEY}"}
    async with (
        serve(exec.app) as url,
        httpx.AsyncClient(base_url=url, headers=bearer, timeout=5, trust_env=False, verify=NO_TLS) as http,
    ):
        yield StandIn(exec, clock, http)
