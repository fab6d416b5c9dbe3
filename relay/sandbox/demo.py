"""The demo: fake Exec, relay and verifying receiver on this machine, over real sockets.

It runs the relay of `relay serve` with other settings: jobs take seconds instead of minutes, and the fake Exec has
higher limits.
"""

import asyncio
import json
import statistics
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from relay import config
from relay.egress.tls import client_tls_context
from relay.model import SECOND, Instant, from_rfc3339
from relay.process import system_clock
from relay.sandbox.exec_server import BASE, SANDBOX_KEY, ExecSettings, FakeExec
from relay.sandbox.job_simulation import JobProfile
from relay.sandbox.local_server import serve
from relay.sandbox.rate_limits import Limits
from relay.sandbox.receiver import Received, Receiver
from relay.service import Relay

SECRET = "whsec_ZGVtby1zZWNyZXQtb2YtdGhlLXJlbGF5LW5vdC1mb3ItdXNl"  # noqa: S105 (it signs the demo's own messages)
PROFILE = JobProfile(median=9 * SECOND, sigma=0.45, queued=2 * SECOND, fail=0.17, cancel=0.08)
LIMITS = Limits(per_minute=1_200, per_day=1_000_000, creates_per_minute=None)
TIMEOUT = 120 * SECOND
"""A demo that takes longer than this fails."""

_REFRESH = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One job as the demo shows it."""

    job_id: str
    status: str = "queued"
    polls: int = 0
    headline: str = ""
    ended_at: Instant | None = None
    received_at: Instant | None = None
    verified: bool = False
    why: str = ""

    @property
    def delay(self) -> int | None:
        """Milliseconds from Exec's completed_at to receipt."""
        if self.ended_at is None or self.received_at is None:
            return None
        return max(0, self.received_at - self.ended_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The results of the demo; delays in seconds, from Exec's completed_at to receipt."""

    jobs: int
    notified: int
    verified: int
    polls: int
    polls_by_exec: int
    delay_median: float | None
    delay_worst: float | None
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every job was notified and every signature verified."""
        return self.jobs == self.notified == self.verified > 0


PROMPTS = (
    "Discovery call with an IT director",
    "Price objection from procurement",
    "Renewal with a silent champion",
    "Cold call to a plant manager",
    "Demo for a sceptical CFO",
    "Handover from sales to success",
    "Security review with a CISO",
    "Upsell during a support call",
    "Negotiation with legal",
    "First meeting at a trade fair",
    "Win-back after a bad quarter",
    "Executive briefing in ten minutes",
)


class Demo:
    """Runs once. `rows` is the current table; `changed` is called for each notification."""

    def __init__(
        self,
        make_app: Callable[[Relay], Starlette],
        jobs: int,
        seed: int | None,
        changed: Callable[[Row], None] = lambda _row: None,
    ) -> None:
        self.rows: list[Row] = []
        self._make_app, self._jobs, self._seed, self._changed = make_app, jobs, seed, changed
        self._began = system_clock()

    async def run(self, folder: Path) -> Summary:
        """Registers the jobs and waits for all notifications; the store is created in `folder`.

        Raises TimeoutError if a notification is missing after two minutes.
        """
        async with asyncio.timeout(TIMEOUT / SECOND), self._start_all(folder) as (exec_url, relay_url, receiver_url):
            await self._create_and_register(exec_url, relay_url, receiver_url)
            async with httpx.AsyncClient(base_url=relay_url, trust_env=False, verify=client_tls_context()) as http:
                while any(row.received_at is None for row in self.rows):
                    await self._refresh(http)
                    await asyncio.sleep(_REFRESH)
                await self._refresh(http)
        return self._summary()

    @asynccontextmanager
    async def _start_all(self, folder: Path) -> AsyncIterator[tuple[str, str, str]]:
        self._exec = FakeExec(ExecSettings(profile=PROFILE, limits=LIMITS, seed=self._seed), system_clock)
        receiver = Receiver(SECRET, system_clock, listener=self._on_received)
        async with serve(self._exec.app) as exec_url, serve(receiver.app) as receiver_url:
            relay = await Relay.open(_settings(exec_url, folder))
            async with serve(self._make_app(relay)) as relay_url:
                yield exec_url, relay_url, receiver_url

    async def _create_and_register(self, exec_url: str, relay_url: str, receiver_url: str) -> None:
        bearer = {"authorization": f"Bearer {SANDBOX_KEY}"}
        async with httpx.AsyncClient(trust_env=False, verify=client_tls_context()) as http:
            for number in range(self._jobs):
                prompt = PROMPTS[number % len(PROMPTS)]
                fields = {"user_email": "demo@example.com", "prompt": prompt}
                response = await http.post(f"{exec_url}{BASE}/scenario-studio/jobs", json=fields, headers=bearer)
                job_id = response.raise_for_status().json()["id"]
                self.rows.append(Row(job_id=job_id))
                request = {"job_id": job_id, "callback_url": f"{receiver_url}/callback", "secret": SECRET}
                (await http.post(f"{relay_url}/v1/registrations", json=request)).raise_for_status()

    async def _refresh(self, http: httpx.AsyncClient) -> None:
        """Updates the rows from the relay's API."""
        jobs = (await http.get("/v1/jobs", params={"limit": 200})).raise_for_status().json()["data"]
        by_id = {job["job_id"]: job for job in jobs}
        self.rows = [_updated(row, by_id.get(row.job_id)) for row in self.rows]

    def _on_received(self, received: Received) -> None:
        job = _job_of(received)
        for index, row in enumerate(self.rows):
            if row.job_id == job.get("id") and row.received_at is None:
                row = replace(
                    row,
                    status=job.get("status", row.status),
                    headline=_headline(job),
                    ended_at=from_rfc3339(job.get("completed_at")),
                    received_at=received.at,
                    verified=received.verified,
                    why=received.error,
                )
                self.rows[index] = row
                self._changed(row)

    def _summary(self) -> Summary:
        delays = [row.delay / SECOND for row in self.rows if row.delay is not None]
        return Summary(
            jobs=len(self.rows),
            notified=sum(row.received_at is not None for row in self.rows),
            verified=sum(row.verified for row in self.rows),
            polls=sum(row.polls for row in self.rows),
            polls_by_exec=sum(request.call == "poll" for request in self._exec.records.requests),
            delay_median=round(statistics.median(delays), 3) if delays else None,
            delay_worst=round(max(delays), 3) if delays else None,
            seconds=round((system_clock() - self._began) / SECOND, 1),
        )


def _settings(exec_url: str, folder: Path) -> config.Config:
    budget = {"per_minute": LIMITS.per_minute, "per_day": LIMITS.per_day, "share": 1.0}
    return config.from_mapping(
        {
            "exec": {"base_url": f"{exec_url}{BASE}", "api_key": SANDBOX_KEY, "budget": budget},
            "polling": {"strategy": "interval", "interval": "1s", "tick": "100ms"},
            "storage": {"url": f"sqlite:///{folder}/demo.db"},
            "security": {"allow_http": True, "allow_networks": ["127.0.0.0/8"]},
        }
    )


def _updated(row: Row, job: dict[str, Any] | None) -> Row:
    if job is None:
        return row
    status = (job["job"] or {}).get("status") or row.status
    return replace(row, polls=job["polls"], status=status)


def _job_of(received: Received) -> dict[str, Any]:
    """Exec's job in a notification; empty if there is none."""
    try:
        job = json.loads(received.body)["data"]["job"]
    except (ValueError, KeyError, TypeError):
        return {}
    return job if isinstance(job, dict) else {}


def _headline(job: dict[str, Any]) -> str:
    scenario, error = job.get("scenario") or {}, job.get("error") or {}
    return str(scenario.get("name") or error.get("message") or job.get("status") or "")
