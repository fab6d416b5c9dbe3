"""Creates a job at Exec and registers it, in one request."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field
from starlette.responses import Response

from relay import registration
from relay.errors import Conflict, NotFound, StoreError, ValidationFailed
from relay.model import ID_BYTES, MINUTE, SECOND, ScenarioJob
from relay.model.create_result import CreateJobResult, JobCreated, JobCreationUnknown, JobRejected
from relay.registration import RegistrationResult, ValidatedRegistration, exec_callback_tokens, job_creation
from relay.registration.job_creation import Reserved, Throttled
from relay.store.engine.database import Tx
from relay.store.tables import callback_tokens as tokens
from relay.web.core import idempotency
from relay.web.core.errors import BadGateway, GatewayTimeout, TooManyRequests, Unavailable
from relay.web.core.public_url import with_base_path
from relay.web.core.registration_requests import standing_endpoints, validate_registration
from relay.web.core.route import TRACED, RequestContext, api_route, json_response
from relay.web.schemas import presenters
from relay.web.schemas.create_job import CreateJobRequest
from relay.web.schemas.responses import RegistrationResponse, ResponseModel

_PLACEHOLDER_JOB_ID = "later"
"""Stands for the job's id while the rest of the request is validated, before anything is created."""


@dataclass(frozen=True, slots=True)
class ExecJobRequest:
    """The request to Exec's create-job call."""

    request_id: str
    is_given: bool
    """Whether the caller chose the request_id."""
    fields: Mapping[str, Any]

    def named(self) -> str:
        """The request_id in words: a value of the request is not repeated."""
        return "the same request_id" if self.is_given else f'"request_id": "{self.request_id}"'


class CreatedResponse(ResponseModel):
    """A job as Exec created it, and its registration."""

    job: dict[str, Any] = Field(description="Exec's response, unchanged")
    request_id: str = Field(description="a repetition of the call with it creates nothing twice")
    registration: RegistrationResponse


@api_route(
    "POST",
    "/v1/jobs",
    scope="register",
    tag="jobs",
    answers={201: CreatedResponse, 200: CreatedResponse},
    refusals=(400, 404, 409, 429, 502, 504),
    headers=idempotency.OPENAPI_HEADER | TRACED,
)
async def create_job(call: RequestContext, body: CreateJobRequest) -> Response:
    """Create a job at Exec and register it.

    The relay passes Exec's fields on, fills in its own callback where server.public_url is set, and notifies as any
    registration does. It costs one of the workspace's requests. The same request_id again creates nothing twice and
    gets 200 with the existing job, even if the first response was lost; without a request_id, the Idempotency-Key is
    used as one.
    """
    derived = _request_id_of_key(call)
    request_id = (
        body.request_id or derived or job_creation.new_request_id(call.now, call.relay.store.random_bytes(ID_BYTES))
    )
    exec_request = ExecJobRequest(request_id, request_id == body.request_id, body.for_exec(request_id))
    checked = validate_registration(call, body, _PLACEHOLDER_JOB_ID, False)
    if body.exec_callback and call.relay.config.server.public_url is None:
        text = "Exec can't call back: set server.public_url in the relay's configuration, or leave this out"
        raise ValidationFailed("no_public_url", text, "exec_callback")
    reserved = await _reserve(call, checked.workspace, exec_request)
    if isinstance(reserved, Throttled):
        text = "the workspace's requests are used up for now; nothing was created"
        raise TooManyRequests("rate_limited", text, max(reserved.until - call.relay.clock(), SECOND))
    if reserved.job is not None:
        return await _register(call, body, checked, exec_request, reserved.job)
    result = await _send(call, checked.workspace, exec_request)
    if isinstance(result, JobRejected) and result.status == 429:
        raise TooManyRequests(
            "rate_limited", f"Exec says: {result.message}; nothing was created", result.retry_after or MINUTE
        )
    return await _register(call, body, checked, exec_request, _job_of(result, exec_request))


OPERATIONS = (create_job,)


async def _reserve(call: RequestContext, space: str, exec_request: ExecJobRequest) -> Reserved | Throttled:
    allowance = call.relay.poller.rate_limits[space]
    return await call.relay.store.write(
        lambda tx: job_creation.reserve_request(
            tx, space, allowance, exec_request.request_id, exec_request.fields, call.relay.clock
        )
    )


async def _send(call: RequestContext, space: str, exec_request: ExecJobRequest) -> CreateJobResult:
    """Exec's response to its create-job call. The relay fills in its own callback."""
    token = await call.relay.store.write(lambda tx: exec_callback_tokens.get_or_create_token(tx, space))
    url = exec_callback_tokens.url_of(token, call.relay.config.server.public_url)
    result = await call.relay.clients[space].create({**exec_request.fields, **({"callback_url": url} if url else {})})
    call.relay.telemetry.job_creation_done(space, result)
    return result


async def _register(
    call: RequestContext,
    body: CreateJobRequest,
    checked: ValidatedRegistration,
    exec_request: ExecJobRequest,
    job: ScenarioJob,
) -> Response:
    """Registers a job that Exec has created. Raises Unavailable if the store fails."""
    now = call.relay.clock()

    def work(tx: Tx) -> RegistrationResult:
        relies = body.exec_callback if body.exec_callback is not None else _callbacks_work(call, tx, checked.workspace)
        result = registration.register(tx, replace(checked, job_id=job.id, exec_callback=relies), now)
        job_creation.store_response(tx, checked.workspace, exec_request.request_id, exec_request.fields, job, now)
        job_creation.seed_first_poll(tx, checked.workspace, job, call.relay.poller.plan, now)
        return result

    try:
        result = await call.relay.store.write(work)
    except StoreError as error:
        text = (
            f"Exec created the job, but {error}. Repeat the call with {exec_request.named()}: nothing is created twice"
        )
        raise Unavailable("job_not_registered", text) from error
    call.relay.after_registration([result], call.request_id)
    standing = await call.relay.store.read(lambda tx: standing_endpoints(tx, [result]))
    answer = CreatedResponse(
        job=job.raw(),
        request_id=exec_request.request_id,
        registration=presenters.registration_result(result, call.caller.name, call.caller.may_see_all, standing),
    )
    location = with_base_path(call.request, f"/v1/jobs/{job.id}")
    return json_response(201 if result.is_new else 200, answer, {"location": location})


def _callbacks_work(call: RequestContext, tx: Tx, space: str) -> bool:
    """Whether Exec's callbacks reached this relay lately."""
    token = tokens.get(tx, space)
    received_at = token.last_callback_at if token else None
    is_public = call.relay.config.server.public_url is not None
    return is_public and received_at is not None and received_at > call.now - job_creation.CALLBACK_TRUSTED_FOR


def _request_id_of_key(call: RequestContext) -> str | None:
    key = idempotency.key_of(call)
    return None if key is None else job_creation.request_id_of(call.caller.name, key)


def _job_of(result: CreateJobResult, exec_request: ExecJobRequest) -> ScenarioJob:
    """The job that Exec created. Raises RequestError with Exec's words, or what to do if the outcome is unknown."""
    if isinstance(result, JobCreated):
        return result.job
    if isinstance(result, JobCreationUnknown):
        text = f"{result.detail}. The job may exist or not; repeat the call with {exec_request.named()}"
        raise (GatewayTimeout if result.kind == "timeout" else BadGateway)(
            "exec_unsure", f"{text}: nothing is created twice"
        )
    message = f"Exec says: {result.message}"
    if result.status in (401, 403):
        raise BadGateway("exec_key_refused", f"{message} ({result.status}); the relay's Exec key is wrong, not yours")
    if result.status == 502:
        text = f"Exec can't be reached ({result.message}); nothing was created, try again later"
        raise BadGateway(result.code, text)
    raise {404: NotFound, 409: Conflict}.get(result.status, ValidationFailed)(result.code, message)
