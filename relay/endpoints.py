"""Standing endpoints: made, changed, enabled and removed, by the API or by the configuration.

All functions but `remove` work inside the caller's transaction.
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
from relay.store.database import Store, Tx
from relay.subscribing import Checked, Wanted

ROTATION = DAY
"""How long the old secret signs beside the new one."""

PART = 500
"""Registrations or deliveries of an endpoint that one transaction ends while it is removed."""

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
    return _there(endpoints.get(tx, id))


def create(tx: Tx, name: str | None, checked: Checked, now: Instant) -> tuple[Endpoint, bool]:
    """A standing endpoint, and whether it is new: the same request again gives the one that is there.

    Raises Conflict where the name belongs to an endpoint that differs.
    """
    made = subscribing.make(checked, kind=EndpointKind.STANDING, now=now, random_bytes=_random(), name=name)
    marks = _marks(tx, checked) if name is None else ()
    while (found := _same(tx, name, marks) or _unmarked(tx, name, checked, marks)) is None:
        if endpoints.add(tx, made, marks[0] if marks else None):  # else another relay was first
            return made, True
    if name is not None and not _is_as_asked(found, checked):
        text = f"an endpoint of this name is there, and differs; change it with PATCH /v1/endpoints/{found.id}"
        raise Conflict("endpoint_exists", f"{text}, or choose another name", "name")
    return found, False


def change(tx: Tx, endpoint: Endpoint, wish: Change, rules: EgressRules) -> Endpoint:
    """The endpoint as changed; its secrets stay, its health too unless the URL is another.

    A format that was chosen by the URL's host is chosen again for another URL. Raises Invalid for what can't be,
    Conflict where the endpoint is not to be changed here or the name is taken.
    """
    endpoint = _held(tx, endpoint.id)
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
    endpoint = _held(tx, endpoint.id)
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


async def remove(store: Store, id: str, now: Instant, *, configured: bool = False) -> None:
    """Removes an endpoint: its registrations are withdrawn, its pending deliveries cancelled.

    In transactions of at most `PART` rows each, between which other work goes on. Where the relay dies between two of
    them, what is left stays as it was, and the same call goes on with it.

    Raises NotFound; Conflict where it belongs to the configuration, unless that is what removes it (`configured`).
    """
    while await store.write(lambda tx: _remove_some(tx, id, now, configured)):
        pass


def sync_configured(tx: Tx, configured: Sequence[StandingEndpoint], rules: EgressRules, now: Instant) -> list[str]:
    """Makes the stored endpoints of the configuration what the configuration says, by name.

    Id, health and (where none is configured) secret of a known name stay; a secret that the configuration changes is
    rotated. Returns the ids of those that it has no more, which are to be removed. Raises Invalid for a URL that is
    refused.
    """
    wanted = {endpoint.name for endpoint in configured}
    there = endpoints.held_by_name(tx, wanted)
    for wish in sorted(configured, key=lambda wish: wish.name):  # in one order, or two relays would wait for each other
        _sync(tx, wish, there.get(wish.name), rules, now)
    return [one.id for one in endpoints.standing(tx) if one.source == "config" and one.name not in wanted]


def _sync(tx: Tx, wish: StandingEndpoint, found: Endpoint | None, rules: EgressRules, now: Instant) -> None:
    secret = wish.secret.get_secret_value() if wish.secret else None
    asked = Wanted(
        wish.url.get_secret_value(), wish.format, wish.events, secret, wish.headers, wish.signing, wish.template
    )
    checked = subscribing.check(asked, rules, f"endpoints.{wish.name}.url")
    while found is None:
        new = subscribing.make(
            checked, kind=EndpointKind.STANDING, now=now, random_bytes=_random(), name=wish.name, source="config"
        )
        if endpoints.add(tx, new):  # else another relay was first
            return
        found = endpoints.held_by_name(tx, [wish.name]).get(wish.name)
    changed = replace(_with(found, checked, wish.name), source="config")
    if secret is not None and secret != found.secrets[0].value:
        changed = replace(changed, secrets=_rotated(found, secret, now))
    elif wish.signing not in (None, signing.scheme_of(found.secrets[0].value)):
        changed = replace(changed, secrets=_rotated(found, signing.new_secret(_random(), checked.signing), now))
    if changed != found:
        _save(tx, found, changed)


def _as_it_is(tx: Tx, endpoint: Endpoint) -> Endpoint:
    """The endpoint as it is by now, nobody else's to change until the transaction ends. Raises NotFound."""
    return _there(endpoints.locked(tx, [endpoint.id]).get(endpoint.id))


def _held(tx: Tx, id: str) -> Endpoint:
    """As `_as_it_is`, for a change of what it is known by, or for its removal."""
    return _there(endpoints.held(tx, id))


def _there(found: Endpoint | None) -> Endpoint:
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


def _remove_some(tx: Tx, id: str, now: Instant, configured: bool) -> bool:
    """A part of the removal of an endpoint; whether more is left.

    Watches are locked before the endpoint, never after: what is registered meanwhile is for the next part.
    """
    if not configured:
        _refuse_configured(get(tx, id))
    if gone := registrations.standing_at(tx, id, PART):
        watches.lock(tx, gone.values())
        registrations.withdraw(tx, gone)
        watches.rest(tx, gone.values(), now)
        return True
    held = _held(tx, id)
    if not configured:
        _refuse_configured(held)
    if registrations.standing_at(tx, id, 1):
        return True
    if outbox.cancel_some(tx, id, now, "the endpoint was removed", PART) == PART:
        return True
    endpoints.remove(tx, id)
    return False


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
        if _is_as_asked(found, checked) and (held := endpoints.held(tx, found.id)) is not None:
            endpoints.save(tx, held, marks[0])
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
