"""Waits by the thousand: what 10,000 open ones cost, how soon one is answered after its job's end is recorded, and what
they cost those who write meanwhile.

One relay as `relay serve` starts it, on SQLite and on PostgreSQL, beside the sandbox. `make bench-waiting` runs it.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count, islice
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import httpx

from benchmarks.command import DOCS, command
from benchmarks.databases import postgresql
from benchmarks.machine import machine
from benchmarks.speed import asker, serving
from benchmarks.speed.cores import THEIRS
from benchmarks.speed.serving import Server
from benchmarks.tables import Check, Report, Table
from relay.model import from_rfc3339
from relay.process import descriptor_limit, system_clock
from relay.sandbox.exec_server import BASE, SANDBOX_KEY, ExecSettings, FakeExec
from relay.sandbox.job_simulation import JobProfile
from relay.sandbox.local_server import serve
from relay.sandbox.rate_limits import UNLIMITED

WAITERS = 10_000
PROBES, TOGETHER = 200, 4
"""Jobs that end while all the others wait, so many at the same time: more that run would be polled beside them."""
WRITERS = 16
"""Clients that register at the same time."""
WRITES, ROUNDS = 1_500, 3
"""Registrations of one round; rounds before, during and after the waits."""

MEMORY = 100
"""MiB that 10,000 waiters may cost."""
P99 = 50
"""Milliseconds from the record of an end to the answer."""
SHARE = 0.9
"""Of the registrations a second without waits, those with waits are so many at least."""

_BATCH = 100
_KEY = "relay_" + "b" * 43
_BUDGET = {"per_minute": 100_000, "per_day": 10_000_000, "share": 1.0}


@dataclass(frozen=True)
class Measured:
    """What one store gave; times in milliseconds, rates a second."""

    waiters: int
    mib: float
    health: float
    delays: list[float]
    herd: float
    rates_alone: list[float]
    rates_beside: list[float]

    @property
    def kib_each(self) -> float:
        """Memory of one wait."""
        return self.mib * 1_024 / self.waiters

    @property
    def p99(self) -> float:
        """Of the delays."""
        return quantiles(self.delays, n=100)[98]

    @property
    def share(self) -> float:
        """Registrations beside the waits, of those without them."""
        return median(self.rates_beside) / median(self.rates_alone)


class Subject:
    """The relay's process, its address, and the stand-in for Exec."""

    def __init__(self, server: Server, http: httpx.AsyncClient, exec: FakeExec) -> None:
        self.server, self.http, self.exec = server, http, exec
        self.opened: list[asyncio.StreamReader] = []
        self.writers: list[asyncio.StreamWriter] = []
        self._writes = count()

    async def create(self) -> str:
        """A job that ends when it is cancelled."""
        answer = await self.http.post("/v1/jobs", json={"user_email": "a@example.com", "prompt": "p"})
        return str(answer.json()["job"]["id"])

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

    async def delay(self) -> float:
        """Milliseconds from when the relay recorded the end of a job until its waiter had the answer."""
        job_id = await self.create()
        waiting = asyncio.create_task(self.http.get(f"/v1/jobs/{job_id}", params={"wait": 60}))
        await asyncio.sleep(0.05)
        self.exec.cancel(job_id)
        answer = await waiting
        return max(0.0, time.time() * 1_000 - (from_rfc3339(answer.json()["ended_at"]) or 0))

    async def rates(self, jobs: Sequence[str], writes: int) -> list[float]:
        """Registrations a second, round by round, by WRITERS at once, each with a callback URL of its own."""
        return [await self._rate(jobs, writes) for _ in range(ROUNDS)]

    async def _rate(self, jobs: Sequence[str], writes: int) -> float:
        headers = f"authorization: Bearer {_KEY}\r\n"
        requests = []
        for number in islice(self._writes, writes):
            body = {"job_id": jobs[number % len(jobs)], "callback_url": f"https://example.com/{number}"}
            requests.append(asker.post("/v1/registrations", json.dumps(body).encode(), headers))
        began = time.perf_counter()
        statuses = await asker.ask(self.server.port, requests, WRITERS)
        if statuses != {201: writes}:
            raise RuntimeError(f"registrations were refused: {dict(statuses)}")
        return writes / (time.perf_counter() - began)


@asynccontextmanager
async def _subject(store_url: str) -> AsyncIterator[Subject]:
    settings = ExecSettings(limits=UNLIMITED, profile=JobProfile(stuck=1.0), seed=1)
    exec = FakeExec(settings, system_clock)
    async with serve(exec.app) as exec_url:
        wish = {
            "exec": {"api_key": SANDBOX_KEY, "base_url": exec_url + BASE, "budget": _BUDGET},
            "polling": {"strategy": "interval", "interval": "1s", "tick": "50ms"},
            "security": {"api_keys": [_KEY], "requests_per_minute": None, "waits_per_key": 20_000},
            "storage": {"url": store_url},
        }
        with serving.relay(wish) as server:
            url = f"http://127.0.0.1:{server.port}"
            headers = {"authorization": f"Bearer {_KEY}"}
            async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=60) as http:
                yield Subject(server, http, exec)


async def _measure(store_url: str, waiters: int, probes: int, writes: int) -> Measured:
    async with _subject(store_url) as subject:
        stuck = await subject.create()
        written = [await subject.create() for _ in range(WRITERS)]
        rates_alone = await subject.rates(written, writes)
        for _ in range(200):
            await subject.http.get(f"/v1/jobs/{stuck}")
        before = subject.server.memory()
        await subject.open(stuck, waiters)
        mib = subject.server.memory() - before
        began = time.perf_counter()
        await subject.http.get("/healthz")
        health = (time.perf_counter() - began) * 1_000
        delays: list[float] = []
        while len(delays) < probes:
            delays += await asyncio.gather(*(subject.delay() for _ in range(TOGETHER)))
        rates_beside = await subject.rates(written, writes)
        subject.exec.cancel(stuck)
        began = time.perf_counter()
        await asyncio.gather(*(reader.readuntil(b"\r\n\r\n") for reader in subject.opened))
        herd = (time.perf_counter() - began) * 1_000
        for writer in subject.writers:
            writer.close()
        rates_alone += await subject.rates(written, writes)
        return Measured(waiters, mib, health, delays, herd, rates_alone, rates_beside)


def waiting(quick: bool = False) -> Report:
    """The waits on each store; `quick`: a tenth of them."""
    descriptor_limit.raise_to_hard_limit()
    part = 10 if quick else 1
    waiters = min(WAITERS // part, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)
    measured = {}
    with TemporaryDirectory() as folder, postgresql(THEIRS) as server:
        for name, url in {"SQLite": f"sqlite:///{folder}/relay.db", "PostgreSQL": server.fresh()}.items():
            measured[name] = asyncio.run(_measure(url, waiters, PROBES // part, WRITES // part))
    return _report(measured)


def _report(measured: Mapping[str, Measured]) -> Report:
    def row(what: str, shown: Callable[[Measured], str]) -> list[str]:
        return [what, *map(shown, measured.values())]

    rows = [
        row("memory of an open wait", lambda of: f"{of.kib_each:.1f} KiB"),
        row("memory of all", lambda of: f"{of.mib:.0f} MiB"),
        row("`GET /healthz` meanwhile", lambda of: f"{of.health:.0f} ms"),
        row(
            "from the record of an end to its waiter's answer",
            lambda of: f"median {median(of.delays):.0f} ms, p99 {of.p99:.0f} ms",
        ),
        row(f"registrations by {WRITERS} writers, of those without waits", lambda of: f"{of.share:.2f}×"),
        row("the job of all waits ends: until all are answered", lambda of: f"{of.herd / 1_000:.1f} s"),
    ]
    most = MEMORY * 1_024 / WAITERS
    checks = []
    for name, of in measured.items():
        checks += [
            Check(f"memory of a wait, {name}", f"<= {most:.1f} KiB", f"{of.kib_each:.1f} KiB", of.kib_each <= most),
            Check(f"p99 of an answer, {name}", f"<= {P99} ms", f"{of.p99:.0f} ms", of.p99 <= P99),
            Check(f"registrations beside waits, {name}", f">= {SHARE}×", f"{of.share:.2f}×", of.share >= SHARE),
        ]
    waiters = next(iter(measured.values())).waiters
    return Report([Table(f"{waiters:,} requests wait", ("", *measured), rows)], checks, [machine()], "held to")


if __name__ == "__main__":
    sys.exit(command("benchmarks.waiting", __doc__ or "", DOCS / "performance.md", {"waiting": waiting}))
