"""Standing endpoints: made, changed, enabled and removed, by the API or by the configuration.

All functions work inside the caller's transaction.
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace

from relay import subscribing
from relay.addresses import EgressRules
from relay.config import StandingEndpoint
from relay.errors import Conflict, NotFound
from relay.model import DAY, Endpoint, EndpointKind, Instant, Secret
from relay.store import endpoints, outbox, registrations, watches
from relay.store.database import Tx
from relay.subscribing import Checked

ROTATION = DAY
"""How long the old secret signs beside the new one."""


def get(tx: Tx, id: str) -> Endpoint:
    """The endpoint with this id. Raises NotFound."""
    found = endpoints.get(tx, id)
    if found is None:
        raise NotFound("endpoint_not_found", "there is no endpoint with this id")
    return found


def create(tx: Tx, name: str | None, checked: Checked, now: Instant) -> tuple[Endpoint, bool]:
    """A standing endpoint, and whether it is new: the same name and URL again give the one that is there.

    Raises Conflict where the name belongs to another URL.
    """
    if name is not None and (found := endpoints.by_name(tx, name)) is not None:
        if found.url == checked.target.url:
            return found, False
        raise Conflict("endpoint_exists", "another endpoint has this name; choose another, or change that one", "name")
    made = subscribing.make(checked, kind=EndpointKind.STANDING, now=now, random_bytes=_random(), name=name)
    endpoints.add(tx, made)
    return made, True


def change(tx: Tx, endpoint: Endpoint, checked: Checked, name: str | None) -> Endpoint:
    """The endpoint with another name, URL, format, filter or headers; its secret and its health stay.

    Raises Conflict where it belongs to the configuration or the name is taken.
    """
    changeable(endpoint)
    if name is not None and name != endpoint.name and endpoints.by_name(tx, name) is not None:
        raise Conflict("endpoint_exists", "another endpoint has this name; choose another", "name")
    changed = _with(endpoint, checked, name if name is not None else endpoint.name)
    endpoints.save(tx, changed)
    return changed


def changeable(endpoint: Endpoint) -> None:
    """Raises Conflict for an endpoint that the configuration owns."""
    if endpoint.source == "config":
        raise Conflict(
            "endpoint_configured",
            "this endpoint is defined in the relay's configuration; change it there and restart the relay",
        )


def rotate(tx: Tx, endpoint: Endpoint, new: str, now: Instant) -> Endpoint:
    """The endpoint with a new secret; the old one signs beside it for a day."""
    until = now + ROTATION
    old = [replace(secret, until=min(secret.until or until, until)) for secret in endpoint.secrets]
    kept = [secret for secret in old if (secret.until or 0) > now]
    rotated = replace(endpoint, secrets=(Secret(new), *kept))
    endpoints.save(tx, rotated)
    return rotated


def enable(tx: Tx, endpoint: Endpoint, now: Instant) -> tuple[Endpoint, int]:
    """The endpoint enabled, and how many deliveries were held for it and are due now."""
    enabled = replace(
        endpoint, disabled_at=None, disabled_reason=None, paused_until=None, failing_since=None, failures=0
    )
    endpoints.save(tx, enabled)
    return enabled, outbox.release_held(tx, endpoint.id, now)


def remove(tx: Tx, endpoint: Endpoint, now: Instant) -> None:
    """Removes an endpoint: its registrations are withdrawn, its pending deliveries cancelled.

    Raises Conflict where it belongs to the configuration.
    """
    changeable(endpoint)
    _remove(tx, endpoint, now)


def sync_configured(tx: Tx, configured: Sequence[StandingEndpoint], rules: EgressRules, now: Instant) -> None:
    """Makes the stored endpoints of the configuration what the configuration says, by name.

    Id, health and (where none is configured) secret of a known name stay. Raises Invalid for a URL that is refused.
    """
    wanted = {endpoint.name: endpoint for endpoint in configured}
    for known in endpoints.standing(tx):
        if known.source == "config" and known.name not in wanted:
            _remove(tx, known, now)
    for name, wish in wanted.items():
        secret = wish.secret.get_secret_value() if wish.secret else None
        asked = subscribing.Wanted(wish.url.get_secret_value(), wish.format, wish.events, secret, wish.headers)
        checked = subscribing.check(asked, rules, f"endpoints.{name}.url")
        found = endpoints.by_name(tx, name)
        if found is None:
            made = subscribing.make(
                checked, kind=EndpointKind.STANDING, now=now, random_bytes=_random(), name=name, source="config"
            )
            endpoints.add(tx, made)
        else:
            kept = (Secret(secret),) if secret else found.secrets
            endpoints.save(tx, replace(_with(found, checked, name), secrets=kept, source="config"))


def _with(endpoint: Endpoint, checked: Checked, name: str | None) -> Endpoint:
    return replace(
        endpoint,
        name=name,
        url=checked.target.url,
        host=checked.target.host_port,
        format=checked.format,
        events=checked.events,
        headers=checked.headers,
    )


def _remove(tx: Tx, endpoint: Endpoint, now: Instant) -> None:
    outbox.cancel(tx, endpoint.id, None, now, "the endpoint was removed")
    for gone in registrations.withdraw_all_of(tx, endpoint.id):
        watches.rest(tx, gone.workspace, gone.job_id, now)
    endpoints.remove(tx, endpoint.id)


def _random() -> bytes:
    return secrets.token_bytes(subscribing.SECRET_BYTES)
