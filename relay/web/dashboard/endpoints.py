"""Endpoints: their health, what can be done about it, and what their messages look like."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from relay import endpoints as standing
from relay import formats
from relay.errors import Invalid
from relay.formats import FORMATS
from relay.model import ENDINGS, Endpoint, EndpointKind, EventType
from relay.samples import sample_event
from relay.store import deliveries, endpoints, paging
from relay.store.database import Tx
from relay.store.deliveries import Filter
from relay.web import references
from relay.web.dashboard.page import Visit, choice, seen, show

PER_PAGE = 50
RECENT = 10


async def list_endpoints(visit: Visit) -> Response:
    """Endpoints, newest first."""
    kind = choice(EndpointKind, visit.query("kind"), "kind")
    asked = paging.Page(PER_PAGE, visit.query("cursor"))
    found, cursor = await visit.relay.store.read(lambda tx: endpoints.page(tx, asked, kind))
    return show(visit, "endpoints.html", found=found, cursor=cursor, kind=kind, kinds=list(EndpointKind))


async def show_endpoint(visit: Visit, id: str, **told: Any) -> Response:
    """One endpoint; `told` is what a form brought: an attempt, or a new secret."""
    named = references.id_of(id, "endpoint")

    def read(tx: Tx) -> tuple[Endpoint, Any]:
        found = standing.get(tx, named)
        recent, _ = deliveries.page(tx, paging.Page(RECENT), Filter(endpoint_id=named))
        return found, recent

    endpoint, recent = await visit.relay.store.read(read)
    drawn = preview(endpoint, visit.query("format") or endpoint.format, visit.query("event"), visit)
    shown = {"attempt": None, "secret": None} | told
    return show(visit, "endpoint.html", endpoint=endpoint, recent=recent, **drawn, **shown)


def preview(endpoint: Endpoint, format: str, event: str | None, visit: Visit) -> dict[str, Any]:
    """What a message of this format says of a sample event."""
    known = [*FORMATS, *([endpoint.format] if endpoint.template else [])]
    if format not in known:
        raise Invalid("unknown_format", f"a format is one of {', '.join(known)}", "format")
    type = choice(EventType, event, "event") or EventType.COMPLETED
    own = endpoint.template if format == endpoint.format else None
    body = json.loads(formats.render(format, sample_event(type, visit.now), None, own))
    text = json.dumps(body, ensure_ascii=False, indent=2)
    choices = {"formats": known, "event_types": list(ENDINGS)}
    return {"format": format, "event_type": type, "preview": body, "preview_text": text} | choices


async def test(visit: Visit, id: str, form: Mapping[str, str]) -> Response:
    """Sends a sample event, and shows what the receiver answered."""
    named = references.id_of(id, "endpoint")
    endpoint = await visit.relay.store.read(lambda tx: standing.get(tx, named))
    return await show_endpoint(visit, id, attempt=await visit.relay.send_test(endpoint, visit.now))


async def rotate(visit: Visit, id: str, form: Mapping[str, str]) -> Response:
    """Gives a new secret, and shows it this once."""
    named = references.id_of(id, "endpoint")

    def write(tx: Tx) -> Endpoint:
        return standing.rotate(tx, standing.get(tx, named), None, visit.now, visit.relay.config.endpoints)

    rotated = await visit.relay.store.write(write)
    return await show_endpoint(visit, id, secret=rotated.secrets[0].value)


async def enable(visit: Visit, id: str, form: Mapping[str, str]) -> Response:
    """Enables one, and sends what was held."""
    named = references.id_of(id, "endpoint")
    await visit.relay.store.write(lambda tx: standing.enable(tx, standing.get(tx, named), visit.now))
    visit.relay.wake()
    return seen(f"/endpoints/{named}", "enabled")


async def disable(visit: Visit, id: str, form: Mapping[str, str]) -> Response:
    """Disables one until it is enabled again."""
    named = references.id_of(id, "endpoint")
    await visit.relay.store.write(lambda tx: standing.disable(tx, standing.get(tx, named), visit.now))
    return seen(f"/endpoints/{named}", "disabled")
