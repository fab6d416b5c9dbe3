"""Creating a job at Exec, and hearing of it, in one request."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field
from starlette.responses import Response

from relay import registration
from relay.errors import Conflict, NotFound, StoreError, ValidationFailed
from relay.model import MINUTE, SECOND, ScenarioJob
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
"""Stands for the job's id, while all else that can be wrong is judged, before anything is made."""


@dataclass(frozen=True, slots=True)
class ExecJobRequest:
    """A job as Exec is asked for it."""

    request_id: str
    is_callers: bool
    fields: Mapping[str, Any]

    def named(self) -> str:
        """The request_id in words: one that came with the request is not repeated."""
        return "the same request_id" if self.is_callers else f'"request_id": "{self.request_id}"'


class CreatedResponse(ResponseModel):
    """A job as Exec made it, and the registration by which you hear of it."""

    job: dict[str, Any] = Field(description="Exec's answer, unchanged")
    request_id: str = Field(description="repeat the call with it, and nothing is made twice")
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
    registration does. It costs one of the workspace's requests. The same request_id again makes nothing twice and
    answers 200 with the job that was made, also where the first call's answer was lost on the way; an Idempotency-Key
    serves as request_id where there is none.
    """
    given = _given_id(call)
    request_id = body.request_id or given or job_creation.new_request_id(call.now)
    wanted = ExecJobRequest(request_id, request_id == body.request_id, body.for_exec(request_id))
    checked = validate_registration(call, body, _PLACEHOLDER_JOB_ID, False)
    if body.exec_callback and call.relay.config.server.public_url is None:
        text = "Exec can't call back: set server.public_url in the relay's configuration, or leave this out"
        raise ValidationFailed("no_public_url", text, "exec_callback")
    begun = await _begin(call, checked.workspace, wanted)
    if isinstance(begun, Throttled):
        text = "the workspace's requests are used up for now; nothing was made"
        raise TooManyRequests("rate_limited", text, max(begun.until - call.relay.clock(), SECOND))
    if begun.job is not None:
        return await _registered(call, body, checked, wanted, begun.job)
    made = await _ask(call, checked.workspace, wanted)
    if isinstance(made, JobRejected) and made.status == 429:
        raise TooManyRequests(
            "rate_limited", f"Exec says: {made.message}; nothing was made", made.retry_after or MINUTE
        )
    return await _registered(call, body, checked, wanted, _job_of(made, wanted))


OPERATIONS = (create_job,)


async def _begin(call: RequestContext, space: str, wanted: ExecJobRequest) -> Reserved | Throttled:
    allowance = call.relay.poller.rate_limits[space]
    return await call.relay.store.write(
        lambda tx: job_creation.reserve_request(
            tx, space, allowance, wanted.request_id, wanted.fields, call.relay.clock
        )
    )


async def _ask(call: RequestContext, space: str, wanted: ExecJobRequest) -> CreateJobResult:
    """Exec's answer to its create-job call, the relay's own callback filled in."""
    token = await call.relay.store.write(lambda tx: exec_callback_tokens.get_or_create_token(tx, space))
    url = exec_callback_tokens.url_of(token, call.relay.config.server.public_url)
    made = await call.relay.clients[space].create({**wanted.fields, **({"callback_url": url} if url else {})})
    call.relay.telemetry.created(space, type(made).__name__.lower())
    return made


async def _registered(
    call: RequestContext,
    body: CreateJobRequest,
    checked: ValidatedRegistration,
    wanted: ExecJobRequest,
    job: ScenarioJob,
) -> Response:
    """Registers a job that Exec has made. Raises Unavailable where that can't be written down."""
    now = call.relay.clock()

    def work(tx: Tx) -> RegistrationResult:
        rely = body.exec_callback if body.exec_callback is not None else _callbacks_work(call, tx, checked.workspace)
        made = registration.register(tx, replace(checked, job_id=job.id, exec_callback=rely), now)
        job_creation.store_response(tx, checked.workspace, wanted.request_id, wanted.fields, job, now)
        job_creation.seed_first_poll(tx, checked.workspace, job, call.relay.poller.plan, now)
        return made

    try:
        made = await call.relay.store.write(work)
    except StoreError as error:
        text = f"Exec made the job, but {error}. Repeat the call with {wanted.named()}: nothing is made twice"
        raise Unavailable("job_not_registered", text) from error
    call.relay.after_registration([made], call.request_id)
    standing = await call.relay.store.read(lambda tx: standing_endpoints(tx, [made]))
    answer = CreatedResponse(
        job=job.raw(),
        request_id=wanted.request_id,
        registration=presenters.registration_result(made, call.caller.name, call.caller.may_see_all, standing),
    )
    location = with_base_path(call.request, f"/v1/jobs/{job.id}")
    return json_response(201 if made.is_new else 200, answer, {"location": location})


def _callbacks_work(call: RequestContext, tx: Tx, space: str) -> bool:
    """Whether Exec's callbacks are known to reach this relay."""
    found = tokens.get(tx, space)
    heard = found.last_callback_at if found else None
    public = call.relay.config.server.public_url is not None
    return public and heard is not None and heard > call.now - job_creation.CALLBACK_TRUSTED_FOR


def _given_id(call: RequestContext) -> str | None:
    key = idempotency.key_of(call)
    return None if key is None else job_creation.request_id_of(call.caller.name, key)


def _job_of(made: CreateJobResult, wanted: ExecJobRequest) -> ScenarioJob:
    """The job that Exec made. Raises Refused with Exec's words, or with what to do where nobody knows."""
    if isinstance(made, JobCreated):
        return made.job
    if isinstance(made, JobCreationUnknown):
        text = f"{made.detail}. The job may have been made or not; repeat the call with {wanted.named()}"
        raise (GatewayTimeout if made.kind == "timeout" else BadGateway)(
            "exec_unsure", f"{text}: nothing is made twice"
        )
    told = f"Exec says: {made.message}"
    if made.status in (401, 403):
        raise BadGateway("exec_key_refused", f"{told} ({made.status}); the relay's Exec key is at fault, not yours")
    if made.status == 502:
        raise BadGateway(made.code, f"Exec can't be reached ({made.message}); nothing was made, try again later")
    raise {404: NotFound, 409: Conflict}.get(made.status, ValidationFailed)(made.code, told)
