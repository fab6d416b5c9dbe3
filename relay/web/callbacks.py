"""Exec's own callback comes in here; and where people find the address to give to Exec."""

import json
from typing import Any

from pydantic import Field
from starlette.responses import Response

from relay import api_keys, callbacks, register
from relay.errors import Invalid, NotFound
from relay.model import DAY, JOB_ID
from relay.register import Hint
from relay.store.callbacks import CallbackToken
from relay.store.database import Tx
from relay.web import problems, reading, references
from relay.web.answers import Answer, Time
from relay.web.operation import Call, operation, reply
from relay.web.problems import TooMany
from relay.web.schemas import ExecCallback

_TAG = "exec"


class HintAnswer(Answer):
    """What becomes of a callback of Exec's."""

    job_id: str
    look: bool = Field(description="whether a look at Exec will confirm it; false where there is nothing to learn")


class CallbackAnswer(Answer):
    """Where Exec's own callbacks of a workspace go."""

    workspace: str
    callback_url: str | None = Field(
        description="the callback_url for Exec's create-job call; null without server.public_url. Keep it secret"
    )
    path: str = Field(description="the same without the relay's address")
    old_until: Time | None = Field(description="how long the URL before the last rotation works too")
    heard_at: Time | None = Field(description="about when a callback came last; null: none did yet")
    text: str = Field(description="what to do with it")


@operation(
    "POST",
    callbacks.PATH + "{token}",
    scope=None,
    tag=_TAG,
    answers={202: HintAnswer},
    refusals=(400, 404, 413, 429, 503),
    reads=ExecCallback,
)
async def take_exec_callback(call: Call, token: str) -> Response:
    """Take Exec's own callback.

    It is a hint and never trusted: one look at Exec confirms it, at the front of the queue. Its only authority is the
    token in the path; no API key is asked for. What it says beside the job's id is not read.
    """
    hash = api_keys.hash_of(token)
    call.limits.judge(call.request, hash)
    known = call.relay.clients
    found = await call.relay.store.read(lambda tx: callbacks.owner(tx, token, call.now, known))
    if found is None:
        call.limits.was_wrong(call.request, hash)  # guard: callback-guesses
        raise NotFound("unknown_path", problems.UNKNOWN_PATH)  # guard: callback-token
    call.limits.was_right(call.request, hash)
    call.limits.spend(hash)
    job_id = _job_of(await reading.read(call.request))

    def hint(tx: Tx) -> Hint:
        callbacks.hear(tx, found, call.now)
        return register.hint(tx, found.workspace, job_id, call.now)

    said = await call.relay.store.write(hint)
    call.relay.telemetry.called_back(found.workspace, said.value)
    if said is Hint.TOO_MANY:
        text = "too many callbacks named jobs that Exec does not know; register this job"
        raise TooMany("too_many_unknown_jobs", text, DAY)
    if said is Hint.HEEDED:
        call.relay.wake()
    return reply(202, HintAnswer(job_id=job_id, look=said is Hint.HEEDED))


@operation(
    "GET",
    "/v1/workspaces/{workspace}/callback",
    scope="admin",
    tag=_TAG,
    answers={200: CallbackAnswer},
    refusals=(404,),
)
async def get_exec_callback(call: Call, workspace: str) -> Response:
    """Show what to give to Exec's create-job call, so that Exec itself says when a job ends.

    Keep it as you would keep a password: whoever has the URL can make the relay look at jobs.
    """
    name = references.workspace_named(workspace, call.relay.clients)
    return reply(200, _shown(call, await call.relay.store.write(lambda tx: callbacks.ensure(tx, name))))


@operation(
    "POST",
    "/v1/workspaces/{workspace}/callback/rotate",
    scope="admin",
    tag=_TAG,
    answers={200: CallbackAnswer},
    refusals=(404,),
)
async def rotate_exec_callback(call: Call, workspace: str) -> Response:
    """Make a new URL for Exec's callbacks.

    The one until now works for another 24 hours, for the jobs that were made with it; rotate twice to end it at once.
    """
    name = references.workspace_named(workspace, call.relay.clients)
    return reply(200, _shown(call, await call.relay.store.write(lambda tx: callbacks.rotate(tx, name, call.now))))


OPERATIONS = (take_exec_callback, get_exec_callback, rotate_exec_callback)


def _shown(call: Call, token: CallbackToken) -> CallbackAnswer:
    url = callbacks.url_of(token, call.relay.config.server.public_url)
    still = token.old_until if token.old_until is not None and token.old_until > call.now else None
    return CallbackAnswer(
        workspace=token.workspace,
        callback_url=url,
        path=callbacks.PATH + token.token,
        old_until=still,
        heard_at=token.heard_at,
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


def _job_of(body: bytes) -> str:
    """The id of the job that a callback is about: `id`, as Exec's job has it, or one under a name close to it.

    Exec's page says only that the body mirrors the job, so it is read with patience. Raises Invalid where there is no
    job id: without one there is nothing to look at.
    """
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise Invalid("invalid_json", "the body is not JSON; Exec sends the job as JSON") from None
    whole = said if isinstance(said, dict) else {}
    for place in (whole, whole.get("job"), whole.get("data")):
        for name in ("id", "job_id"):
            found = place.get(name) if isinstance(place, dict) else None
            if isinstance(found, str) and JOB_ID.fullmatch(found):
                return found
    raise Invalid("invalid_job_id", "the body names no job; its id stands in the field id, as Exec sends it", "id")
