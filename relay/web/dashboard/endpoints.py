"""Endpoints: their health, what can be done about it, and what their messages look like."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from relay import endpoints as standing
from relay import formats, signing
from relay.delivering import DISABLE_ATTEMPTS
from relay.errors import Invalid
from relay.formats import FORMATS
from relay.model import ENDINGS, DeliveryStatus, Endpoint, EndpointKind, EventType
from relay.samples import sample_event
from relay.store import deliveries, endpoints, paging
from relay.store.database import Tx
from relay.store.deliveries import Filter
from relay.web import references
from relay.web.dashboard.page import Visit, choice, seen, show
from relay.web.dashboard.sending import sending

PER_PAGE = 50
RECENT = 10
STRIP = 40
"""Deliveries whose outcome is drawn as a mark each."""

_KINDS = [
    (EndpointKind.STANDING.value, "hears of every job"),
    (EndpointKind.AD_HOC.value, "made by a registration"),
]
_IGNORES = {
    "slack": "Slack",
    "slack_workflow": "Slack",
    "discord": "Discord",
    "teams": "Teams",
    "google_chat": "Google Chat",
}
"""Formats whose receivers check no signature."""


async def list_endpoints(visit: Visit) -> Response:
    """Endpoints, newest first."""
    kind = choice(EndpointKind, visit.query("kind"), "kind")
    asked = paging.Page(PER_PAGE, visit.query("cursor"))
    found, cursor = await visit.relay.store.read(lambda tx: endpoints.page(tx, asked, kind))
    return show(visit, "endpoints.html", found=found, cursor=cursor, kind=kind, kinds=_KINDS)


async def show_endpoint(visit: Visit, id: str, **told: Any) -> Response:
    """One endpoint; `told` is what a form brought: an attempt, or a new secret or public key."""
    named = references.id_of(id, "endpoint")

    def read(tx: Tx) -> dict[str, Any]:
        latest, _ = deliveries.page(tx, paging.Page(STRIP), Filter(endpoint_id=named))
        return {
            "endpoint": standing.get(tx, named),
            "strip": latest[::-1],
            "recent": sending(tx, latest[:RECENT]),
            "held": deliveries.count(tx, Filter(endpoint_id=named, status=DeliveryStatus.PENDING)),
        }

    found = await visit.relay.store.read(read)
    endpoint: Endpoint = found["endpoint"]
    drawn = preview(endpoint, visit.query("format") or endpoint.format, visit.query("event"), visit)
    shown = {"attempt": None, "secret": None, "public_key": None} | told
    rules = visit.relay.config.delivery
    health: dict[str, Any] = {
        "disables_at": (endpoint.failing_since or visit.now) + rules.disable_after,
        "least": DISABLE_ATTEMPTS,
        "retention": visit.relay.config.storage.retention,
    }
    return show(visit, "endpoint.html", **found, **drawn, **shown, **health, **_signing(endpoint, visit))


def _signing(endpoint: Endpoint, visit: Visit) -> dict[str, Any]:
    """How it signs, and whether a new secret can be made here."""
    valid = [secret for secret in endpoint.secrets if secret.until is None or visit.now < secret.until]
    return {
        "published": list(filter(None, (signing.public_key_of(secret.value) for secret in valid))),
        "signs": len(valid),
        "old_until": max((secret.until for secret in valid if secret.until is not None), default=None),
        "ignores": _IGNORES.get(endpoint.format, ""),
        "fixed_secret": standing.has_configured_secret(endpoint, visit.relay.config.endpoints),
    }


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

    new = (await visit.relay.store.write(write)).secrets[0].value
    return await show_endpoint(visit, id, secret=signing.told(new), public_key=signing.public_key_of(new))


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
