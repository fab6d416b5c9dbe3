"""Registrations: create one or many, list, show, withdraw."""

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from relay import registration
from relay.errors import NotFound, RequestError, ValidationFailed
from relay.model import Endpoint
from relay.registration import RegistrationResult, ValidatedRegistration
from relay.store import Tx
from relay.store.tables import endpoints, registrations
from relay.web.core import errors, path_params
from relay.web.core.idempotency import OPENAPI_HEADER, StoredResult, key_of, run_idempotent
from relay.web.core.registration_requests import standing_endpoints, validate_registration
from relay.web.core.request_parsing import validated
from relay.web.core.route import TRACED, RequestContext, api_route, json_response, to_json
from relay.web.core.validation_errors import format_path
from relay.web.schemas import presenters
from relay.web.schemas.queries import RegistrationsQuery
from relay.web.schemas.requests import BatchRequest, RegistrationRequest
from relay.web.schemas.responses import (
    BatchResponse,
    BatchResult,
    ErrorDetail,
    RegistrationList,
    RegistrationResponse,
)


@api_route(
    "POST",
    "/v1/registrations",
    scope="register",
    tag="registrations",
    answers={201: RegistrationResponse, 200: RegistrationResponse},
    refusals=(400, 409),
    headers=OPENAPI_HEADER | TRACED,
)
async def create_registration(call: RequestContext, body: RegistrationRequest) -> Response:
    """Register a job.

    The relay polls the job at Exec and notifies the endpoint when it ends; at once if it has ended already. The same
    job and endpoint again get 200 and the existing registration.
    """
    checked = validate_registration(call, body, body.job_id, body.exec_callback)
    if key_of(call) is None:  # commits together with other requests of the moment
        result = await call.relay.register(checked, call.now, call.request_id)
        # A read costs a third of a registration.
        standing = () if result.endpoint else await call.relay.store.read(lambda tx: standing_endpoints(tx, [result]))
        return _stored_result(call, result, standing).response(call)
    results: list[RegistrationResult] = []

    def work(tx: Tx) -> StoredResult:
        results[:] = [registration.register(tx, checked, call.now)]
        return _stored_result(call, results[0], standing_endpoints(tx, results))

    stored = await run_idempotent(call, work)
    if not stored.replayed:
        call.relay.after_registration(results, call.request_id)
    return stored.response(call)


@api_route(
    "POST",
    "/v1/registrations/batch",
    scope="register",
    tag="registrations",
    answers={200: BatchResponse},
    refusals=(400, 409),
    headers=OPENAPI_HEADER | TRACED,
)
async def create_registrations(call: RequestContext, body: BatchRequest) -> Response:
    """Register many jobs at once.

    Up to 1,000 in one transaction, each with its own result in the order of the request: a wrong one does not affect
    the others.
    """
    checked = [_check_item(call, number, item) for number, item in enumerate(body.registrations)]

    results: list[RegistrationResult] = []

    def work(tx: Tx) -> StoredResult:
        valid = [(item, call.now) for item in checked if not isinstance(item, RequestError)]
        registered = iter(registration.register_batch(tx, valid))
        items = [
            item if isinstance(item, RequestError) else _result_with_batch_index(next(registered), number)
            for number, item in enumerate(checked)
        ]
        results[:] = [item for item in items if isinstance(item, RegistrationResult)]
        standing = standing_endpoints(tx, results)
        return StoredResult(200, to_json(BatchResponse(data=[_result(call, item, standing) for item in items])))

    stored = await run_idempotent(call, work)
    if not stored.replayed:
        call.relay.after_registration(results, call.request_id)
    return stored.response(call)


@api_route(
    "GET", "/v1/registrations", scope="read", tag="registrations", answers={200: RegistrationList}, refusals=(400,)
)
async def list_registrations(call: RequestContext, query: RegistrationsQuery) -> Response:
    """List registrations, newest first."""

    def work(tx: Tx) -> RegistrationList:
        endpoint_id = path_params.endpoint_id(tx, query.endpoint)
        rows, cursor = registrations.page(tx, query.page, query.job_id, endpoint_id, query.status)
        related = endpoints.get_many(tx, [row.endpoint_id for row in rows if row.endpoint_id])
        return RegistrationList(data=[presenters.registration(row, related) for row in rows], next_cursor=cursor)

    return json_response(200, await call.relay.store.read(work))


@api_route(
    "GET",
    "/v1/registrations/{id}",
    scope="read",
    tag="registrations",
    answers={200: RegistrationResponse},
    refusals=(404,),
)
async def get_registration(call: RequestContext, id: str) -> Response:
    """Show one registration."""
    return json_response(200, await call.relay.store.read(lambda tx: _read(tx, id)))


@api_route(
    "DELETE",
    "/v1/registrations/{id}",
    scope="register",
    tag="registrations",
    answers={204: "It is withdrawn."},
    refusals=(404,),
)
async def withdraw_registration(call: RequestContext, id: str) -> Response:
    """Withdraw a registration.

    Its pending deliveries are cancelled; a job without registrations is no longer polled. Twice is harmless. A
    registration belongs to the key that made it: other keys need the scope read or admin.
    """
    registration_id = path_params.parse_id(id, "registration")
    owner = None if call.caller.may_see_all else call.caller.name
    await call.relay.withdraw_registration(registration_id, call.now, owner, call.actor)
    return Response(status_code=204)


OPERATIONS = (
    create_registration,
    create_registrations,
    list_registrations,
    get_registration,
    withdraw_registration,
)


def _check_item(call: RequestContext, number: int, item: Any) -> ValidatedRegistration | RequestError:
    parent = ("registrations", number)
    try:
        body = validated(RegistrationRequest, item, *parent)
    except ValidationFailed as error:
        return error
    try:
        return validate_registration(call, body, body.job_id, body.exec_callback)
    except ValidationFailed as error:
        return _with_batch_index(error, number)


def _stored_result(call: RequestContext, result: RegistrationResult, standing: Sequence[Endpoint]) -> StoredResult:
    answer = _response(call, result, standing)
    return StoredResult(201 if result.is_new else 200, to_json(answer), f"/v1/registrations/{answer.id}")


def _result(
    call: RequestContext, result: RegistrationResult | RequestError, standing: Sequence[Endpoint]
) -> BatchResult:
    if isinstance(result, RegistrationResult):
        return BatchResult(status=201 if result.is_new else 200, registration=_response(call, result, standing))
    return BatchResult(status=result.status, error=ErrorDetail(**errors.envelope(result)["error"]))


def _result_with_batch_index(
    result: RegistrationResult | RequestError, number: int
) -> RegistrationResult | RequestError:
    return _with_batch_index(result, number) if isinstance(result, RequestError) else result


def _with_batch_index(error: RequestError, number: int) -> RequestError:
    """The error with its field's path in the batch."""
    field = format_path(["registrations", number, *([error.field] if error.field else [])])
    return type(error)(error.code, error.message, field)


def _response(call: RequestContext, result: RegistrationResult, standing: Sequence[Endpoint]) -> RegistrationResponse:
    return presenters.registration_result(result, call.caller.name, call.caller.may_see_all, standing)


def _read(tx: Tx, id: str) -> RegistrationResponse:
    row = registrations.get(tx, path_params.parse_id(id, "registration"))
    if row is None:
        raise NotFound("registration_not_found", "there is no registration with this id")
    related = endpoints.get_many(tx, [row.endpoint_id] if row.endpoint_id else [])
    return presenters.registration(row, related)
