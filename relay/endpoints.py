"""Standing endpoints: made, changed, enabled and removed, by the API or by the configuration.

All functions work inside the caller's transaction.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from relay import formats, signing, subscribing
from relay.addresses import EgressRules
from relay.config import StandingEndpoint
from relay.errors import Conflict, NotFound
from relay.model import DAY, Endpoint, EndpointKind, EventType, Instant, Secret
from relay.signing import Signing
from relay.store import endpoints, outbox, registrations, watches
from relay.store.database import Tx
from relay.subscribing import Checked, Wanted

ROTATION = DAY
"""How long the old secret signs beside the new one."""

MOST_SECRETS = 5
"""Secrets that sign at a time, however often they were rotated within a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to change; None stays as it is."""

    name: str | None = None
    url: str | None = field(default=None, repr=False)
    format: str | None = None
    events: tuple[EventType, ...] | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    template: Mapping[str, Any] | None = field(default=None, repr=False)


def get(tx: Tx, id: str) -> Endpoint:
    """The endpoint with this id. Raises NotFound."""
    found = endpoints.get(tx, id)
    if found is None:
        raise NotFound("endpoint_not_found", "there is no endpoint with this id")
    return found


def create(tx: Tx, name: str | None, checked: Checked, now: Instant) -> tuple[Endpoint, bool]:
    """A standing endpoint, and whether it is new: the same request again gives the one that is there.

    Raises Conflict where the name belongs to an endpoint that differs.
    """
    made = subscribing.make(checked, kind=EndpointKind.STANDING, now=now, random_bytes=_random(), name=name)
    marks = _marks(tx, checked) if name is None else ()
    if (found := _same(tx, name, marks) or _unmarked(tx, name, checked, marks)) is None:
        if endpoints.add(tx, made, marks[0] if marks else None):
            return made, True
        found = _same(tx, name, marks) or made
    if name is not None and not _is_as_asked(found, checked):
        text = f"an endpoint of this name is there, and differs; change it with PATCH /v1/endpoints/{found.id}"
        raise Conflict("endpoint_exists", f"{text}, or choose another name", "name")
    return found, False


def change(tx: Tx, endpoint: Endpoint, wish: Change, rules: EgressRules) -> Endpoint:
    """The endpoint as changed; its secrets stay, its health too unless the URL is another.

    A format that was chosen by the URL's host is chosen again for another URL. Raises Invalid for what can't be,
    Conflict where the endpoint is not to be changed here or the name is taken.
    """
    endpoint = _as_it_is(tx, endpoint)
    refuse_unless_changeable(endpoint)
    if wish.name is not None and wish.name != endpoint.name and endpoints.by_name(tx, wish.name) is not None:
        raise Conflict("endpoint_exists", "another endpoint has this name; choose another", "name")
    chosen = "auto" if endpoint.format == formats.choose(endpoint.url) or wish.template else endpoint.format
    kept = json.loads(endpoint.template) if endpoint.template and wish.format in (None, endpoint.format) else None
    asked = Wanted(
        url=wish.url if wish.url is not None else endpoint.url,
        format=wish.format or chosen,
        events=wish.events or endpoint.events,
        headers=wish.headers if wish.headers is not None else endpoint.headers,
        template=wish.template or kept,
    )
    changed = _with(endpoint, subscribing.check(asked, rules, "url"), wish.name or endpoint.name)
    _save(tx, endpoint, changed)
    return changed


def refuse_unless_changeable(endpoint: Endpoint) -> None:
    """Raises Conflict for an endpoint of the configuration, or one that belongs to a registration."""
    _refuse_configured(endpoint)
    if endpoint.kind is EndpointKind.AD_HOC:
        text = "a registration made this endpoint with its callback_url; register again with what you want instead"
        raise Conflict("endpoint_ad_hoc", text)


def rotate(
    tx: Tx,
    endpoint: Endpoint,
    new: str | None,
    now: Instant,
    configured: Sequence[StandingEndpoint],
    wanted: Signing | None = None,
) -> Endpoint:
    """The endpoint with a new secret (None: one made here); the old one signs beside it for a day.

    It signs as before unless `wanted` or the secret says otherwise. Raises Invalid for a secret that is none, Conflict
    where the configuration sets it.
    """
    endpoint = _as_it_is(tx, endpoint)
    if has_configured_secret(endpoint, configured):
        text = "the relay's configuration sets the secret of this endpoint; change it there and reload the relay"
        raise Conflict("endpoint_configured", text)
    before = signing.scheme_of(endpoint.secrets[0].value)
    scheme = subscribing.check_signing(wanted, new) if new or wanted else before
    rotated = replace(endpoint, secrets=_rotated(endpoint, new or signing.new_secret(_random(), scheme), now))
    endpoints.save(tx, rotated, _mark_after_rotation(tx, rotated))
    return rotated


def has_configured_secret(endpoint: Endpoint, configured: Sequence[StandingEndpoint]) -> bool:
    """Whether the configuration sets the secret, which then is changed there only."""
    return endpoint.source == "config" and any(one.secret and one.name == endpoint.name for one in configured)


def enable(tx: Tx, endpoint: Endpoint, now: Instant) -> tuple[Endpoint, int]:
    """The endpoint enabled, and how many deliveries were held for it and are due now."""
    enabled = replace(_healthy(_as_it_is(tx, endpoint)), disabled_at=None, disabled_reason=None)
    endpoints.save(tx, enabled)
    return enabled, outbox.release_held(tx, endpoint.id, now)


def disable(tx: Tx, endpoint: Endpoint, now: Instant) -> Endpoint:
    """The endpoint disabled by hand: what is for it is held until it is enabled. Once disabled it stays as it is."""
    endpoint = _as_it_is(tx, endpoint)
    if not endpoint.enabled:
        return endpoint
    disabled = replace(endpoint, disabled_at=now, disabled_reason="disabled by hand")
    endpoints.save(tx, disabled)
    return disabled


def remove(tx: Tx, endpoint: Endpoint, now: Instant) -> None:
    """Removes an endpoint: its registrations are withdrawn, its pending deliveries cancelled.

    Raises Conflict where it belongs to the configuration.
    """
    _refuse_configured(endpoint)
    _remove(tx, endpoint, now)


def sync_configured(tx: Tx, configured: Sequence[StandingEndpoint], rules: EgressRules, now: Instant) -> None:
    """Makes the stored endpoints of the configuration what the configuration says, by name.

    Id, health and (where none is configured) secret of a known name stay; a secret that the configuration changes is
    rotated. Raises Invalid for a URL that is refused.
    """
    wanted = {endpoint.name for endpoint in configured}
    for known in endpoints.standing(tx):
        if known.source == "config" and known.name not in wanted:
            _remove(tx, known, now)
    for wish in configured:
        _sync(tx, wish, rules, now)


def _sync(tx: Tx, wish: StandingEndpoint, rules: EgressRules, now: Instant) -> None:
    secret = wish.secret.get_secret_value() if wish.secret else None
    asked = Wanted(
        wish.url.get_secret_value(), wish.format, wish.events, secret, wish.headers, wish.signing, wish.template
    )
    checked = subscribing.check(asked, rules, f"endpoints.{wish.name}.url")
    found = endpoints.by_name(tx, wish.name)
    if found is None:
        new = subscribing.make(
            checked, kind=EndpointKind.STANDING, now=now, random_bytes=_random(), name=wish.name, source="config"
        )
        endpoints.add(tx, new)
        return
    found = _as_it_is(tx, found)
    changed = replace(_with(found, checked, wish.name), source="config")
    if secret is not None and secret != found.secrets[0].value:
        changed = replace(changed, secrets=_rotated(found, secret, now))
    elif wish.signing not in (None, signing.scheme_of(found.secrets[0].value)):
        changed = replace(changed, secrets=_rotated(found, signing.new_secret(_random(), checked.signing), now))
    if changed != found:
        _save(tx, found, changed)


def _as_it_is(tx: Tx, endpoint: Endpoint) -> Endpoint:
    """The endpoint as it is by now, nobody else's to change until the transaction ends. Raises NotFound."""
    found = endpoints.locked(tx, [endpoint.id]).get(endpoint.id)
    if found is None:
        raise NotFound("endpoint_not_found", "there is no endpoint with this id")
    return found


def _with(endpoint: Endpoint, checked: Checked, name: str | None) -> Endpoint:
    changed = replace(
        endpoint,
        name=name,
        url=checked.target.url,
        host=checked.target.host_port,
        format=checked.format,
        template=checked.template,
        events=checked.events,
        headers=checked.headers,
    )
    return changed if changed.url == endpoint.url else _healthy(changed)


def _healthy(endpoint: Endpoint) -> Endpoint:
    return replace(endpoint, paused_until=None, failing_since=None, failures=0)


def _rotated(endpoint: Endpoint, new: str, now: Instant) -> tuple[Secret, ...]:
    until = now + ROTATION
    old = [Secret(secret.value, min(secret.until or until, until)) for secret in endpoint.secrets]
    kept = [secret for secret in old if (secret.until or 0) > now and secret.value != new]
    return (Secret(new), *kept[: MOST_SECRETS - 1])


def _save(tx: Tx, before: Endpoint, changed: Endpoint) -> None:
    """Writes a changed endpoint; the request that made it no longer means it."""
    endpoints.save(tx, changed, changed.id)
    if changed.host != before.host:
        outbox.move(tx, changed.id, changed.host)


def _remove(tx: Tx, endpoint: Endpoint, now: Instant) -> None:
    outbox.cancel(tx, endpoint.id, None, now, "the endpoint was removed")
    for gone in registrations.withdraw_all_of(tx, endpoint.id):
        watches.rest(tx, gone.workspace, gone.job_id, now)
    endpoints.remove(tx, endpoint.id)


def _refuse_configured(endpoint: Endpoint) -> None:
    if endpoint.source == "config":
        text = "this endpoint is defined in the relay's configuration; change it there and reload the relay"
        raise Conflict("endpoint_configured", text)


# --- which requests mean the same endpoint ---------------------------------------------------------------------


def _same(tx: Tx, name: str | None, marks: Sequence[str]) -> Endpoint | None:
    if name is not None:
        return endpoints.by_name(tx, name)
    return endpoints.by_fingerprint(tx, marks) if marks else None


def _unmarked(tx: Tx, name: str | None, checked: Checked, marks: Sequence[str]) -> Endpoint | None:
    """One without a name that is just as asked, and whose own request can't be told any more; now it is this one."""
    for found in endpoints.unmarked(tx) if name is None else ():
        if _is_as_asked(found, checked):
            endpoints.save(tx, _as_it_is(tx, found), marks[0])
            return found
    return None


def _marks(tx: Tx, checked: Checked) -> Sequence[str]:
    """What makes two requests without a name mean the same standing endpoint: all that they ask for."""
    asked = (checked.target.url, checked.own_format, checked.headers, checked.own_secret)
    return endpoints.fingerprints(tx, *asked, standing_for=checked.events)


def _is_as_asked(found: Endpoint, checked: Checked) -> bool:
    asked = (checked.target.url, checked.format, checked.template, set(checked.events), dict(checked.headers))
    there = (found.url, found.format, found.template, set(found.events), dict(found.headers))
    same_way = checked.signing is signing.scheme_of(found.secrets[0].value)
    return asked == there and same_way and checked.secret in (None, found.secrets[0].value)


def _mark_after_rotation(tx: Tx, rotated: Endpoint) -> str:
    """An ad hoc endpoint goes on being meant by its URL, with the new secret where requests bring one."""
    if rotated.kind is EndpointKind.STANDING:
        return rotated.id
    described = (rotated.url, rotated.format, rotated.headers)
    scheme = signing.scheme_of(rotated.secrets[0].value)
    unsaid = None if scheme is Signing.HMAC else scheme.value
    for secret in (unsaid, rotated.secrets[0].value):
        marks = endpoints.fingerprints(tx, *described, secret)
        found = endpoints.by_fingerprint(tx, marks)
        if (found is None and secret != unsaid) or (found is not None and found.id == rotated.id):
            return marks[0]
    return rotated.id


def _random() -> bytes:
    return secrets.token_bytes(subscribing.SECRET_BYTES)
