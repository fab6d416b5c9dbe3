"""Endpoints: their health, the actions on them, and a preview of their messages."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from relay import formats
from relay.delivery.endpoint_health import DISABLE_ATTEMPTS
from relay.delivery.holding import hold_of
from relay.endpoints import admin
from relay.errors import ValidationFailed
from relay.formats import FORMATS
from relay.formats.sample_event import SAMPLE_JOB, sample_digest, sample_event
from relay.model import (
    DAY,
    FINAL_EVENTS,
    AuditAction,
    DeliveryStatus,
    DigestEventType,
    Endpoint,
    EndpointKind,
    Event,
    EventType,
)
from relay.signing import standard_webhooks
from relay.store import Tx
from relay.store.engine import paging
from relay.store.tables import audit, deliveries, endpoint_statistics, endpoints, living_messages, replays
from relay.store.tables.filters import DeliveryFilter
from relay.web.core import path_params
from relay.web.dashboard.delivery_rows import delivery_rows
from relay.web.dashboard.page import PageRequest, parse_enum, redirect_with_notice, render

PER_PAGE = 50
RECENT = 10
MAX_FAILURES = 5
MAX_REPLAYS = 5
RECENT_MARKS = 40
"""Deliveries whose outcomes are drawn, one mark each."""

_KINDS = [
    (EndpointKind.STANDING.value, "every job"),
    (EndpointKind.AD_HOC.value, "single jobs"),
]
_UNVERIFIED_RECEIVERS = {
    "slack": "Slack",
    "slack_app": "Slack",
    "slack_workflow": "Slack",
    "discord": "Discord",
    "teams": "Teams",
    "google_chat": "Google Chat",
    "mattermost": "Mattermost",
    "rocketchat": "Rocket.Chat",
    "ntfy": "ntfy",
    "telegram": "Telegram",
    "email": "A mail client",
}
"""Formats whose receivers check no signature."""


async def list_endpoints(page: PageRequest) -> Response:
    """Endpoints, newest first."""
    kind = parse_enum(EndpointKind, page.query("kind"), "kind")
    window = paging.Page(PER_PAGE, page.query("cursor"))
    rows, cursor = await page.relay.store.read(lambda tx: endpoints.page(tx, window, kind))
    return render(page, "endpoints.html", endpoints=rows, cursor=cursor, kind=kind, kinds=_KINDS)


async def show_endpoint(page: PageRequest, id: str, **results: Any) -> Response:
    """One endpoint; `results` are those of a form: an attempt, or a new secret or public key."""
    endpoint_id = path_params.parse_id(id, "endpoint")

    def read(tx: Tx) -> dict[str, Any]:
        latest, _ = deliveries.page(tx, paging.Page(RECENT_MARKS), DeliveryFilter(endpoint_id=endpoint_id))
        pending = DeliveryFilter(endpoint_id=endpoint_id, status=DeliveryStatus.PENDING)
        return {
            "endpoint": admin.get(tx, endpoint_id),
            "strip": latest[::-1],
            "recent": delivery_rows(tx, latest[:RECENT], page.now),
            "held": deliveries.count(tx, pending),
            "open_messages": living_messages.count_open(tx, endpoint_id),
            "statistics": endpoint_statistics.attempt_statistics(tx, endpoint_id, page.now, [DAY, 7 * DAY]),
            "replays": replays.of_endpoint(tx, endpoint_id, MAX_REPLAYS),
            "failures": endpoint_statistics.last_failures(tx, endpoint_id, MAX_FAILURES),
        }

    values = await page.relay.store.read(read)
    endpoint: Endpoint = values["endpoint"]
    values |= preview(endpoint, page.query("format") or endpoint.format, page.query("event"), page)
    values |= {"attempt": None, "secret": None, "public_key": None, "created": False} | {"replay_since": None} | results
    config = page.relay.config
    values |= {
        "disables_at": (endpoint.failing_since or page.now) + config.delivery.disable_after,
        "min_attempts": DISABLE_ATTEMPTS,
        "retention": config.storage.retention,
        "hold": hold_of(endpoint, EventType.COMPLETED, page.now),
    }
    return render(page, "endpoint.html", **values, **_signing(endpoint, page))


def _signing(endpoint: Endpoint, page: PageRequest) -> dict[str, Any]:
    """How the endpoint signs, and whether its secret can be rotated here."""
    valid = [secret for secret in endpoint.secrets if secret.until is None or page.now < secret.until]
    public_keys = (standard_webhooks.public_key_of(secret.value) for secret in valid)
    return {
        "public_keys": [key for key in public_keys if key],
        "valid_secrets": len(valid),
        "old_secret_until": max((secret.until for secret in valid if secret.until is not None), default=None),
        "unverified_receiver": _UNVERIFIED_RECEIVERS.get(endpoint.format, ""),
        "has_configured_secret": admin.has_configured_secret(endpoint, page.relay.config.endpoints),
    }


def preview(endpoint: Endpoint, format: str, event: str | None, page: PageRequest) -> dict[str, Any]:
    """The message of a sample event in this format, or of a sample digest if people read it.

    Raises ValidationFailed for an unknown format or event.
    """
    names = [*FORMATS, *([endpoint.format] if endpoint.template else [])]
    if format not in names:
        raise ValidationFailed("unknown_format", f"a format is one of {', '.join(names)}", "format")
    template = endpoint.template if format == endpoint.format else None
    has_digests = formats.is_read_by_people(format)
    sample = _sample(event, has_digests, page)
    body = json.loads(formats.render(format, sample, None, template))
    text = json.dumps(body, ensure_ascii=False, indent=2)
    previewed = [EventType.STARTED, *FINAL_EVENTS, *([DigestEventType.DIGEST] if has_digests else [])]
    choices = {"formats": names, "event_types": list(FINAL_EVENTS), "preview_types": previewed}
    return {"format": format, "event_type": sample.type, "preview": body, "preview_text": text} | choices


def _sample(event: str | None, has_digests: bool, page: PageRequest) -> Event:
    """The sample of this type; of a completed job for none, and for a digest in a format that has none."""
    job_page = f"{page.public_url}/jobs/default/{SAMPLE_JOB['id']}"
    if event == DigestEventType.DIGEST.value:
        return (
            sample_digest(page.now, job_page) if has_digests else sample_event(EventType.COMPLETED, page.now, job_page)
        )
    return sample_event(parse_enum(EventType, event, "event") or EventType.COMPLETED, page.now, job_page)


async def test(page: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Sends a sample event of the chosen type, and shows the receiver's response."""
    type = parse_enum(EventType, form.get("event"), "event") or EventType.COMPLETED
    endpoint_id = path_params.parse_id(id, "endpoint")

    def begin(tx: Tx) -> Endpoint:
        endpoint = admin.get(tx, endpoint_id)
        audit.add(tx, page.actor, AuditAction.ENDPOINT_TESTED, page.now, endpoint.id, endpoint.name)
        return endpoint

    endpoint = await page.relay.store.write(begin)
    attempt = await page.relay.send_test(endpoint, page.now, type, page.user.name or None)
    return await show_endpoint(page, id, attempt=attempt)


async def rotate(page: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Makes a new secret, and shows it once."""
    endpoint_id = path_params.parse_id(id, "endpoint")

    def write(tx: Tx) -> Endpoint:
        configured = page.relay.config.endpoints
        return admin.rotate(tx, admin.get(tx, endpoint_id), None, page.now, configured, actor=page.actor)

    secret = (await page.relay.store.write(write)).secrets[0].value
    return await show_endpoint(
        page, id, secret=standard_webhooks.secret_to_show(secret), public_key=standard_webhooks.public_key_of(secret)
    )


async def enable(page: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Enables an endpoint and releases its held deliveries."""
    endpoint_id = path_params.parse_id(id, "endpoint")
    await page.relay.enable_endpoint(endpoint_id, page.now, page.actor)
    return redirect_with_notice(page, f"/endpoints/{endpoint_id}", "enabled")


async def disable(page: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Disables an endpoint until it is enabled again."""
    endpoint_id = path_params.parse_id(id, "endpoint")
    await page.relay.disable_endpoint(endpoint_id, page.now, page.actor)
    return redirect_with_notice(page, f"/endpoints/{endpoint_id}", "disabled")
