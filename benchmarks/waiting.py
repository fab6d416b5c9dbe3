"""Waits by the thousand: what 10,000 open ones cost, and how soon one is answered after its job's end is recorded.

One relay as `relay serve` starts it, on SQLite, beside the sandbox. `make bench-waiting` runs it.
"""

import asyncio
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import httpx

from benchmarks.command import DOCS, command
from benchmarks.machine import machine
from benchmarks.speed import serving
from benchmarks.speed.serving import Server
from benchmarks.tables import Check, Report, Table
from relay.model import from_rfc3339
from relay.process import descriptor_limit, system_clock
from relay.sandbox.exec_server import BASE, SANDBOX_KEY, ExecSettings, FakeExec
from relay.sandbox.job_simulation import JobProfile
from relay.sandbox.local_server import serve
from relay.sandbox.rate_limits import UNLIMITED

WAITERS = 10_000
PROBES = 200
"""Jobs that end one after the other while all the others wait."""

MEMORY = 100
"""MiB that 10,000 waiters may cost."""
P99 = 50
"""Milliseconds from the record of an end to the answer."""

_BATCH = 100


@dataclass(frozen=True)
class Found:
    """What was measured; times in milliseconds."""

    waiters: int
    mib: float
    health: float
    delays: list[float]
    herd: float


class Subject:
    """The relay's process, its address, and the stand-in for Exec."""

    def __init__(self, server: Server, http: httpx.AsyncClient, exec: FakeExec) -> None:
        self.server, self.http, self.exec = server, http, exec
        self.opened: list[asyncio.StreamReader] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def open(self, job_id: str, number: int) -> None:
        """So many waits for a job, each on a connection of its own; returns when the relay has them all."""
        request = f"GET /v1/jobs/{job_id}?wait=300 HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: */*\r\n"
        request += "user-agent: benchmark/1.0\r\naccept-encoding: gzip, deflate\r\nconnection: keep-alive\r\n"
        request += f"authorization: Bearer {_KEY}\r\n\r\n"
        for first in range(0, number, _BATCH):
            for _ in range(min(_BATCH, number - first)):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
                writer.write(request.encode())
                self.opened.append(reader)
                self.writers.append(writer)
            while await self.waiting() < len(self.opened):  # noqa: ASYNC110 (another process counts them)
                await asyncio.sleep(0.02)

    async def waiting(self) -> int:
        """How many requests wait, as the relay counts them."""
        text = (await self.http.get("/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith('relay_waits_open{kind="job"}')]
        return round(float(lines[0].split()[-1])) if lines else 0


@asynccontextmanager
async def _subject() -> AsyncIterator[Subject]:
    settings = ExecSettings(limits=UNLIMITED, profile=JobProfile(stuck=1.0), seed=1)
    exec = FakeExec(settings, system_clock)
    async with serve(exec.app) as exec_url:
        with TemporaryDirectory() as folder:
            wish = {
                "exec": {"api_key": SANDBOX_KEY, "base_url": exec_url + BASE, "budget": _BUDGET},
                "polling": {"strategy": "interval", "interval": "1s", "tick": "50ms"},
                "security": {"api_keys": [_KEY], "requests_per_minute": None, "waits_per_key": 20_000},
                "storage": {"url": f"sqlite:///{folder}/relay.db"},
            }
            with serving.relay(wish) as server:
                url = f"http://127.0.0.1:{server.port}"
                headers = {"authorization": f"Bearer {_KEY}"}
                async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=60) as http:
                    yield Subject(server, http, exec)


_KEY = "relay_" + "b" * 43
_BUDGET = {"per_minute": 100_000, "per_day": 10_000_000, "share": 1.0}


async def _create(subject: Subject) -> str:
    answer = await subject.http.post("/v1/jobs", json={"user_email": "a@example.com", "prompt": "p"})
    return str(answer.json()["job"]["id"])


async def _measure(waiters: int, probes: int) -> Found:
    async with _subject() as subject:
        stuck = await _create(subject)
        jobs = [await _create(subject) for _ in range(probes)]
        for _ in range(200):
            await subject.http.get(f"/v1/jobs/{stuck}")
        before = subject.server.memory()
        await subject.open(stuck, waiters)
        mib = subject.server.memory() - before
        began = time.perf_counter()
        await subject.http.get("/healthz")
        health = (time.perf_counter() - began) * 1_000
        delays = [await _delay(subject, job_id) for job_id in jobs]
        subject.exec.cancel(stuck)
        began = time.perf_counter()
        await asyncio.gather(*(reader.readuntil(b"\r\n\r\n") for reader in subject.opened))
        herd = (time.perf_counter() - began) * 1_000
        for writer in subject.writers:
            writer.close()
        return Found(waiters, mib, health, delays, herd)


async def _delay(subject: Subject, job_id: str) -> float:
    """Milliseconds from when the relay recorded the end of a job until its waiter had the answer."""
    waiting = asyncio.create_task(subject.http.get(f"/v1/jobs/{job_id}", params={"wait": 60}))
    await asyncio.sleep(0.05)
    subject.exec.cancel(job_id)
    answer = await waiting
    return max(0.0, time.time() * 1_000 - (from_rfc3339(answer.json()["ended_at"]) or 0))


def waiting(quick: bool = False) -> Report:
    """The waits; `quick`: a tenth of them."""
    descriptor_limit.raise_to_hard_limit()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500
    found = asyncio.run(_measure(min(WAITERS // 10 if quick else WAITERS, most), PROBES // 10 if quick else PROBES))
    p99 = quantiles(found.delays, n=100)[98]
    each = found.mib * 1_024 / found.waiters
    rows = [
        ["memory of the open waits", f"{found.mib:.0f} MiB, {each:.1f} KiB each"],
        ["`GET /healthz` meanwhile", f"{found.health:.0f} ms"],
        ["from the record of an end to its waiter's answer", f"median {median(found.delays):.0f} ms, p99 {p99:.0f} ms"],
        [f"one job with {found.waiters:,} waiters ends: until all are answered", f"{found.herd / 1_000:.1f} s"],
    ]
    checks = [
        Check(
            "memory of a wait",
            f"{MEMORY * 1_024 / WAITERS:.1f} KiB",
            f"{each:.1f} KiB",
            each <= MEMORY * 1_024 / WAITERS,
        ),
        Check("p99 of an answer", f"{P99} ms", f"{p99:.0f} ms", p99 <= P99),
    ]
    return Report([Table(f"{found.waiters:,} requests wait", ("what", "measured"), rows)], checks, [machine()])


if __name__ == "__main__":
    sys.exit(command("benchmarks.waiting", __doc__ or "", DOCS / "performance.md", {"waiting": waiting}))
