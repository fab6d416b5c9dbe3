"""Deliveries: the list, and one delivery with its request, the receiver's response and the possible actions."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from relay.delivery import count_matching, digest, resend_matching
from relay.delivery.attempt import USER_AGENT
from relay.errors import NotFound, RelayError, ValidationFailed
from relay.model import Attempt, AuditAction, Delivery, DeliveryStatus, Endpoint
from relay.signing import standard_webhooks
from relay.store import Tx
from relay.store.engine import paging
from relay.store.tables import audit, deliveries, delivery_groups, digests, endpoints, events
from relay.store.tables.filters import DeliveryFilter
from relay.verify import verify
from relay.web.core import path_params
from relay.web.dashboard import list_filters, template_filters
from relay.web.dashboard.delivery_rows import delivery_rows
from relay.web.dashboard.event_rows import event_rows
from relay.web.dashboard.list_filters import ListFilters
from relay.web.dashboard.page import PageRequest, draw_message, redirect_with_notice, render

PER_PAGE = 60
"""Deliveries of a page, before those are added that belong to the same events."""
EVENTS_PER_PAGE = 40
MAX_COUNT = 1_000
"""Deliveries to resend that a page counts at most."""
_RESENDABLE = (DeliveryStatus.FAILED, DeliveryStatus.DELIVERED)


@dataclass(frozen=True, slots=True)
class ReconstructedRequest:
    """The request of an attempt."""

    headers: Mapping[str, str]
    curl: str
    verifies: bool
    """Whether the endpoint's current secret verifies it."""
    explanation: str
    """The result of the verification as a sentence."""


async def list_deliveries(page: PageRequest) -> Response:
    """Deliveries by event, newest first."""
    filters = _filters(page, page.request.query_params)
    if (url := list_filters.absolute_url(filters, page.request.query_params)) is not None:
        return redirect_with_notice(page, url)
    window = paging.Page(PER_PAGE, page.query("cursor"))

    def read(tx: Tx) -> tuple[DeliveryFilter, dict[str, Any]]:
        selected = filters.of_deliveries(tx)
        groups, cursor = delivery_groups.page(tx, window, EVENTS_PER_PAGE, selected)
        names = endpoints.standing_names(tx, list_filters.MAX_NAMES)
        return selected, {"events": event_rows(tx, groups, page.now), "cursor": cursor, "endpoint_names": names}

    selected, values = await page.relay.store.read(read)
    may_resend = filters.status in _RESENDABLE and page.user.has_scope("admin")
    count = await count_matching(page.relay.store, selected, sendable=True, limit=MAX_COUNT) if may_resend else 0
    statuses = [(status.value, status.value) for status in DeliveryStatus]
    common = list_filters.page_values(page, filters)
    return render(page, "deliveries.html", statuses=statuses, resendable=count, max_count=MAX_COUNT, **common, **values)


async def resend_some(page: PageRequest, form: Mapping[str, str]) -> Response:
    """Resends the deliveries that are ticked, or all that match the filters of the list that the form was on.

    All means up to those that ended before it was sent.
    """
    filters = _filters(page, form)
    if form.get("action") == "selected":
        ids = tuple(name for name in form if name.startswith("dlv_"))
        parameters = filters.parameters
        if not ids:
            return redirect_with_notice(
                page, template_filters.url_with_query("/deliveries", **parameters), "none-selected"
            )
        await _resend_selected(page, ids)
        url = template_filters.url_with_query("/deliveries", **parameters | {"status": ""})
        return redirect_with_notice(page, url, "selected-resent")
    if filters.status not in _RESENDABLE:
        raise ValidationFailed("invalid_status", "choose failed or delivered deliveries to resend all", "status")
    store = page.relay.store
    selected = replace(await store.read(filters.of_deliveries), ended_before=page.now)
    count = await count_matching(store, selected, sendable=True)
    await resend_matching(store, selected, count, page.relay.wake, page.actor)
    url = template_filters.url_with_query("/deliveries", **filters.parameters | {"status": "pending"})
    return redirect_with_notice(page, url, "all-resent")


async def _resend_selected(page: PageRequest, ids: tuple[str, ...]) -> None:
    """Resends those that ended, and makes those that wait for an attempt due now."""
    store = page.relay.store

    def retry(tx: Tx) -> None:
        for id in ids:
            if deliveries.retry_now(tx, id, page.now, page.actor.name):
                audit.add(tx, page.actor, AuditAction.DELIVERY_RESENT, page.now, id)

    await resend_matching(store, DeliveryFilter(ids=ids), len(ids), page.relay.wake, page.actor)
    await store.write(retry, at_end=True)
    page.relay.wake()


def _filters(page: PageRequest, fields: Mapping[str, str]) -> ListFilters:
    return list_filters.parse(list_filters.DELIVERIES, fields, page.zone)


async def show_delivery(page: PageRequest, id: str) -> Response:
    """One delivery: is it delivered, and if not, why."""
    delivery_id = path_params.parse_id(id, "delivery")

    def read(tx: Tx) -> dict[str, Any]:
        delivery = deliveries.get(tx, delivery_id)
        if delivery is None:
            raise NotFound("delivery_not_found", "there is no delivery with this id; old deliveries are deleted")
        [row] = delivery_rows(tx, [delivery], page.now)
        attempts = deliveries.attempts_of(tx, delivery_id)
        request = _reconstruct(delivery, row.endpoint, attempts[-1]) if row.endpoint and attempts else None
        of_digest = digests.members(tx, delivery_id, digest.MAX_MEMBERS) if delivery.is_digest else []
        return {
            "members": delivery_rows(tx, of_digest, page.now),
            "delivery": delivery,
            "row": row,
            "endpoint": row.endpoint,
            "attempts": attempts,
            "request": request,
            "event": events.get(tx, delivery.event_id),
        }

    values = await page.relay.store.read(read)
    delivery, endpoint = values["delivery"], values["endpoint"]
    picture = draw_message(page, endpoint.format, delivery.body) if endpoint else None
    compared = _compared(page, values["attempts"])
    return render(page, "delivery.html", body=_pretty(delivery.body), picture=picture, compared=compared, **values)


def _compared(page: PageRequest, attempts: Sequence[Attempt]) -> tuple[Attempt, Attempt] | None:
    """The two attempts that the URL names, or the last two; None if there is only one."""
    by_number = {str(attempt.number): attempt for attempt in attempts}
    if len(by_number) < 2:
        return None
    before, last = list(by_number.values())[-2:]
    return by_number.get(page.query("first") or "", before), by_number.get(page.query("second") or "", last)


async def resend(page: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Resends one delivery, or makes its next attempt now."""
    delivery_id = path_params.parse_id(id, "delivery")

    def write(tx: Tx) -> bool:
        if resent := deliveries.resend_or_retry_now(tx, delivery_id, page.now, page.actor.name):
            audit.add(tx, page.actor, AuditAction.DELIVERY_RESENT, page.now, delivery_id)
        return resent

    resent = await page.relay.store.write(write, at_end=True)
    page.relay.wake()
    return redirect_with_notice(page, f"/deliveries/{delivery_id}", "resent" if resent else "not-resent")


def _reconstruct(delivery: Delivery, endpoint: Endpoint, attempt: Attempt) -> ReconstructedRequest:
    """The last attempt's request, made from its parts: the store keeps no whole requests."""
    signature = standard_webhooks.headers(delivery.event_id, delivery.body, endpoint.secrets, attempt.started_at)
    masked = dict.fromkeys(endpoint.headers, "••••")
    headers = {**masked, "content-type": "application/json", "user-agent": USER_AGENT, **signature}
    verification = _verification(signature, delivery, endpoint, attempt)
    return ReconstructedRequest(headers, _curl(headers, delivery.body), *verification)


def _verification(
    signature: Mapping[str, str], delivery: Delivery, endpoint: Endpoint, attempt: Attempt
) -> tuple[bool, str]:
    try:
        verify(signature, delivery.body, endpoint.secrets[0].value, now=attempt.started_at)
    except RelayError as error:
        return False, f"The endpoint's current secret does not verify it: {error}"
    return True, "The endpoint's current secret verifies it."


def _curl(headers: Mapping[str, str], body: bytes) -> str:
    """A shell command. The URL is a secret, so it is a variable."""
    lines = ['curl -X POST "$CALLBACK_URL"']
    lines += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items()]
    lines.append(f"--data-binary {shlex.quote(body.decode('utf-8', 'replace'))}")
    return " \\\n  ".join(lines)


def _pretty(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), ensure_ascii=False, indent=2)
    except ValueError:
        return body.decode("utf-8", "replace")
