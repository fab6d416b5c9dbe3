"""Deliveries: the list, and one delivery with its request, the receiver's response and the possible actions."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from relay.delivery import digest, resend_matching
from relay.delivery.attempt import USER_AGENT
from relay.errors import NotFound, RelayError
from relay.model import Attempt, AuditAction, Delivery, DeliveryStatus, Endpoint
from relay.signing import standard_webhooks
from relay.store import Tx
from relay.store.engine import paging
from relay.store.tables import audit, deliveries, digests, events
from relay.store.tables.deliveries import DeliveryFilter
from relay.verify import verify
from relay.web.core import path_params
from relay.web.dashboard import template_filters
from relay.web.dashboard.delivery_rows import delivery_rows
from relay.web.dashboard.page import PageRequest, parse_enum, redirect_with_notice, render

PER_PAGE = 50
MAX_COUNT = 1_000
"""Failed deliveries that a page counts at most."""


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
    """Deliveries, newest first."""
    status = parse_enum(DeliveryStatus, page.query("status"), "status")
    job_id, endpoint = page.query("job_id"), page.query("endpoint")
    window = paging.Page(PER_PAGE, page.query("cursor"))

    def read(tx: Tx) -> dict[str, Any]:
        filter = DeliveryFilter(status=status, job_id=job_id, endpoint_id=path_params.endpoint_id(tx, endpoint))
        rows, cursor = deliveries.page(tx, window, filter)
        is_failed_list = status is DeliveryStatus.FAILED
        count = deliveries.count(tx, filter, sendable=True, limit=MAX_COUNT) if is_failed_list else 0
        return {"deliveries": delivery_rows(tx, rows, page.now), "cursor": cursor, "resendable": count}

    values = await page.relay.store.read(read)
    choices: dict[str, Any] = {"status": status, "job_id": job_id, "endpoint": endpoint}
    statuses = [(status.value, status.value) for status in DeliveryStatus]
    return render(page, "deliveries.html", statuses=statuses, max_count=MAX_COUNT, **choices, **values)


async def resend_all(page: PageRequest, form: Mapping[str, str]) -> Response:
    """Resends the failed deliveries of the list that the form was on, up to those that failed before it was sent."""
    job_id, endpoint = form.get("job_id") or None, form.get("endpoint") or None

    def read(tx: Tx) -> tuple[DeliveryFilter, int]:
        id = path_params.endpoint_id(tx, endpoint)
        filter = DeliveryFilter(status=DeliveryStatus.FAILED, job_id=job_id, endpoint_id=id, ended_before=page.now)
        return filter, deliveries.count(tx, filter, sendable=True)

    filter, count = await page.relay.store.read(read)
    await resend_matching(page.relay.store, filter, count, page.now, page.relay.wake, page.actor)
    filters = {"status": DeliveryStatus.PENDING.value, "job_id": job_id or "", "endpoint": endpoint or ""}
    return redirect_with_notice(page, template_filters.url_with_query("/deliveries", **filters), "all-resent")


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
    return render(page, "delivery.html", body=_pretty(values["delivery"].body), **values)


async def resend(page: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Resends one delivery, or makes its next attempt now."""
    delivery_id = path_params.parse_id(id, "delivery")

    def write(tx: Tx) -> bool:
        if resent := deliveries.resend_or_retry_now(tx, delivery_id, page.now):
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
