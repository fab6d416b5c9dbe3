"""Creating a job at Exec, and hearing of it, in one request."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field
from starlette.responses import Response

from relay import callbacks, creating, register
from relay.creating import Begun, Held
from relay.creation import Created, Creation, Declined, Unsure
from relay.errors import Conflict, Invalid, NotFound, StoreError
from relay.model import MINUTE, SECOND, ScenarioJob
from relay.register import Checked, Registered
from relay.store import callbacks as tokens
from relay.store.database import Tx
from relay.web import idempotency, registrations
from relay.web.answers import Answer, RegistrationAnswer
from relay.web.job_request import JobRequest
from relay.web.operation import TRACED, Call, operation, reply
from relay.web.problems import ExecFailed, ExecLate, TooMany, Unavailable

_LATER = "later"
"""Stands for the job's id, while all else that can be wrong is judged, before anything is made."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job as Exec is asked for it."""

    request_id: str
    is_callers: bool
    fields: Mapping[str, Any]

    def named(self) -> str:
        """The request_id in words: one that came with the request is not repeated."""
        return "the same request_id" if self.is_callers else f'"request_id": "{self.request_id}"'


class CreatedAnswer(Answer):
    """A job as Exec made it, and the registration by which you hear of it."""

    job: dict[str, Any] = Field(description="Exec's answer, unchanged")
    request_id: str = Field(description="repeat the call with it, and nothing is made twice")
    registration: RegistrationAnswer


@operation(
    "POST",
    "/v1/jobs",
    scope="register",
    tag="jobs",
    answers={201: CreatedAnswer, 200: CreatedAnswer},
    refusals=(400, 404, 409, 429, 502, 504),
    headers=idempotency.DOCUMENTED | TRACED,
)
async def create_job(call: Call, body: JobRequest) -> Response:
    """Create a job at Exec and register it.

    The relay passes Exec's fields on, fills in its own callback where server.public_url is set, and notifies as any
    registration does. It costs one of the workspace's requests. The same request_id again makes nothing twice and
    answers 200 with the job that was made, also where the first call's answer was lost on the way; an Idempotency-Key
    serves as request_id where there is none.
    """
    given = _given_id(call)
    request_id = body.request_id or given or creating.new_request_id(call.now)
    wanted = Wanted(request_id, request_id == body.request_id, body.for_exec(request_id))
    checked = registrations.check(call, body, _LATER, False)
    if body.exec_callback and call.relay.config.server.public_url is None:
        text = "Exec can't call back: set server.public_url in the relay's configuration, or leave this out"
        raise Invalid("no_public_url", text, "exec_callback")
    begun = await _begin(call, checked.workspace, wanted)
    if isinstance(begun, Held):
        text = "the workspace's requests are used up for now; nothing was made"
        raise TooMany("rate_limited", text, max(begun.until - call.relay.clock(), SECOND))
    if begun.job is not None:
        return await _registered(call, body, checked, wanted, begun.job)
    made = await _ask(call, checked.workspace, wanted)
    if isinstance(made, Declined) and made.status == 429:
        raise TooMany("rate_limited", f"Exec says: {made.message}; nothing was made", made.retry_after or MINUTE)
    return await _registered(call, body, checked, wanted, _job_of(made, wanted))


OPERATIONS = (create_job,)


async def _begin(call: Call, space: str, wanted: Wanted) -> Begun | Held:
    allowance = call.relay.watcher.allowances[space]
    return await call.relay.store.write(
        lambda tx: creating.begin(tx, space, allowance, wanted.request_id, wanted.fields, call.relay.clock)
    )


async def _ask(call: Call, space: str, wanted: Wanted) -> Creation:
    """Exec's answer to its create-job call, the relay's own callback filled in."""
    token = await call.relay.store.write(lambda tx: callbacks.ensure(tx, space))
    url = callbacks.url_of(token, call.relay.config.server.public_url)
    made = await call.relay.clients[space].create({**wanted.fields, **({"callback_url": url} if url else {})})
    call.relay.telemetry.created(space, type(made).__name__.lower())
    return made


async def _registered(call: Call, body: JobRequest, checked: Checked, wanted: Wanted, job: ScenarioJob) -> Response:
    """Registers a job that Exec has made. Raises Unavailable where that can't be written down."""
    now = call.relay.clock()

    def work(tx: Tx) -> Registered:
        rely = body.exec_callback if body.exec_callback is not None else _is_called_back(call, tx, checked.workspace)
        made = register.register(tx, replace(checked, job_id=job.id, exec_callback=rely), now)
        creating.keep(tx, checked.workspace, wanted.request_id, wanted.fields, job, now)
        creating.see(tx, checked.workspace, job, call.relay.watcher.plan, now)
        return made

    try:
        made = await call.relay.store.write(work)
    except StoreError as error:
        text = f"Exec made the job, but {error}. Repeat the call with {wanted.named()}: nothing is made twice"
        raise Unavailable("job_not_registered", text) from error
    registrations.begin(call, [made])
    answer = CreatedAnswer(
        job=job.as_exec_sent_it(), request_id=wanted.request_id, registration=registrations.shown_as(made)
    )
    return reply(201 if made.is_new else 200, answer, {"location": f"/v1/jobs/{job.id}"})


def _is_called_back(call: Call, tx: Tx, space: str) -> bool:
    """Whether Exec's callbacks are known to reach this relay."""
    found = tokens.get(tx, space)
    heard = found.heard_at if found else None
    public = call.relay.config.server.public_url is not None
    return public and heard is not None and heard > call.now - creating.HEARD_WITHIN


def _given_id(call: Call) -> str | None:
    key = idempotency.key_of(call)
    return None if key is None else creating.request_id_of(call.caller, key)


def _job_of(made: Creation, wanted: Wanted) -> ScenarioJob:
    """The job that Exec made. Raises Refused with Exec's words, or with what to do where nobody knows."""
    if isinstance(made, Created):
        return made.job
    if isinstance(made, Unsure):
        text = f"{made.detail}. The job may have been made or not; repeat the call with {wanted.named()}"
        raise (ExecLate if made.kind == "timeout" else ExecFailed)("exec_unsure", f"{text}: nothing is made twice")
    told = f"Exec says: {made.message}"
    if made.status in (401, 403):
        raise ExecFailed("exec_key_refused", f"{told} ({made.status}); the relay's Exec key is at fault, not yours")
    if made.status == 502:
        raise ExecFailed(made.code, f"Exec can't be reached ({made.message}); nothing was made, try again later")
    raise {404: NotFound, 409: Conflict}.get(made.status, Invalid)(made.code, told)
