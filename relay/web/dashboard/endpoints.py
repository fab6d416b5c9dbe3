"""Endpoints: their health, what can be done about it, and what their messages look like."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from relay import formats
from relay.delivery.endpoint_health import DISABLE_ATTEMPTS
from relay.endpoints import admin as standing
from relay.errors import ValidationFailed
from relay.formats import FORMATS
from relay.formats.sample_event import sample_event
from relay.model import FINAL_EVENTS, DeliveryStatus, Endpoint, EndpointKind, EventType
from relay.signing import standard_webhooks
from relay.store.engine import paging
from relay.store.engine.database import Tx
from relay.store.tables import deliveries, endpoints
from relay.store.tables.deliveries import DeliveryFilter
from relay.web.core import path_params
from relay.web.dashboard.delivery_rows import delivery_rows
from relay.web.dashboard.page import PageRequest, parse_enum, redirect_with_notice, render

PER_PAGE = 50
RECENT = 10
RECENT_MARKS = 40
"""Deliveries whose outcome is drawn as a mark each."""

_KINDS = [
    (EndpointKind.STANDING.value, "hears of every job"),
    (EndpointKind.AD_HOC.value, "made by a registration"),
]
_UNVERIFIED_RECEIVERS = {
    "slack": "Slack",
    "slack_workflow": "Slack",
    "discord": "Discord",
    "teams": "Teams",
    "google_chat": "Google Chat",
}
"""Formats whose receivers check no signature."""


async def list_endpoints(visit: PageRequest) -> Response:
    """Endpoints, newest first."""
    kind = parse_enum(EndpointKind, visit.query("kind"), "kind")
    asked = paging.Page(PER_PAGE, visit.query("cursor"))
    found, cursor = await visit.relay.store.read(lambda tx: endpoints.page(tx, asked, kind))
    return render(visit, "endpoints.html", found=found, cursor=cursor, kind=kind, kinds=_KINDS)


async def show_endpoint(visit: PageRequest, id: str, **told: Any) -> Response:
    """One endpoint; `told` is what a form brought: an attempt, or a new secret or public key."""
    named = path_params.parse_id(id, "endpoint")

    def read(tx: Tx) -> dict[str, Any]:
        latest, _ = deliveries.page(tx, paging.Page(RECENT_MARKS), DeliveryFilter(endpoint_id=named))
        return {
            "endpoint": standing.get(tx, named),
            "strip": latest[::-1],
            "recent": delivery_rows(tx, latest[:RECENT]),
            "held": deliveries.count(tx, DeliveryFilter(endpoint_id=named, status=DeliveryStatus.PENDING)),
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
    return render(visit, "endpoint.html", **found, **drawn, **shown, **health, **_signing(endpoint, visit))


def _signing(endpoint: Endpoint, visit: PageRequest) -> dict[str, Any]:
    """How it signs, and whether a new secret can be made here."""
    valid = [secret for secret in endpoint.secrets if secret.until is None or visit.now < secret.until]
    return {
        "published": list(filter(None, (standard_webhooks.public_key_of(secret.value) for secret in valid))),
        "signs": len(valid),
        "old_token_valid_until": max((secret.until for secret in valid if secret.until is not None), default=None),
        "ignores": _UNVERIFIED_RECEIVERS.get(endpoint.format, ""),
        "fixed_secret": standing.has_configured_secret(endpoint, visit.relay.config.endpoints),
    }


def preview(endpoint: Endpoint, format: str, event: str | None, visit: PageRequest) -> dict[str, Any]:
    """What a message of this format says of a sample event."""
    known = [*FORMATS, *([endpoint.format] if endpoint.template else [])]
    if format not in known:
        raise ValidationFailed("unknown_format", f"a format is one of {', '.join(known)}", "format")
    type = parse_enum(EventType, event, "event") or EventType.COMPLETED
    own = endpoint.template if format == endpoint.format else None
    body = json.loads(formats.render(format, sample_event(type, visit.now), None, own))
    text = json.dumps(body, ensure_ascii=False, indent=2)
    choices = {"formats": known, "event_types": list(FINAL_EVENTS)}
    return {"format": format, "event_type": type, "preview": body, "preview_text": text} | choices


async def test(visit: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Sends a sample event, and shows what the receiver answered."""
    named = path_params.parse_id(id, "endpoint")
    endpoint = await visit.relay.store.read(lambda tx: standing.get(tx, named))
    return await show_endpoint(visit, id, attempt=await visit.relay.send_test(endpoint, visit.now))


async def rotate(visit: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Gives a new secret, and shows it this once."""
    named = path_params.parse_id(id, "endpoint")

    def write(tx: Tx) -> Endpoint:
        return standing.rotate(tx, standing.get(tx, named), None, visit.now, visit.relay.config.endpoints)

    new = (await visit.relay.store.write(write)).secrets[0].value
    return await show_endpoint(
        visit, id, secret=standard_webhooks.secret_to_show(new), public_key=standard_webhooks.public_key_of(new)
    )


async def enable(visit: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Enables one, and sends what was held."""
    named = path_params.parse_id(id, "endpoint")
    await visit.relay.store.write(lambda tx: standing.enable(tx, standing.get(tx, named), visit.now))
    visit.relay.wake()
    return redirect_with_notice(f"/endpoints/{named}", "enabled")


async def disable(visit: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Disables one until it is enabled again."""
    named = path_params.parse_id(id, "endpoint")
    await visit.relay.store.write(lambda tx: standing.disable(tx, standing.get(tx, named), visit.now))
    return redirect_with_notice(f"/endpoints/{named}", "disabled")
