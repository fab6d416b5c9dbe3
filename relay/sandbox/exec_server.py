"""A fake Exec: Exec's job API as its pages describe it, with faults on demand.

Source: Exec's pages 'Get Scenario job status', 'Create Scenario job' and 'Cancel Scenario job'. In addition to Exec's
API, under `/rest/v1`, it serves `POST /sandbox/faults` (body: `FaultConfig`) and `GET /sandbox/stats`
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
"""A key that is valid in a sandbox only."""

NO_RESPONSE_FAULTS = frozenset({"closed", "timeout"})
"""Faults after which the client has no response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSettings:
    """The behaviour of the fake Exec; the defaults are those of Exec's pages."""

    keys: tuple[str, ...] = field(default=(SANDBOX_KEY,), repr=False)
    """Each key is a workspace with its own limits and jobs."""
    inactive_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys of inactive workspaces: 403."""
    members: tuple[str, ...] | None = None
    """The e-mail addresses that jobs may be created for; None: any."""
    profile: JobProfile = field(default_factory=JobProfile)
    limits: Limits = field(default_factory=Limits)
    fault_config: FaultConfig = field(default_factory=FaultConfig)
    """The faults at the start."""
    lost_callbacks: float = 0.0
    """The share of callbacks that are never sent."""
    seed: int | None = None
    keep: int = 200_000
    """Requests remembered for the statistics."""
    listener: Callable[[LoggedRequest], None] | None = None
    """Called for every request."""

    def __post_init__(self) -> None:
        if not all(KEY.fullmatch(key) for key in (*self.keys, *self.inactive_keys)):
            raise ValueError("a key is exec_live_ followed by 40 letters and digits")


@dataclass(frozen=True, slots=True)
class _NormalResponse:
    """The response to a request without a fault."""

    status: int
    body: Mapping[str, Any]


class FakeExec:
    """The fake Exec. `app` is the ASGI app; its lifespan sends the callbacks."""

    def __init__(self, settings: ExecSettings, clock: Callable[[], Instant]) -> None:
        self.settings = settings
        self.jobs: dict[str, Job] = {}
        self.records = RequestLog(settings.keep, settings.listener)
        self.callbacks = Callbacks(clock, lambda job_id: job_simulation.to_json(self.jobs[job_id], clock()))
        # Each use of randomness has its own generator, so that a fault or a lost callback changes no job.
        self._job_rng, self._fault_rng, self._loss_rng = (
            _seeded_rng(settings.seed, kind) for kind in ("life", "luck", "loss")
        )
        self.faults = Faults(self._fault_rng)
        self.faults.order(settings.fault_config, clock())
        self._clock = clock
        self._limiters = {key: WorkspaceLimiter(settings.limits) for key in settings.keys}
        self._request_ids: dict[tuple[str, str], str] = {}
        self.app = Starlette(
            routes=[
                Route(f"{BASE}/scenario-studio/jobs", self._create, methods=["POST"]),
                Route(f"{BASE}/scenario-studio/jobs/{{job_id}}", self._poll, methods=["GET"]),
                Route(f"{BASE}/scenario-studio/jobs/{{job_id}}", self._cancel, methods=["DELETE"]),
                Route("/sandbox/faults", self._configure_faults, methods=["GET", "POST"]),
                Route("/sandbox/stats", self._stats, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _unknown_path},
            lifespan=self._lifespan,
        )

    def add(
        self,
        *,
        job_id: str | None = None,
        key: str | None = None,
        profile: JobProfile | None = None,
        queued: int = 0,
        lasts: int | None = None,
        outcome: Outcome = Outcome.COMPLETED,
        name: str | None = None,
        callback: Callback | None = None,
    ) -> Job:
        """Creates a job now, without spending a request: drawn from `profile`, or, if that is None, as given.

        `queued` and `lasts` (the processing time; None: it never ends) are milliseconds.
        """
        if job_id is not None and (job_id in self.jobs or not JOB_ID.fullmatch(job_id)):
            raise ValueError("a job id is new, and made of letters, digits, - and _")
        now = self._clock()
        job_id, key = job_id or self._new_id(), key or self.settings.keys[0]
        job = job_simulation.random_job(profile or self.settings.profile, job_id, key, now, self._job_rng)
        if profile is None:
            job = job_simulation.scripted_job(job, queued, lasts, outcome, name)
        self.jobs[job.id] = job
        if callback and self._loss_rng.random() >= self.settings.lost_callbacks:
            self.callbacks.schedule(job.id, callback, job.ended_at)
        return job

    def cancel(self, job_id: str) -> Job:
        """Cancels a job that has not ended."""
        job = self.jobs[job_id] = job_simulation.cancel(self.jobs[job_id], self._clock())
        self.callbacks.reschedule(job_id, self._clock())
        return job

    def stats(self, job_id: str | None = None) -> dict[str, Any]:
        """The response of `GET /sandbox/stats`."""
        return self.records.stats(self.jobs, self.callbacks.called, self._clock(), job_id)

    # --- Exec's calls ------------------------------------------------------------------------------------------

    async def _poll(self, request: Request) -> Response:
        def poll(key: str, now: Instant) -> _NormalResponse:
            job = self._job_of_key(key, request.path_params["job_id"])
            return (
                _NormalResponse(200, job_simulation.to_json(job, now))
                if job
                else _NormalResponse(404, missing(request.path_params["job_id"]))
            )

        return await self._answer(request, "poll", poll)

    async def _cancel(self, request: Request) -> Response:
        job_id = request.path_params["job_id"]

        def cancel(key: str, now: Instant) -> _NormalResponse:
            job = self._job_of_key(key, job_id)
            if job is None:
                return _NormalResponse(404, envelope("not_found", "job_not_found", f"Job not found: {job_id}"))
            if job_simulation.ended(job, now):
                reason = f"Cannot cancel job in '{job_simulation.status(job, now)}' state"
                return _NormalResponse(400, envelope("invalid_request", "job_not_cancellable", reason))
            return _NormalResponse(200, job_simulation.to_json(self.cancel(job_id), now))

        return await self._answer(request, "cancel", cancel)

    async def _create(self, request: Request) -> Response:
        body = await request.body()

        def create(key: str, now: Instant) -> _NormalResponse:
            try:
                spec = parse_create_job(body, self.settings.members)
            except BadRequest as error:
                return _NormalResponse(error.status, error.body)
            existing = self._request_ids.get((key, spec.request_id or ""))
            job = self.jobs[existing] if existing else self._add_requested(key, spec)
            job_body = {**job_simulation.to_json(job, now), "is_new": not existing}
            return _NormalResponse(200 if existing else 201, job_body)

        return await self._answer(request, "create", create)

    def _add_requested(self, key: str, spec: ParsedCreateJob) -> Job:
        job = self.add(key=key, profile=self.settings.profile, callback=spec.callback)
        if spec.request_id:
            self._request_ids[key, spec.request_id] = job.id
        return job

    async def _answer(
        self, request: Request, call: str, respond: Callable[[str, Instant], _NormalResponse]
    ) -> Response:
        """Checks the key, the limits and the faults, in this order, and then runs the call."""
        now, job_id = self._clock(), request.path_params.get("job_id")
        key = _key(request)
        is_known = key in self._limiters or key in self.settings.inactive_keys
        masked = mask(key) if is_known else "?"
        if (refusal := self._refusal(key, call, now)) is not None:
            self.records.add(LoggedRequest(now, masked, call, job_id, refusal.status_code, None, None))
            return refusal
        fault = self.faults.next(call, job_id, now) or _NO_FAULT
        if fault.status is not None:
            self.records.add(LoggedRequest(now, masked, call, job_id, fault.status, None, fault.kind))
            return error(fault.status, job_id, now, fault.wait, fault.retry_after)
        normal = respond(key, now)
        status, job_status = (
            (None, None) if fault.kind in NO_RESPONSE_FAULTS else (normal.status, normal.body.get("status"))
        )
        fault_kind = None if fault.kind == "ok" else fault.kind
        self.records.add(
            LoggedRequest(now, masked, call, normal.body.get("id", job_id), status, job_status, fault_kind)
        )
        if fault.delay:
            await sleep_unless_disconnected(request, fault.delay)
        return corrupt_response(fault.kind, normal.status, normal.body, self._fault_rng)

    def _refusal(self, key: str, call: str, now: Instant) -> Response | None:
        if key in self.settings.inactive_keys:
            return error(403, None, now)
        if key not in self._limiters:
            return error(401, None, now)
        wait = self._limiters[key].acquire(now, creates=call == "create")
        return error(429, None, now, wait) if wait else None

    def _job_of_key(self, key: str, job_id: str) -> Job | None:
        job = self.jobs.get(job_id)
        return job if job and job.key == key else None

    def _new_id(self) -> str:
        while (job_id := job_simulation.new_id(self._job_rng)) in self.jobs:
            pass
        return job_id

    # --- the sandbox's own calls -------------------------------------------------------------------------------

    async def _configure_faults(self, request: Request) -> Response:
        if request.method == "POST":
            try:
                self.faults.order(FaultConfig.model_validate_json(await request.body()), self._clock())
            except ValidationError as error:
                first = error.errors(include_url=False, include_context=False, include_input=False)[0]
                field = ".".join(str(part) for part in first["loc"])
                message = f"{field}: {first['msg']}" if field else first["msg"]
                return JSONResponse(envelope("invalid_request", "invalid_faults", message), 400)
        return JSONResponse(self.faults.active(self._clock()))

    async def _stats(self, request: Request) -> Response:
        return JSONResponse(self.stats(request.query_params.get("job_id")))

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(self.callbacks.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


_NO_FAULT = Fault(kind="ok")


def _seeded_rng(seed: int | None, kind: str) -> random.Random:
    return random.Random(None if seed is None else f"{kind} {seed}")  # noqa: S311 (jobs, not secrets)


def _key(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


async def _unknown_path(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, in Exec's envelope."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        body = envelope("invalid_request", "method_not_allowed", f"{request.method} is not allowed for this path")
        return JSONResponse(body, 405, getattr(error, "headers", None))
    return JSONResponse(envelope("not_found", None, f"Nothing here: {json.dumps(request.url.path)}"), status)
