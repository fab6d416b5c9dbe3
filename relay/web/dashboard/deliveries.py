"""Deliveries: the list, and one with what was sent, what came back, and what can be done."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from relay import signing
from relay.dispatcher.attempts import USER_AGENT
from relay.errors import NotFound, RelayError
from relay.model import Attempt, Delivery, DeliveryStatus, Endpoint
from relay.store import deliveries, endpoints, events, paging
from relay.store.database import Tx
from relay.store.deliveries import Filter
from relay.verify import verify
from relay.web import references
from relay.web.dashboard.page import Visit, choice, seen, show

PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as an attempt sends it."""

    headers: Mapping[str, str]
    body: str
    """The JSON, indented for people."""
    curl: str
    verified: str
    """What verifying it with the endpoint's present secret says."""


async def list_deliveries(visit: Visit) -> Response:
    """Deliveries, newest first."""
    status = choice(DeliveryStatus, visit.query("status"), "status")
    job_id, endpoint = visit.query("job_id"), visit.query("endpoint")
    asked = paging.Page(PER_PAGE, visit.query("cursor"))

    def read(tx: Tx) -> dict[str, Any]:
        which = Filter(status=status, job_id=job_id, endpoint_id=references.endpoint_id(tx, endpoint))
        found, cursor = deliveries.page(tx, asked, which)
        return {"found": found, "cursor": cursor, "endpoints": endpoints.many(tx, {one.endpoint_id for one in found})}

    found = await visit.relay.store.read(read)
    asked_for: dict[str, Any] = {"status": status, "job_id": job_id, "endpoint": endpoint}
    return show(visit, "deliveries.html", statuses=list(DeliveryStatus), **asked_for, **found)


async def show_delivery(visit: Visit, id: str) -> Response:
    """One delivery: did it go out, and if not, why."""
    named = references.id_of(id, "delivery")

    def read(tx: Tx) -> dict[str, Any]:
        found = deliveries.get(tx, named)
        if found is None:
            raise NotFound("delivery_not_found", "there is no such delivery; was it deleted after its time?")
        endpoint = endpoints.many(tx, [found.endpoint_id]).get(found.endpoint_id)
        tried = deliveries.attempts_of(tx, named)
        sent = _sent(found, endpoint, tried[-1]) if endpoint and tried else None
        event = events.get(tx, found.event_id)
        return {"delivery": found, "endpoint": endpoint, "attempts": tried, "sent": sent, "event": event}

    found = await visit.relay.store.read(read)
    return show(visit, "delivery.html", body=_pretty(found["delivery"].body), **found)


async def resend(visit: Visit, id: str, form: Mapping[str, str]) -> Response:
    """Sends one again."""
    named = references.id_of(id, "delivery")
    done = await visit.relay.store.write(lambda tx: deliveries.send_again(tx, named, visit.now))
    visit.relay.wake()
    return seen(f"/deliveries/{named}", "resent" if done else "waits")


def _sent(delivery: Delivery, endpoint: Endpoint, attempt: Attempt) -> Sent:
    """The last attempt's request: made anew, as its parts are all that is kept."""
    signed = signing.headers(delivery.event_id, delivery.body, endpoint.secrets, attempt.started_at)
    own = dict.fromkeys(endpoint.headers, "••••")
    headers = {**own, "content-type": "application/json", "user-agent": USER_AGENT, **signed}
    verified = _verified(signed, delivery, endpoint, attempt)
    return Sent(headers, _pretty(delivery.body), _curl(headers, delivery.body), verified)


def _verified(signed: Mapping[str, str], delivery: Delivery, endpoint: Endpoint, attempt: Attempt) -> str:
    try:
        verify(signed, delivery.body, endpoint.secrets[0].value, now=attempt.started_at)
    except RelayError as error:
        return f"does not verify: {error}"
    return "verifies with the endpoint's present secret"


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
