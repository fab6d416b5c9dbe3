"""Creates a job at Exec and registers it.

Exec creates one job for each request_id, and the relay never asks without one. If the relay dies between Exec's
response and its own commit, Exec has a job that the relay does not know. A repetition of the call with the same
request_id gets that very job, registered, and creates nothing twice: the relay keeps Exec's response for a day, and
after that Exec still knows the request_id. If nobody repeats the call, Exec's callback registers the job for the
standing endpoints."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from relay.errors import Conflict, StoreError
from relay.model import DAY, SECOND, Instant, ScenarioJob, new_id
from relay.model.create_result import CreateJobResult, JobCreated, JobCreationUnknown, JobRejected
from relay.polling import ExecClient, Poller, RateLimit
from relay.polling.request_budget import allowed_now, is_late, next_allowed_at, spend
from relay.polling.schedule.next_poll import poll_state_of
from relay.polling.transitions import Policy
from relay.registration import exec_callback_tokens
from relay.registration.register import RegistrationResult, register
from relay.registration.request import ValidatedRegistration
from relay.store import Store, Tx
from relay.store.tables import callback_tokens, idempotency, watches, workspaces
from relay.store.tables.callback_tokens import CallbackToken
from relay.store.tables.idempotency import StoredResponse
from relay.telemetry import Telemetry

CALLBACK_TRUSTED_FOR = 7 * DAY
"""The relay relies on Exec's callbacks if one arrived within this time; otherwise it polls the job as any other."""


@dataclass(frozen=True, slots=True)
class ExecJobRequest:
    """A request to Exec's create-job call, without the callback URL."""

    request_id: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reserved:
    """A request of the budget was spent at `at`, and Exec may be asked; or `job` exists from an earlier call."""

    at: Instant
    job: ScenarioJob | None


@dataclass(frozen=True, slots=True)
class Throttled:
    """Nothing was created: the workspace's budget is spent, or the workspace is paused, until `until`."""

    until: Instant


@dataclass(frozen=True, slots=True)
class CreatedJob:
    """The job exists at Exec and is registered."""

    job: ScenarioJob
    result: RegistrationResult


@dataclass(frozen=True, slots=True)
class NotRegistered:
    """Exec created the job, but the store failed: a repetition with the same request_id registers it."""

    error: StoreError


CreationOutcome = CreatedJob | NotRegistered | Throttled | JobRejected | JobCreationUnknown


class JobCreator:
    """Creates jobs at Exec and registers them. `public_url` is the relay's, for Exec's callback."""

    def __init__(
        self,
        store: Store,
        clients: Mapping[str, ExecClient],
        poller: Poller,
        clock: Callable[[], Instant],
        telemetry: Telemetry,
        public_url: str | None,
    ) -> None:
        self._store, self._clients, self._poller, self._clock = store, clients, poller, clock
        self._telemetry, self._public_url = telemetry, public_url

    async def create(
        self, registration: ValidatedRegistration, request: ExecJobRequest, exec_callback: bool | None = None
    ) -> CreationOutcome:
        """Creates the job, unless an earlier call with the same request_id did, and registers it.

        The job_id of `registration` is ignored. `exec_callback` says whether to rely on Exec's callback instead of
        polling at once; None: if callbacks arrived lately. Raises Conflict if the request_id was used for another job,
        RequestError for a registration that is refused, StoreError if nothing was created.
        """
        workspace = registration.workspace
        token, reserved = await self._reserve(workspace, request)
        if isinstance(reserved, Throttled):
            return reserved
        job = reserved.job
        if job is None:
            result = await self._send(workspace, request, token)
            if not isinstance(result, JobCreated):
                return result
            job = result.job
        try:
            return CreatedJob(job, await self._register(registration, request, exec_callback, job))
        except StoreError as error:
            return NotRegistered(error)

    async def _reserve(self, workspace: str, request: ExecJobRequest) -> tuple[CallbackToken, Reserved | Throttled]:
        """The token for Exec's callback, and as `reserve_request`; again if that took so long that the request would be
        late."""
        rate_limit, may_spend = self._poller.rate_limits[workspace], self._poller.may_spend

        def reserve(tx: Tx) -> tuple[CallbackToken, Reserved | Throttled]:
            token = exec_callback_tokens.get_or_create_token(tx, workspace)
            return token, reserve_request(
                tx, workspace, rate_limit, request.request_id, request.fields, self._clock, may_spend
            )

        while True:
            token, reserved = await self._store.write(reserve)
            if isinstance(reserved, Throttled) or reserved.job or not is_late(reserved.at, self._clock()):
                return token, reserved

    async def _send(self, workspace: str, request: ExecJobRequest, token: CallbackToken) -> CreateJobResult:
        url = exec_callback_tokens.url_of(token, self._public_url)
        result = await self._clients[workspace].create({**request.fields, **({"callback_url": url} if url else {})})
        self._telemetry.job_creation_done(workspace, result)
        return result

    async def _register(
        self,
        registration: ValidatedRegistration,
        request: ExecJobRequest,
        exec_callback: bool | None,
        job: ScenarioJob,
    ) -> RegistrationResult:
        now, workspace = self._clock(), registration.workspace
        policy = self._poller.current_policy(workspace)

        def work(tx: Tx) -> RegistrationResult:
            relies = self._callbacks_arrive(tx, workspace, now) if exec_callback is None else exec_callback
            created = replace(registration, job_id=job.id, exec_callback=relies, request_id=request.request_id)
            result = register(tx, created, now)
            store_response(tx, workspace, request.request_id, request.fields, job, now)
            seed_first_poll(tx, workspace, job, policy, now)
            return result

        return await self._store.write(work)

    def _callbacks_arrive(self, tx: Tx, workspace: str, now: Instant) -> bool:
        """Whether Exec's callbacks reached this relay lately."""
        token = callback_tokens.get(tx, workspace)
        last = token.last_callback_at if token else None
        return self._public_url is not None and last is not None and last > now - CALLBACK_TRUSTED_FOR


def new_request_id(now: Instant, random_bytes: bytes) -> str:
    """A request_id for a caller that gave none."""
    return new_id("req", now, random_bytes)


def request_id_of(caller: str, key: str) -> str:
    """The request_id for an `Idempotency-Key` of a caller, an API key's name."""
    return "idem_" + idempotency.fingerprint([caller, key])[:40]


def reserve_request(
    tx: Tx,
    workspace: str,
    rate_limit: RateLimit,
    request_id: str,
    fields: Mapping[str, Any],
    clock: Callable[[], Instant],
    may_spend: Callable[[], bool] = lambda: True,
) -> Reserved | Throttled:
    """Spends one of the workspace's requests before Exec is asked: a crash can waste it, but never overdraw the budget.

    Locks the workspace, then reads the clock, so that all that other relays spent before is in the past. Raises
    Conflict if the request_id was used for another job."""
    state, now = workspaces.lock(tx, workspace), clock()
    stored = idempotency.get(tx, _key(workspace, request_id))
    if stored is not None and stored.created_at > now - idempotency.TTL:
        if stored.request_hash != idempotency.fingerprint(fields):
            text = "this request_id was used for another job; take a new one for a new job"
            raise Conflict("request_id_reused", text, "request_id")
        return Reserved(now, ScenarioJob.model_validate_json(stored.answer))
    ledger = state.ledger
    if not may_spend():
        return Throttled(now + SECOND)
    is_paused = state.paused_until is not None and state.paused_until > now
    if is_paused or allowed_now(ledger, rate_limit, now, 1) < 1:
        return Throttled(max(next_allowed_at(ledger, rate_limit, now), state.paused_until or 0))
    workspaces.save(tx, replace(state, ledger=spend(ledger, 1, now)))
    return Reserved(now, None)


def store_response(
    tx: Tx, workspace: str, request_id: str, fields: Mapping[str, Any], job: ScenarioJob, now: Instant
) -> None:
    """Stores Exec's response for repetitions of the call, in the transaction that registers the job."""
    response = json.dumps(job.raw(), ensure_ascii=False)
    key, request_hash = _key(workspace, request_id), idempotency.fingerprint(fields)
    idempotency.store(
        tx, StoredResponse(key=key, request_hash=request_hash, status=201, answer=response, created_at=now)
    )


def seed_first_poll(tx: Tx, workspace: str, job: ScenarioJob, policy: Policy, now: Instant) -> None:
    """Plans the first poll of a new job as after a poll, because Exec's response shows the job already.

    Locks the watch.
    """
    watch = watches.get_for_update(tx, workspace, job.id)
    if watch is None or watch.polls or watch.callback_received_at is not None:
        return
    if watch.job is not None or job.final_event is not None:
        return
    polled = replace(watch, job=job, last_poll_at=now)
    next = policy.plan(poll_state_of(polled), now)
    watches.save(tx, replace(polled, next_poll_at=next.at, next_poll_reason=next.reason))


def _key(workspace: str, request_id: str) -> str:
    return idempotency.fingerprint(["create job", workspace, request_id])
