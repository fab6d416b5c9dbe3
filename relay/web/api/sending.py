"""Sending: whether deliveries are sent, and what becomes of those that wait after a restore."""

from starlette.responses import Response

from relay.web.core.route import RequestContext, api_route, json_response
from relay.web.schemas.responses import DiscardResponse, SendingResponse

_TAG = "sending"


@api_route("GET", "/v1/sending", scope="read", tag=_TAG, answers={200: SendingResponse})
async def get_sending(call: RequestContext) -> Response:
    """Show whether deliveries are sent.

    After a restore, and when the store was last used under another public URL or instance, nothing is sent until a
    person decides: what waits may have been sent already.
    """
    return await _answer(call)


@api_route("POST", "/v1/sending/suspend", scope="admin", tag=_TAG, answers={200: SendingResponse})
async def suspend_sending(call: RequestContext) -> Response:
    """Suspend sending.

    Jobs are registered and polled meanwhile; their deliveries wait.
    """
    await call.relay.sending.suspend(call.actor, call.now)
    return await _answer(call)


@api_route("POST", "/v1/sending/resume", scope="admin", tag=_TAG, answers={200: SendingResponse})
async def resume_sending(call: RequestContext) -> Response:
    """Resume sending.

    What waits is sent, with the webhook-ids that it had the first time.
    """
    await call.relay.sending.resume(call.actor, call.now)
    return await _answer(call)


@api_route("POST", "/v1/sending/discard", scope="admin", tag=_TAG, answers={200: DiscardResponse}, refusals=(409,))
async def discard_waiting(call: RequestContext) -> Response:
    """Cancel what waits, and resume sending.

    Deliveries of jobs that were registered after the suspension stay, and are sent.
    """
    return json_response(200, DiscardResponse(discarded=await call.relay.sending.discard(call.actor, call.now)))


OPERATIONS = (get_sending, suspend_sending, resume_sending, discard_waiting)


async def _answer(call: RequestContext) -> Response:
    await call.relay.sending.read()
    found, waiting = call.relay.sending.suspension, call.relay.sending.waiting
    since, reason = (found.since, found.reason) if found else (None, None)
    answer = SendingResponse(suspended=found is not None, since=since, reason=reason, waiting=waiting)
    return json_response(200, answer)
