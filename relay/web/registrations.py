"""Registrations: one, many, listed, withdrawn."""

from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from relay import register
from relay.errors import Invalid, NotFound, Refused
from relay.model import Endpoint
from relay.register import Checked, Registered
from relay.store import endpoints, registrations
from relay.store.database import Tx
from relay.subscribing import Wanted
from relay.web import problems, references, showing
from relay.web.answers import BatchAnswer, BatchResult, ErrorDetail, RegistrationAnswer, RegistrationList
from relay.web.idempotency import DOCUMENTED, Done, key_of, once
from relay.web.job_request import JobRequest
from relay.web.operation import TRACED, Call, operation, reply, shown
from relay.web.queries import RegistrationsQuery
from relay.web.reading import validated
from relay.web.schemas import BatchRequest, RegistrationRequest


@operation(
    "POST",
    "/v1/registrations",
    scope="register",
    tag="registrations",
    answers={201: RegistrationAnswer, 200: RegistrationAnswer},
    refusals=(400, 409),
    headers=DOCUMENTED | TRACED,
)
async def create_registration(call: Call, body: RegistrationRequest) -> Response:
    """Register a job.

    The relay watches the job at Exec and notifies the endpoint when it ends; at once, where it has ended already. The
    same job and endpoint again answer 200 with the registration that is there.
    """
    checked = check(call, body, body.job_id, body.exec_callback)
    if key_of(call) is None:  # written down together with whatever else comes at the moment
        one = register.granted(await call.relay.store.write_together(register.register_all, (checked, call.now)))
        begin(call, [one])
        return _done(one).response()
    made: list[Registered] = []

    def work(tx: Tx) -> Done:
        made[:] = [register.register(tx, checked, call.now)]
        return _done(made[0])

    done = await once(call, work)
    if not done.replayed:
        begin(call, made)
    return done.response()


@operation(
    "POST",
    "/v1/registrations/batch",
    scope="register",
    tag="registrations",
    answers={200: BatchAnswer},
    refusals=(400, 409),
    headers=DOCUMENTED | TRACED,
)
async def create_registrations(call: Call, body: BatchRequest) -> Response:
    """Register many jobs at once.

    Up to 1,000 in one transaction, each with its own result in the order of the request: one that is wrong does not
    spoil the others.
    """
    checked = [_check_item(call, number, item) for number, item in enumerate(body.registrations)]

    made: list[Registered] = []

    def work(tx: Tx) -> Done:
        fit = [(item, call.now) for item in checked if not isinstance(item, Refused)]
        done = iter(register.register_all(tx, fit))
        results = [
            item if isinstance(item, Refused) else _in_place(next(done), number) for number, item in enumerate(checked)
        ]
        made[:] = [one for one in results if isinstance(one, Registered)]
        return Done(200, shown(BatchAnswer(data=[_result(one) for one in results])))

    done = await once(call, work)
    if not done.replayed:
        begin(call, made)
    return done.response()


@operation(
    "GET", "/v1/registrations", scope="read", tag="registrations", answers={200: RegistrationList}, refusals=(400,)
)
async def list_registrations(call: Call, query: RegistrationsQuery) -> Response:
    """List registrations, newest first."""

    def work(tx: Tx) -> RegistrationList:
        endpoint_id = references.endpoint_id(tx, query.endpoint)
        found, cursor = registrations.page(tx, query.page, query.job_id, endpoint_id, query.status)
        known = endpoints.many(tx, [item.endpoint_id for item in found if item.endpoint_id])
        return RegistrationList(data=[showing.registration(item, known) for item in found], next_cursor=cursor)

    return reply(200, await call.relay.store.read(work))


@operation(
    "GET",
    "/v1/registrations/{id}",
    scope="read",
    tag="registrations",
    answers={200: RegistrationAnswer},
    refusals=(404,),
)
async def get_registration(call: Call, id: str) -> Response:
    """Show one registration."""
    return reply(200, await call.relay.store.read(lambda tx: _shown(tx, id)))


@operation(
    "DELETE",
    "/v1/registrations/{id}",
    scope="register",
    tag="registrations",
    answers={204: "It is withdrawn."},
    refusals=(404,),
)
async def withdraw_registration(call: Call, id: str) -> Response:
    """Withdraw a registration.

    Its pending deliveries are cancelled; a job that nobody waits for is no longer looked at. Twice does no harm.
    """
    known = references.id_of(id, "registration")
    await call.relay.store.write(lambda tx: register.withdraw(tx, known, call.now))
    return Response(status_code=204)


OPERATIONS = (
    create_registration,
    create_registrations,
    list_registrations,
    get_registration,
    withdraw_registration,
)


def check(call: Call, body: RegistrationRequest | JobRequest, job_id: str, exec_callback: bool) -> Checked:
    """Judges the part of a request that asks to hear of a job. Raises Invalid."""
    callback = None
    if body.callback_url is not None:
        callback = Wanted(
            body.callback_url, body.format, secret=body.secret, headers=body.headers, signing=body.signing
        )
    elif body.secret or body.headers or body.signing or body.format != "auto":
        only = "secret, signing, headers and format belong to a callback_url; give one, or leave them out"
        raise Invalid("missing_field", only, "callback_url")
    request = register.Request(
        job_id=job_id,
        workspace=body.workspace,
        callback=callback,
        endpoint=body.endpoint,
        events=tuple(body.events) if body.events else None,
        metadata=body.metadata,
        exec_callback=exec_callback,
        trace=call.trace,
    )
    return register.check(request, call.relay.rules, call.relay.clients)


def _check_item(call: Call, number: int, item: Any) -> Checked | Refused:
    place = ("registrations", number)
    try:
        body = validated(RegistrationRequest, item, *place)
    except Invalid as error:
        return error
    try:
        return check(call, body, body.job_id, body.exec_callback)
    except Invalid as error:
        return _placed(error, number)


def begin(call: Call, made: Iterable[Registered]) -> None:
    """The registrations are kept: the log is told of new ones, and there may be something to do."""
    for one in made:
        if one.is_new:
            call.relay.telemetry.registered(one.registration, call.request_id)
    call.relay.wake()


def _done(made: Registered) -> Done:
    answer = shown_as(made)
    return Done(201 if made.is_new else 200, shown(answer), f"/v1/registrations/{answer.id}")


def _result(one: Registered | Refused) -> BatchResult:
    if isinstance(one, Registered):
        return BatchResult(status=201 if one.is_new else 200, registration=shown_as(one))
    return BatchResult(status=one.status, error=ErrorDetail(**problems.envelope(one)["error"]))


def _in_place(one: Registered | Refused, number: int) -> Registered | Refused:
    return _placed(one, number) if isinstance(one, Refused) else one


def _placed(error: Refused, number: int) -> Refused:
    """The refusal, its field named as it stands in the batch."""
    field = problems.path_of(["registrations", number, *([error.field] if error.field else [])])
    return type(error)(error.code, error.message, field)


def shown_as(made: Registered) -> RegistrationAnswer:
    """A registration as the call that made it answers, with the secret if it made one."""
    known: dict[str, Endpoint] = {made.endpoint.id: made.endpoint} if made.endpoint else {}
    return showing.registration(made.registration, known, made.secret)


def _shown(tx: Tx, id: str) -> RegistrationAnswer:
    found = registrations.get(tx, references.id_of(id, "registration"))
    if found is None:
        raise NotFound("registration_not_found", "there is no registration with this id")
    known = endpoints.many(tx, [found.endpoint_id] if found.endpoint_id else [])
    return showing.registration(found, known)
