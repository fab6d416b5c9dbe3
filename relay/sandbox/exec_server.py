"""An Exec stand-in: Exec's job calls as its pages describe them, with faults on demand.

Source: Exec's pages 'Get Scenario job status', 'Create Scenario job' and 'Cancel Scenario job'. Beside Exec's API,
which is under `/rest/v1`, it answers `POST /sandbox/faults` (body: `FaultConfig`) and `GET /sandbox/stats`
(`?job_id=`).
"""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from relay.model import JOB_ID, Instant
from relay.sandbox import job_simulation
from relay.sandbox.create_job import BadRequest, ParsedCreateJob, parse_create_job
from relay.sandbox.fault_injection import Fault, FaultConfig, Faults, corrupt_response, envelope, error, missing
from relay.sandbox.job_callbacks import Callback, Callbacks
from relay.sandbox.job_simulation import Job, JobProfile, Outcome
from relay.sandbox.local_server import sleep_unless_disconnected
from relay.sandbox.rate_limits import Limits, WorkspaceLimiter
from relay.sandbox.request_log import LoggedRequest, RequestLog, mask

BASE = "/rest/v1"
KEY = re.compile(r"exec_live_[A-Za-z0-9]{40}")
SANDBOX_KEY = "exec_live_" + "sandbox0" * 5
"""A key that opens nothing but a sandbox."""

NO_RESPONSE_FAULTS = frozenset({"closed", "timeout"})
"""Faults after which the asker has no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSettings:
    """How the stand-in behaves; the defaults are what Exec's pages say."""

    keys: tuple[str, ...] = field(default=(SANDBOX_KEY,), repr=False)
    """Each is a workspace of its own, with limits and jobs of its own."""
    inactive_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys of inactive workspaces: 403."""
    members: tuple[str, ...] | None = None
    """The e-mail addresses that jobs may be made for; None: any."""
    profile: JobProfile = field(default_factory=JobProfile)
    limits: Limits = field(default_factory=Limits)
    fault_config: FaultConfig = field(default_factory=FaultConfig)
    """The faults at the start."""
    lost_callbacks: float = 0.0
    """The share of callbacks that are never made."""
    seed: int | None = None
    keep: int = 200_000
    """Requests remembered for the statistics."""
    listener: Callable[[LoggedRequest], None] | None = None
    """Hears of every request."""

    def __post_init__(self) -> None:
        if not all(KEY.fullmatch(key) for key in (*self.keys, *self.inactive_keys)):
            raise ValueError("a key is exec_live_ followed by 40 letters and digits")


@dataclass(frozen=True, slots=True)
class _Plain:
    """The answer that a request has earned."""

    status: int
    body: Mapping[str, Any]


class FakeExec:
    """The stand-in. `app` is what a server runs; its lifespan makes the callbacks."""

    def __init__(self, settings: ExecSettings, clock: Callable[[], Instant]) -> None:
        self.settings = settings
        self.jobs: dict[str, Job] = {}
        self.records = RequestLog(settings.keep, settings.listener)
        self.callbacks = Callbacks(clock, lambda job_id: job_simulation.to_json(self.jobs[job_id], clock()))
        # Each kind of chance has its own source, so that a fault or a lost callback changes no job's life.
        self._lives, self._luck, self._losses = (_seeded_rng(settings.seed, kind) for kind in ("life", "luck", "loss"))
        self.faults = Faults(self._luck)
        self.faults.order(settings.fault_config, clock())
        self._clock = clock
        self._allowances = {key: WorkspaceLimiter(settings.limits) for key in settings.keys}
        self._known: dict[tuple[str, str], str] = {}
        self.app = Starlette(
            routes=[
                Route(f"{BASE}/scenario-studio/jobs", self._create, methods=["POST"]),
                Route(f"{BASE}/scenario-studio/jobs/{{job_id}}", self._poll, methods=["GET"]),
                Route(f"{BASE}/scenario-studio/jobs/{{job_id}}", self._cancel, methods=["DELETE"]),
                Route("/sandbox/faults", self._order, methods=["GET", "POST"]),
                Route("/sandbox/stats", self._stats, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _not_here},
            lifespan=self._lifespan,
        )

    def add(
        self,
        *,
        job_id: str | None = None,
        key: str | None = None,
        law: JobProfile | None = None,
        queued: int = 0,
        lasts: int | None = None,
        outcome: Outcome = Outcome.COMPLETED,
        name: str | None = None,
        callback: Callback | None = None,
    ) -> Job:
        """A job made now, spending no request. By `profile`; or, where that is None, exactly as the others say:
        `queued` and `lasts` (of the processing; None: stuck) in milliseconds.
        """
        if job_id is not None and (job_id in self.jobs or not JOB_ID.fullmatch(job_id)):
            raise ValueError("a job id is new, and made of letters, digits, - and _")
        now = self._clock()
        job_id, key = job_id or self._new_id(), key or self.settings.keys[0]
        job = job_simulation.random_job(law or self.settings.profile, job_id, key, now, self._lives)
        if law is None:
            job = job_simulation.scripted_job(job, queued, lasts, outcome, name)
        self.jobs[job.id] = job
        if callback and self._losses.random() >= self.settings.lost_callbacks:
            self.callbacks.schedule(job.id, callback, job.ended_at)
        return job

    def cancel(self, job_id: str) -> Job:
        """Cancels a job that has not ended."""
        job = self.jobs[job_id] = job_simulation.cancel(self.jobs[job_id], self._clock())
        self.callbacks.reschedule(job_id, self._clock())
        return job

    def stats(self, job_id: str | None = None) -> dict[str, Any]:
        """What `GET /sandbox/stats` shows."""
        return self.records.stats(self.jobs, self.callbacks.called, self._clock(), job_id)

    # --- Exec's calls ------------------------------------------------------------------------------------------

    async def _poll(self, request: Request) -> Response:
        def poll(key: str, now: Instant) -> _Plain:
            job = self._job_of_key(key, request.path_params["job_id"])
            return (
                _Plain(200, job_simulation.to_json(job, now))
                if job
                else _Plain(404, missing(request.path_params["job_id"]))
            )

        return await self._answer(request, "poll", poll)

    async def _cancel(self, request: Request) -> Response:
        job_id = request.path_params["job_id"]

        def cancel(key: str, now: Instant) -> _Plain:
            job = self._job_of_key(key, job_id)
            if job is None:
                return _Plain(404, envelope("not_found", "job_not_found", f"Job not found: {job_id}"))
            if job_simulation.ended(job, now):
                why = f"Cannot cancel job in '{job_simulation.status(job, now)}' state"
                return _Plain(400, envelope("invalid_request", "job_not_cancellable", why))
            return _Plain(200, job_simulation.to_json(self.cancel(job_id), now))

        return await self._answer(request, "cancel", cancel)

    async def _create(self, request: Request) -> Response:
        body = await request.body()

        def create(key: str, now: Instant) -> _Plain:
            try:
                wanted = parse_create_job(body, self.settings.members)
            except BadRequest as wrong:
                return _Plain(wrong.status, wrong.body)
            known = self._known.get((key, wanted.request_id or ""))
            job = self.jobs[known] if known else self._made(key, wanted)
            return _Plain(200 if known else 201, {**job_simulation.to_json(job, now), "is_new": not known})

        return await self._answer(request, "create", create)

    def _made(self, key: str, wanted: ParsedCreateJob) -> Job:
        job = self.add(key=key, law=self.settings.profile, callback=wanted.callback)
        if wanted.request_id:
            self._known[key, wanted.request_id] = job.id
        return job

    async def _answer(self, request: Request, call: str, act: Callable[[str, Instant], _Plain]) -> Response:
        """Who asks, what is left of the limits, what goes wrong: only then the call itself."""
        now, job_id = self._clock(), request.path_params.get("job_id")
        key = _key(request)
        known = key in self._allowances or key in self.settings.inactive_keys
        asker = mask(key) if known else "?"
        if (refusal := self._refusal(key, call, now)) is not None:
            self.records.add(LoggedRequest(now, asker, call, job_id, refusal.status_code, None, None))
            return refusal
        fault = self.faults.next(call, job_id, now) or _WELL
        if fault.status is not None:
            self.records.add(LoggedRequest(now, asker, call, job_id, fault.status, None, fault.kind))
            return error(fault.status, job_id, now, fault.wait, fault.retry_after)
        plain = act(key, now)
        status, said = (None, None) if fault.kind in NO_RESPONSE_FAULTS else (plain.status, plain.body.get("status"))
        struck = None if fault.kind == "ok" else fault.kind
        self.records.add(LoggedRequest(now, asker, call, plain.body.get("id", job_id), status, said, struck))
        if fault.delay:
            await sleep_unless_disconnected(request, fault.delay)
        return corrupt_response(fault.kind, plain.status, plain.body, self._luck)

    def _refusal(self, key: str, call: str, now: Instant) -> Response | None:
        if key in self.settings.inactive_keys:
            return error(403, None, now)
        if key not in self._allowances:
            return error(401, None, now)
        wait = self._allowances[key].acquire(now, creates=call == "create")
        return error(429, None, now, wait) if wait else None

    def _job_of_key(self, key: str, job_id: str) -> Job | None:
        job = self.jobs.get(job_id)
        return job if job and job.key == key else None

    def _new_id(self) -> str:
        while (job_id := job_simulation.new_id(self._lives)) in self.jobs:
            pass
        return job_id

    # --- the sandbox's own calls -------------------------------------------------------------------------------

    async def _order(self, request: Request) -> Response:
        if request.method == "POST":
            try:
                self.faults.order(FaultConfig.model_validate_json(await request.body()), self._clock())
            except ValidationError as wrong:
                first = wrong.errors(include_url=False, include_context=False, include_input=False)[0]
                where = ".".join(str(part) for part in first["loc"])
                told = f"{where}: {first['msg']}" if where else first["msg"]
                return JSONResponse(envelope("invalid_request", "invalid_faults", told), 400)
        return JSONResponse(self.faults.active(self._clock()))

    async def _stats(self, request: Request) -> Response:
        return JSONResponse(self.stats(request.query_params.get("job_id")))

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        calling = asyncio.create_task(self.callbacks.run())
        try:
            yield
        finally:
            calling.cancel()
            with suppress(asyncio.CancelledError):
                await calling


_WELL = Fault(kind="ok")


def _seeded_rng(seed: int | None, kind: str) -> random.Random:
    return random.Random(None if seed is None else f"{kind} {seed}")  # noqa: S311 (fates, not secrets)


def _key(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


async def _not_here(request: Request, fault: Exception) -> Response:
    """Unknown paths and methods, in Exec's envelope."""
    status = fault.status_code if isinstance(fault, HTTPException) else 500
    if status == 405:
        told = envelope("invalid_request", "method_not_allowed", f"{request.method} is not for this path")
        return JSONResponse(told, 405, getattr(fault, "headers", None))
    return JSONResponse(envelope("not_found", None, f"Nothing here: {json.dumps(request.url.path)}"), status)
