"""Exec's own callback, and the callback URL to give to Exec."""

import json
from typing import Any

from pydantic import Field
from starlette.responses import Response

from relay import registration
from relay.errors import NotFound, ValidationFailed
from relay.model import DAY, JOB_ID
from relay.registration import Hint, exec_callback_tokens
from relay.security import api_keys
from relay.store import Tx
from relay.store.tables.callback_tokens import CallbackToken
from relay.web.core import errors, path_params, request_parsing
from relay.web.core.errors import TooManyRequests
from relay.web.core.route import RequestContext, api_route, json_response
from relay.web.schemas.requests import ExecCallback
from relay.web.schemas.responses import ResponseModel, Time

_TAG = "exec"


class HintResponse(ResponseModel):
    """The effect of a callback from Exec."""

    job_id: str
    poll_scheduled: bool = Field(
        description="whether a poll of Exec will confirm it; false if the job has ended or is not registered"
    )


class CallbackResponse(ResponseModel):
    """The callback URL of a workspace, for Exec's own callbacks."""

    workspace: str
    callback_url: str | None = Field(
        description="the callback_url for Exec's create-job call; null without server.public_url. Keep it secret"
    )
    path: str = Field(description="the same without the relay's address")
    old_token_valid_until: Time | None = Field(description="until when the URL before the last rotation works too")
    last_callback_at: Time | None = Field(description="about when the last callback arrived; null: none so far")
    text: str = Field(description="what to do with it")


@api_route(
    "POST",
    exec_callback_tokens.PATH + "{token}",
    scope=None,
    tag=_TAG,
    answers={202: HintResponse},
    refusals=(400, 404, 413, 429, 503),
    reads=ExecCallback,
)
async def receive_exec_callback(call: RequestContext, token: str) -> Response:
    """Receive Exec's own callback.

    It is a hint and never trusted: one poll of Exec confirms it, at the front of the queue. It needs no API key, only
    the token in the path. Only the job's id is read.
    """
    hash = api_keys.hash_api_key(token)
    wait = call.limits.begin_attempt(call.request, hash)
    workspaces = call.relay.clients
    row = await call.relay.store.read(lambda tx: exec_callback_tokens.find_token(tx, token, call.now, workspaces))
    if row is None:
        call.limits.record_failure(call.request, wait)  # guard: callback-throttle
        raise NotFound("unknown_path", errors.UNKNOWN_PATH)  # guard: callback-token
    call.limits.record_success(call.request, hash)
    call.limits.check_rate(hash)
    job_id = _parse_job_id(await request_parsing.read_body(call.request))

    def hint(tx: Tx) -> Hint:
        exec_callback_tokens.record_callback(tx, row, call.now)
        return registration.handle_callback_hint(tx, row.workspace, job_id, call.now)

    effect = await call.relay.store.write(hint)
    call.relay.telemetry.exec_callback_received(row.workspace, effect.value)
    if effect is Hint.THROTTLED:
        text = "too many callbacks named jobs that Exec does not know; register this job"
        raise TooManyRequests("too_many_unknown_jobs", text, DAY)
    if effect is Hint.ACCEPTED:
        call.relay.wake()
    return json_response(202, HintResponse(job_id=job_id, poll_scheduled=effect is Hint.ACCEPTED))


@api_route(
    "GET",
    "/v1/workspaces/{workspace}/callback",
    scope="admin",
    tag=_TAG,
    answers={200: CallbackResponse},
    refusals=(404,),
)
async def get_exec_callback(call: RequestContext, workspace: str) -> Response:
    """Show the callback URL for Exec's create-job call, with which Exec reports the end of a job.

    Keep it secret like a password: anybody with the URL can make the relay poll jobs.
    """
    name = path_params.workspace_from_path(workspace, call.relay.clients)
    return json_response(
        200,
        _response(call, await call.relay.store.write(lambda tx: exec_callback_tokens.get_or_create_token(tx, name))),
    )


@api_route(
    "POST",
    "/v1/workspaces/{workspace}/callback/rotate",
    scope="admin",
    tag=_TAG,
    answers={200: CallbackResponse},
    refusals=(404,),
)
async def rotate_exec_callback(call: RequestContext, workspace: str) -> Response:
    """Create a new URL for Exec's callbacks.

    The old one works for another 24 hours, for jobs created with it; rotate twice to end it at once.
    """
    name = path_params.workspace_from_path(workspace, call.relay.clients)
    return json_response(
        200,
        _response(
            call,
            await call.relay.store.write(lambda tx: exec_callback_tokens.rotate_token(tx, name, call.now, call.actor)),
        ),
    )


OPERATIONS = (receive_exec_callback, get_exec_callback, rotate_exec_callback)


def _response(call: RequestContext, token: CallbackToken) -> CallbackResponse:
    url = exec_callback_tokens.url_of(token, call.relay.config.server.public_url)
    old_token_valid_until = (
        token.old_token_valid_until
        if token.old_token_valid_until is not None and token.old_token_valid_until > call.now
        else None
    )
    return CallbackResponse(
        workspace=token.workspace,
        callback_url=url,
        path=exec_callback_tokens.PATH + token.token,
        old_token_valid_until=old_token_valid_until,
        last_callback_at=token.last_callback_at,
        text=_ADVICE if url else _NO_PUBLIC_URL,
    )


_ADVICE = (
    "Give callback_url to Exec's create-job call, as a field of its body; callback_headers are not needed. Register "
    'the job here with "exec_callback": true. Or create it with POST /v1/jobs, which does both.'
)
_NO_PUBLIC_URL = (
    "Set server.public_url to the address at which Exec reaches this relay, such as https://relay.example.com; "
    "callback_url is that address and path."
)


def _parse_job_id(body: bytes) -> str:
    """The job id of a callback: `id` as in Exec's job, or a similar name.

    Exec's page says only that the body mirrors the job, so parsing is lenient. Raises ValidationFailed without a job
    id: there is nothing to poll.
    """
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise ValidationFailed("invalid_json", "the body is not JSON; Exec sends the job as JSON") from None
    body_object = value if isinstance(value, dict) else {}
    for parent in (body_object, body_object.get("job"), body_object.get("data")):
        for name in ("id", "job_id"):
            job_id = parent.get(name) if isinstance(parent, dict) else None
            if isinstance(job_id, str) and JOB_ID.fullmatch(job_id):
                return job_id
    raise ValidationFailed(
        "invalid_job_id", "the body names no job; its id stands in the field id, as Exec sends it", "id"
    )
