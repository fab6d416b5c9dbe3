"""Deliveries: did it go out, and if not, why; and sending again."""

from dataclasses import replace

from starlette.responses import Response

from relay.errors import Conflict, NotFound
from relay.model import Delivery, DeliveryStatus, Endpoint
from relay.store import deliveries, endpoints
from relay.store.database import Tx
from relay.store.deliveries import Filter
from relay.web import references, resending, showing
from relay.web.answers import DeliveryAnswer, DeliveryDetail, DeliveryList, ResendAnswer
from relay.web.operation import Call, operation, reply
from relay.web.queries import DeliveriesQuery
from relay.web.schemas import ResendRequest


@operation("GET", "/v1/deliveries", scope="read", tag="deliveries", answers={200: DeliveryList}, refusals=(400,))
async def list_deliveries(call: Call, query: DeliveriesQuery) -> Response:
    """List deliveries, newest first."""

    def work(tx: Tx) -> DeliveryList:
        found, cursor = deliveries.page(tx, query.page, _filter(tx, query, query.status))
        known = endpoints.many(tx, {item.endpoint_id for item in found})
        return DeliveryList(data=[showing.delivery(item, known) for item in found], next_cursor=cursor)

    return reply(200, await call.relay.store.read(work))


@operation("GET", "/v1/deliveries/{id}", scope="read", tag="deliveries", answers={200: DeliveryDetail}, refusals=(404,))
async def get_delivery(call: Call, id: str) -> Response:
    """Show one delivery, with what was sent and every attempt."""

    def work(tx: Tx) -> DeliveryDetail:
        found, known = _known(tx, id)
        return showing.delivery_detail(found, known, deliveries.attempts_of(tx, id))

    return reply(200, await call.relay.store.read(work))


@operation(
    "POST",
    "/v1/deliveries/{id}/resend",
    scope="admin",
    tag="deliveries",
    answers={202: DeliveryAnswer},
    refusals=(404, 409),
)
async def resend_delivery(call: Call, id: str) -> Response:
    """Send one delivery again.

    The schedule starts anew; one that waits for its next attempt is sent now. Body and webhook-id stay, so that a
    receiver that had it can tell.
    """

    def work(tx: Tx) -> DeliveryAnswer:
        found, known = _known(tx, id)
        _refuse_where_nobody_listens(known.get(found.endpoint_id))
        deliveries.send_again(tx, id, call.now)
        return showing.delivery(deliveries.get(tx, id) or found, known)

    answer = await call.relay.store.write(work)
    call.relay.wake()
    return reply(202, answer)


@operation(
    "POST",
    "/v1/deliveries/resend",
    scope="admin",
    tag="deliveries",
    answers={200: ResendAnswer, 202: ResendAnswer},
    refusals=(400,),
)
async def resend_deliveries(call: Call, body: ResendRequest) -> Response:
    """Send all failed deliveries of a filter again.

    After an outage. With `dry_run` they are only counted (200). They are laid out in time, so that what happens
    meanwhile does not wait behind them; deliveries of disabled endpoints are left alone. For very many, ask again with
    `limit` and `ended_by` (the `as_of` of the first answer) until `remaining` is 0: what fails again meanwhile is not
    taken up once more. A request that was broken off is taken up by repeating it.
    """
    as_of = call.now if body.ended_by is None else body.ended_by

    def count(tx: Tx) -> tuple[Filter, int, int]:
        which = replace(_filter(tx, body, DeliveryStatus(body.status)), ended_by=as_of)
        ready = deliveries.count(tx, which, sendable=True)
        return which, ready, deliveries.count(tx, which) - ready

    which, ready, skipped = await call.relay.store.read(count)
    done = 0 if body.dry_run else await resending.resend(call.relay, which, min(ready, body.limit or ready), call.now)
    answer = ResendAnswer(
        count=ready if body.dry_run else done,
        remaining=0 if body.dry_run else max(0, ready - done),
        skipped=skipped,
        dry_run=body.dry_run,
        as_of=as_of,
    )
    return reply(200 if body.dry_run else 202, answer)


OPERATIONS = (list_deliveries, resend_deliveries, get_delivery, resend_delivery)


def _filter(tx: Tx, asked: DeliveriesQuery | ResendRequest, status: DeliveryStatus | None) -> Filter:
    return Filter(
        status=status,
        job_id=asked.job_id,
        endpoint_id=references.endpoint_id(tx, asked.endpoint),
        since=asked.since,
        until=asked.until,
    )


def _known(tx: Tx, id: str) -> tuple[Delivery, dict[str, Endpoint]]:
    found = deliveries.get(tx, references.id_of(id, "delivery"))
    if found is None:
        raise NotFound("delivery_not_found", "there is no delivery with this id")
    return found, endpoints.many(tx, [found.endpoint_id])


def _refuse_where_nobody_listens(endpoint: Endpoint | None) -> None:
    if endpoint is None:
        raise Conflict("endpoint_removed", "the endpoint of this delivery was removed; register the job again")
    if not endpoint.enabled:
        how = f"enable it first with POST /v1/endpoints/{endpoint.id}/enable"
        raise Conflict("endpoint_disabled", f"the endpoint is disabled: {endpoint.disabled_reason}; {how}")
