"""Creates a job at Exec and registers it, in one request."""

from typing import Any

from pydantic import Field
from starlette.responses import Response

from relay.errors import Conflict, NotFound, RequestError, ValidationFailed
from relay.model import ID_BYTES, MINUTE, SECOND, Instant
from relay.model.create_result import JobCreationUnknown, JobRejected
from relay.registration import job_creation
from relay.registration.job_creation import CreatedJob, ExecJobRequest, NotRegistered, Throttled
from relay.web.core import idempotency
from relay.web.core.errors import BadGateway, GatewayTimeout, TooManyRequests, Unavailable
from relay.web.core.public_url import with_base_path
from relay.web.core.registration_requests import standing_endpoints, validate_registration
from relay.web.core.route import TRACED, RequestContext, api_route, json_response
from relay.web.schemas import presenters
from relay.web.schemas.create_job import CreateJobRequest
from relay.web.schemas.responses import RegistrationResponse, ResponseModel

PLACEHOLDER_JOB_ID = "later"
"""Stands for the job's id while the rest of the request is validated, before anything is created."""


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

    The relay passes Exec's fields on, fills in its own callback if server.public_url is set, and notifies as any
    registration does. It costs one of the workspace's requests. The same request_id again creates nothing twice and
    gets 200 with the existing job, even if the first response was lost; without a request_id, the Idempotency-Key is
    used as one.
    """
    derived = _request_id_of_key(call)
    new_id = job_creation.new_request_id(call.now, call.relay.store.random_bytes(ID_BYTES))
    request_id = body.request_id or derived or new_id
    validated = validate_registration(call, body, PLACEHOLDER_JOB_ID, False)
    if body.exec_callback and call.relay.config.server.public_url is None:
        text = "Exec can't call back: set server.public_url in the relay's configuration, or leave this out"
        raise ValidationFailed("no_public_url", text, "exec_callback")
    request = ExecJobRequest(request_id, body.for_exec(request_id))
    outcome = await call.relay.create_job(validated, request, body.exec_callback, call.request_id)
    if not isinstance(outcome, CreatedJob):
        raise refusal_of(outcome, call.relay.clock(), _named(request_id, request_id == body.request_id))
    standing = await call.relay.store.read(lambda tx: standing_endpoints(tx, [outcome.result]))
    response = CreatedResponse(
        job=outcome.job.raw(),
        request_id=request_id,
        registration=presenters.registration_result(
            outcome.result, call.caller.name, call.caller.may_see_all, standing
        ),
    )
    location = with_base_path(call.request, f"/v1/jobs/{outcome.job.id}")
    return json_response(201 if outcome.result.is_new else 200, response, {"location": location})


OPERATIONS = (create_job,)


def _request_id_of_key(call: RequestContext) -> str | None:
    key = idempotency.key_of(call)
    return None if key is None else job_creation.request_id_of(call.caller.name, key)


def _named(request_id: str, is_given: bool) -> str:
    """The request_id for an error message, which repeats no value of the request."""
    return "the same request_id" if is_given else f'"request_id": "{request_id}"'


def refusal_of(
    outcome: Throttled | NotRegistered | JobRejected | JobCreationUnknown, now: Instant, request_id: str
) -> RequestError:
    """The error for a job that was not created, or not registered; it says whether to repeat the call."""
    match outcome:
        case Throttled(until):
            text = "the workspace's requests are used up for now; nothing was created"
            return TooManyRequests("rate_limited", text, max(until - now, SECOND))
        case NotRegistered(error):
            text = f"Exec created the job, but {error}. Repeat the call with {request_id}: nothing is created twice"
            return Unavailable("job_not_registered", text)
        case JobCreationUnknown(kind, detail):
            text = f"{detail}. The job may exist or not; repeat the call with {request_id}: nothing is created twice"
            return (GatewayTimeout if kind == "timeout" else BadGateway)("exec_unsure", text)
        case JobRejected():
            return _rejection(outcome)


def _rejection(rejected: JobRejected) -> RequestError:
    """Exec's error for the caller, with Exec's message."""
    message = f"Exec says: {rejected.message}"
    if rejected.status == 429:
        return TooManyRequests("rate_limited", f"{message}; nothing was created", rejected.retry_after or MINUTE)
    if rejected.status in (401, 403):
        text = f"{message} ({rejected.status}); the relay's Exec key is wrong, not yours"
        return BadGateway("exec_key_refused", text)
    if rejected.status == 502:
        text = f"Exec can't be reached ({rejected.message}); nothing was created, try again later"
        return BadGateway(rejected.code, text)
    return {404: NotFound, 409: Conflict}.get(rejected.status, ValidationFailed)(rejected.code, message)
