"""Deliveries: did it go out, and if not, why; and sending again."""

from dataclasses import replace

from starlette.responses import Response

from relay.delivery.bulk_resend import resend_matching
from relay.errors import Conflict, NotFound
from relay.model import Delivery, DeliveryStatus, Endpoint
from relay.store.engine.database import Tx
from relay.store.tables import deliveries, endpoints
from relay.store.tables.deliveries import DeliveryFilter
from relay.web.core import path_params
from relay.web.core.route import RequestContext, api_route, json_response
from relay.web.schemas import presenters
from relay.web.schemas.queries import DeliveriesQuery
from relay.web.schemas.requests import ResendRequest
from relay.web.schemas.responses import DeliveryDetail, DeliveryList, DeliveryResponse, ResendResponse


@api_route("GET", "/v1/deliveries", scope="read", tag="deliveries", answers={200: DeliveryList}, refusals=(400,))
async def list_deliveries(call: RequestContext, query: DeliveriesQuery) -> Response:
    """List deliveries, newest first."""

    def work(tx: Tx) -> DeliveryList:
        found, cursor = deliveries.page(tx, query.page, _filter(tx, query, query.status))
        known = endpoints.get_many(tx, {item.endpoint_id for item in found})
        return DeliveryList(
            data=[presenters.delivery(item, known, call.caller.is_admin) for item in found], next_cursor=cursor
        )

    return json_response(200, await call.relay.store.read(work))


@api_route("GET", "/v1/deliveries/{id}", scope="read", tag="deliveries", answers={200: DeliveryDetail}, refusals=(404,))
async def get_delivery(call: RequestContext, id: str) -> Response:
    """Show one delivery, with what was sent and every attempt."""

    def work(tx: Tx) -> DeliveryDetail:
        found, known = _known(tx, id)
        return presenters.delivery_detail(found, known, deliveries.attempts_of(tx, id), call.caller.is_admin)

    return json_response(200, await call.relay.store.read(work))


@api_route(
    "POST",
    "/v1/deliveries/{id}/resend",
    scope="admin",
    tag="deliveries",
    answers={202: DeliveryResponse},
    refusals=(404, 409),
)
async def resend_delivery(call: RequestContext, id: str) -> Response:
    """Send one delivery again.

    The schedule starts anew; one that waits for its next attempt is sent now. Body and webhook-id stay, so that a
    receiver that had it can tell.
    """

    def work(tx: Tx) -> DeliveryResponse:
        found, known = _known(tx, id)
        _require_enabled_endpoint(known.get(found.endpoint_id))
        deliveries.resend_or_retry_now(tx, id, call.now)
        return presenters.delivery(deliveries.get(tx, id) or found, known, call.caller.is_admin)

    answer = await call.relay.store.write(work)
    call.relay.wake()
    return json_response(202, answer)


@api_route(
    "POST",
    "/v1/deliveries/resend",
    scope="admin",
    tag="deliveries",
    answers={200: ResendResponse, 202: ResendResponse},
    refusals=(400,),
)
async def resend_deliveries(call: RequestContext, body: ResendRequest) -> Response:
    """Send all failed deliveries of a filter again.

    After an outage. With `dry_run` they are only counted (200). They are laid out in time, so that what happens
    meanwhile does not wait behind them; deliveries of disabled endpoints are left alone. For very many, ask again with
    `limit` and `ended_by` (the `as_of` of the first answer) until `remaining` is 0: what fails again meanwhile is not
    taken up once more. A request that was broken off is taken up by repeating it.
    """
    as_of = call.now if body.ended_by is None else body.ended_by

    def count(tx: Tx) -> tuple[DeliveryFilter, int, int]:
        which = replace(_filter(tx, body, DeliveryStatus(body.status)), ended_before=as_of)
        ready = deliveries.count(tx, which, sendable=True)
        return which, ready, deliveries.count(tx, which) - ready

    which, ready, skipped = await call.relay.store.read(count)
    done = (
        0
        if body.dry_run
        else await resend_matching(call.relay.store, which, min(ready, body.limit or ready), call.now, call.relay.wake)
    )
    answer = ResendResponse(
        count=ready if body.dry_run else done,
        remaining=0 if body.dry_run else max(0, ready - done),
        skipped=skipped,
        dry_run=body.dry_run,
        as_of=as_of,
    )
    return json_response(200 if body.dry_run else 202, answer)


OPERATIONS = (list_deliveries, resend_deliveries, get_delivery, resend_delivery)


def _filter(tx: Tx, asked: DeliveriesQuery | ResendRequest, status: DeliveryStatus | None) -> DeliveryFilter:
    return DeliveryFilter(
        status=status,
        job_id=asked.job_id,
        endpoint_id=path_params.endpoint_id(tx, asked.endpoint),
        since=asked.since,
        until=asked.until,
    )


def _known(tx: Tx, id: str) -> tuple[Delivery, dict[str, Endpoint]]:
    found = deliveries.get(tx, path_params.parse_id(id, "delivery"))
    if found is None:
        raise NotFound("delivery_not_found", "there is no delivery with this id")
    return found, endpoints.get_many(tx, [found.endpoint_id])


def _require_enabled_endpoint(endpoint: Endpoint | None) -> None:
    if endpoint is None:
        raise Conflict("endpoint_removed", "the endpoint of this delivery was removed; register the job again")
    if not endpoint.enabled:
        how = f"enable it first with POST /v1/endpoints/{endpoint.id}/enable"
        raise Conflict("endpoint_disabled", f"the endpoint is disabled: {endpoint.disabled_reason}; {how}")
