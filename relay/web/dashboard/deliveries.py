"""Deliveries: the list, and one with what was sent, what came back, and what can be done."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from relay.delivery.attempt import USER_AGENT
from relay.errors import NotFound, RelayError
from relay.model import Attempt, Delivery, DeliveryStatus, Endpoint
from relay.operations.bulk_resend import resend_matching
from relay.signing import standard_webhooks
from relay.store.engine import paging
from relay.store.engine.database import Tx
from relay.store.tables import deliveries, events
from relay.store.tables.deliveries import DeliveryFilter
from relay.verify import verify
from relay.web.core import path_params
from relay.web.dashboard import template_filters
from relay.web.dashboard.delivery_rows import delivery_rows
from relay.web.dashboard.page import PageRequest, parse_enum, redirect_with_notice, render

PER_PAGE = 50
COUNTED = 1_000
"""Failed deliveries that a page counts at the most."""


@dataclass(frozen=True, slots=True)
class ReconstructedRequest:
    """A request as an attempt sends it."""

    headers: Mapping[str, str]
    curl: str
    verifies: bool
    """Whether the endpoint's present secret verifies it."""
    verified: str
    """What verifying it says, in words."""


async def list_deliveries(visit: PageRequest) -> Response:
    """Deliveries, newest first."""
    status = parse_enum(DeliveryStatus, visit.query("status"), "status")
    job_id, endpoint = visit.query("job_id"), visit.query("endpoint")
    asked = paging.Page(PER_PAGE, visit.query("cursor"))

    def read(tx: Tx) -> dict[str, Any]:
        which = DeliveryFilter(status=status, job_id=job_id, endpoint_id=path_params.endpoint_id(tx, endpoint))
        found, cursor = deliveries.page(tx, asked, which)
        again = deliveries.count(tx, which, sendable=True, most=COUNTED) if status is DeliveryStatus.FAILED else 0
        return {"found": delivery_rows(tx, found), "cursor": cursor, "again": again}

    found = await visit.relay.store.read(read)
    asked_for: dict[str, Any] = {"status": status, "job_id": job_id, "endpoint": endpoint}
    statuses = [(one.value, one.value) for one in DeliveryStatus]
    return render(visit, "deliveries.html", statuses=statuses, counted=COUNTED, **asked_for, **found)


async def resend_all(visit: PageRequest, form: Mapping[str, str]) -> Response:
    """Sends again all failed ones of the list that the form stood on, as far as they had failed when it was sent."""
    job_id, endpoint = form.get("job_id") or None, form.get("endpoint") or None

    def read(tx: Tx) -> tuple[DeliveryFilter, int]:
        id = path_params.endpoint_id(tx, endpoint)
        which = DeliveryFilter(status=DeliveryStatus.FAILED, job_id=job_id, endpoint_id=id, ended_before=visit.now)
        return which, deliveries.count(tx, which, sendable=True)

    which, ready = await visit.relay.store.read(read)
    await resend_matching(visit.relay.store, which, ready, visit.now, visit.relay.wake)
    chosen = {"status": DeliveryStatus.PENDING.value, "job_id": job_id or "", "endpoint": endpoint or ""}
    return redirect_with_notice(template_filters.url_with_query("/deliveries", **chosen), "all-resent")


async def show_delivery(visit: PageRequest, id: str) -> Response:
    """One delivery: did it go out, and if not, why."""
    named = path_params.parse_id(id, "delivery")

    def read(tx: Tx) -> dict[str, Any]:
        found = deliveries.get(tx, named)
        if found is None:
            raise NotFound("delivery_not_found", "there is no such delivery; was it deleted after its time?")
        [it] = delivery_rows(tx, [found])
        tried = deliveries.attempts_of(tx, named)
        return {
            "delivery": found,
            "scenario": it.scenario,
            "endpoint": it.endpoint,
            "attempts": tried,
            "sent": _sent(found, it.endpoint, tried[-1]) if it.endpoint and tried else None,
            "event": events.get(tx, found.event_id),
        }

    found = await visit.relay.store.read(read)
    return render(visit, "delivery.html", body=_pretty(found["delivery"].body), **found)


async def resend(visit: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Sends one again."""
    named = path_params.parse_id(id, "delivery")
    done = await visit.relay.store.write(lambda tx: deliveries.resend_or_retry_now(tx, named, visit.now))
    visit.relay.wake()
    return redirect_with_notice(f"/deliveries/{named}", "resent" if done else "waits")


def _sent(delivery: Delivery, endpoint: Endpoint, attempt: Attempt) -> ReconstructedRequest:
    """The last attempt's request: made anew, as its parts are all that is kept."""
    signed = standard_webhooks.headers(delivery.event_id, delivery.body, endpoint.secrets, attempt.started_at)
    own = dict.fromkeys(endpoint.headers, "••••")
    headers = {**own, "content-type": "application/json", "user-agent": USER_AGENT, **signed}
    return ReconstructedRequest(headers, _curl(headers, delivery.body), *_verified(signed, delivery, endpoint, attempt))


def _verified(signed: Mapping[str, str], delivery: Delivery, endpoint: Endpoint, attempt: Attempt) -> tuple[bool, str]:
    try:
        verify(signed, delivery.body, endpoint.secrets[0].value, now=attempt.started_at)
    except RelayError as error:
        return False, f"It does not verify: {error}"
    return True, "It verifies with the endpoint's present secret."


def _curl(headers: Mapping[str, str], body: bytes) -> str:
    """A command for a shell: the URL is a secret, and so a variable."""
    lines = ['curl -X POST "$CALLBACK_URL"']
    lines += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items()]
    lines.append(f"--data-binary {shlex.quote(body.decode('utf-8', 'replace'))}")
    return " \\\n  ".join(lines)


def _pretty(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), ensure_ascii=False, indent=2)
    except ValueError:
        return body.decode("utf-8", "replace")
