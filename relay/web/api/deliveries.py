"""Deliveries: their status, their attempts, and resending."""

from dataclasses import replace

from starlette.responses import Response

from relay.delivery import count_matching, resend_matching
from relay.errors import Conflict, NotFound, ValidationFailed
from relay.model import AuditAction, Delivery, DeliveryStatus, Endpoint
from relay.store import Tx
from relay.store.tables import audit, deliveries, endpoints
from relay.store.tables.filters import DeliveryFilter
from relay.web.core import path_params
from relay.web.core.route import RequestContext, api_route, json_response
from relay.web.schemas import presenters
from relay.web.schemas.queries import DeliveriesQuery
from relay.web.schemas.requests import ResendRequest
from relay.web.schemas.responses import DeliveryDetail, DeliveryList, DeliveryResponse, ResendResponse


@api_route("GET", "/v1/deliveries", scope="read", tag="deliveries", answers={200: DeliveryList}, refusals=(400,))
async def list_deliveries(call: RequestContext, query: DeliveriesQuery) -> Response:
    """List deliveries, newest first.

    No page takes long: with `event_type`, `workspace`, `http_status` or `metadata` a page reads the next 5,000
    deliveries at most, so it may have fewer rows than `limit`, or none. Go on until `next_cursor` is null.
    """

    def work(tx: Tx) -> DeliveryList:
        rows, cursor = deliveries.page(tx, query.page, _filter(tx, query, query.status))
        related = endpoints.get_many(tx, {item.endpoint_id for item in rows})
        return DeliveryList(
            data=[presenters.delivery(item, related, call.caller.is_admin) for item in rows], next_cursor=cursor
        )

    return json_response(200, await call.relay.store.read(work))


@api_route("GET", "/v1/deliveries/{id}", scope="read", tag="deliveries", answers={200: DeliveryDetail}, refusals=(404,))
async def get_delivery(call: RequestContext, id: str) -> Response:
    """Show one delivery, with its body and every attempt."""

    def work(tx: Tx) -> DeliveryDetail:
        delivery, related = _find(tx, id)
        return presenters.delivery_detail(delivery, related, deliveries.attempts_of(tx, id), call.caller.is_admin)

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

    The retry schedule starts again; a pending delivery is sent now. Body and webhook-id stay the same, so that the
    receiver can recognise a repetition.
    """

    def work(tx: Tx) -> DeliveryResponse:
        delivery, related = _find(tx, id)
        _require_enabled_endpoint(related.get(delivery.endpoint_id))
        if deliveries.resend_or_retry_now(tx, id, call.now, call.actor.name):
            audit.add(tx, call.actor, AuditAction.DELIVERY_RESENT, call.now, id, job_id=delivery.job_id)
        return presenters.delivery(deliveries.get(tx, id) or delivery, related, call.caller.is_admin)

    response = await call.relay.store.write(work, at_end=True)
    call.relay.wake()
    return json_response(202, response)


@api_route(
    "POST",
    "/v1/deliveries/resend",
    scope="admin",
    tag="deliveries",
    answers={200: ResendResponse, 202: ResendResponse},
    refusals=(400,),
)
async def resend_deliveries(call: RequestContext, body: ResendRequest) -> Response:
    """Send all failed deliveries of a filter again, or those with the `ids`.

    For use after an outage. `dry_run` only counts them (200). They are spread over time, so that new deliveries do not
    wait for them; deliveries of disabled endpoints are skipped. For very many, repeat the request with `limit` and
    `ended_by` (the `as_of` of the first response) until `remaining` is 0: deliveries that fail again in the meantime
    are not included. A request that was interrupted continues if it is repeated.
    """
    if body.status is None and body.ids is None:
        raise ValidationFailed("missing_field", "status is missing; give failed or delivered, or ids", "status")
    as_of, store = call.now if body.ended_by is None else body.ended_by, call.relay.store
    status = None if body.status is None else DeliveryStatus(body.status)
    selected = replace(await store.read(lambda tx: _filter(tx, body, status)), ended_before=as_of)
    ready = await count_matching(store, selected, sendable=True)
    skipped = await count_matching(store, selected) - ready
    number_resent = 0
    if not body.dry_run:
        limit = min(ready, body.limit or ready)
        number_resent = await resend_matching(store, selected, limit, call.relay.wake, call.actor)
    answer = ResendResponse(
        count=ready if body.dry_run else number_resent,
        remaining=0 if body.dry_run else max(0, ready - number_resent),
        skipped=skipped,
        dry_run=body.dry_run,
        as_of=as_of,
    )
    return json_response(200 if body.dry_run else 202, answer)


OPERATIONS = (list_deliveries, resend_deliveries, get_delivery, resend_delivery)


def _filter(tx: Tx, query: DeliveriesQuery | ResendRequest, status: DeliveryStatus | None) -> DeliveryFilter:
    return DeliveryFilter(
        status=status,
        job_id=query.job_id,
        endpoint_id=path_params.endpoint_id(tx, query.endpoint),
        since=query.since,
        until=query.until,
        event_type=query.event_type,
        workspace=query.workspace,
        http_status=query.http_status,
        metadata=query.metadata,
        digest_id=query.digest if isinstance(query, DeliveriesQuery) else None,
        ids=None if isinstance(query, DeliveriesQuery) or query.ids is None else tuple(query.ids),
    )


def _find(tx: Tx, id: str) -> tuple[Delivery, dict[str, Endpoint]]:
    delivery = deliveries.get(tx, path_params.parse_id(id, "delivery"))
    if delivery is None:
        raise NotFound("delivery_not_found", "there is no delivery with this id")
    return delivery, endpoints.get_many(tx, [delivery.endpoint_id])


def _require_enabled_endpoint(endpoint: Endpoint | None) -> None:
    if endpoint is None:
        raise Conflict("endpoint_removed", "the endpoint of this delivery was removed; register the job again")
    if not endpoint.enabled:
        how = f"enable it first with POST /v1/endpoints/{endpoint.id}/enable"
        raise Conflict("endpoint_disabled", f"the endpoint is disabled: {endpoint.disabled_reason}; {how}")
