"""Standing endpoints: made, changed, enabled and removed, by the API or by the configuration.

All functions but `delete` work inside the caller's transaction.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from relay import formats
from relay.config import EndpointSection
from relay.egress.url_policy import EgressRules
from relay.endpoints import spec
from relay.endpoints.spec import EndpointSpec, ValidatedEndpoint
from relay.errors import Conflict, NotFound
from relay.model import DAY, Endpoint, EndpointKind, EventType, Instant, Secret
from relay.signing import standard_webhooks
from relay.signing.standard_webhooks import SignatureScheme
from relay.store.engine.database import Store, Tx, random_bytes
from relay.store.tables import endpoints, outbox, registrations, watches

OLD_SECRET_GRACE = DAY
"""How long the old secret signs beside the new one."""

PART = 500
"""Registrations or deliveries of an endpoint that one transaction ends while it is removed."""

MOST_SECRETS = 5
"""Secrets that sign at a time, however often they were rotated within a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPatch:
    """What is to change; None stays as it is."""

    name: str | None = None
    url: str | None = field(default=None, repr=False)
    format: str | None = None
    events: tuple[EventType, ...] | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    template: Mapping[str, Any] | None = field(default=None, repr=False)
    quiet: str | None = None
    """Empty: no quiet hours any more."""
    fallback: str | None = None
    """Empty: no fallback any more."""


def get(tx: Tx, id: str) -> Endpoint:
    """The endpoint with this id. Raises NotFound."""
    return _there(endpoints.get(tx, id))


def create(
    tx: Tx, name: str | None, checked: ValidatedEndpoint, now: Instant, owner: str | None = None
) -> tuple[Endpoint, bool]:
    """A standing endpoint, and whether it is new: the same request again gives the one that is there.

    `owner` is the name of the API key that it belongs to, None for an admin's.

    Raises Conflict where the name belongs to an endpoint that differs.
    """
    made = spec.new_endpoint(
        checked, kind=EndpointKind.STANDING, now=now, random_bytes=random_bytes(tx, spec.RANDOM_BYTES), name=name
    )
    made = replace(made, owner=owner)
    marks = _fingerprints(tx, checked) if name is None else ()
    while (found := _same(tx, name, marks) or _find_unfingerprinted(tx, name, checked, marks)) is None:
        if endpoints.add(tx, made, marks[0] if marks else None):  # else another relay was first
            return made, True
    if name is not None and not _is_as_asked(found, checked):
        text = f"an endpoint of this name is there, and differs; change it with PATCH /v1/endpoints/{found.id}"
        raise Conflict("endpoint_exists", f"{text}, or choose another name", "name")
    return found, False


def update(tx: Tx, endpoint: Endpoint, patch: EndpointPatch, rules: EgressRules) -> Endpoint:
    """The endpoint as changed; its secrets stay, its health too unless the URL is another.

    A format that was chosen by the URL's host is chosen again for another URL. Raises Invalid for what can't be,
    Conflict where the endpoint is not to be changed here or the name is taken.
    """
    endpoint = _held(tx, endpoint.id)
    refuse_unless_changeable(endpoint)
    if patch.name is not None and patch.name != endpoint.name and endpoints.by_name(tx, patch.name) is not None:
        raise Conflict("endpoint_exists", "another endpoint has this name; choose another", "name")
    chosen = "auto" if endpoint.format == formats.detect_format(endpoint.url) or patch.template else endpoint.format
    kept = json.loads(endpoint.template) if endpoint.template and patch.format in (None, endpoint.format) else None
    asked = EndpointSpec(
        url=patch.url if patch.url is not None else endpoint.url,
        format=patch.format or chosen,
        events=patch.events or endpoint.events,
        headers=patch.headers if patch.headers is not None else endpoint.headers,
        template=patch.template or kept,
        quiet=endpoint.quiet if patch.quiet is None else patch.quiet,
        fallback=endpoint.fallback if patch.fallback is None else patch.fallback,
    )
    changed = _with(endpoint, spec.validate(asked, rules, "url"), patch.name or endpoint.name)
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
    configured: Sequence[EndpointSection],
    wanted: SignatureScheme | None = None,
) -> Endpoint:
    """The endpoint with a new secret (None: one made here); the old one signs beside it for a day.

    It signs as before unless `wanted` or the secret says otherwise. Raises Invalid for a secret that is none, Conflict
    where the configuration sets it.
    """
    endpoint = _held(tx, endpoint.id)
    if has_configured_secret(endpoint, configured):
        text = "the relay's configuration sets the secret of this endpoint; change it there and reload the relay"
        raise Conflict("endpoint_configured", text)
    before = standard_webhooks.scheme_of(endpoint.secrets[0].value)
    scheme = spec.check_signing(wanted, new) if new or wanted else before
    rotated = replace(
        endpoint,
        secrets=_rotated(
            endpoint, new or standard_webhooks.new_secret(random_bytes(tx, spec.SECRET_BYTES), scheme), now
        ),
    )
    endpoints.save(tx, rotated, _fingerprint_after_rotation(tx, rotated))
    return rotated


def has_configured_secret(endpoint: Endpoint, configured: Sequence[EndpointSection]) -> bool:
    """Whether the configuration sets the secret, which then is changed there only."""
    return endpoint.source == "config" and any(one.secret and one.name == endpoint.name for one in configured)


def enable(tx: Tx, endpoint: Endpoint, now: Instant) -> tuple[Endpoint, int]:
    """The endpoint enabled, and how many deliveries were held for it and are due now."""
    enabled = replace(_healthy(_lock(tx, endpoint)), disabled_at=None, disabled_reason=None)
    endpoints.save(tx, enabled)
    return enabled, outbox.release_held(tx, endpoint.id, now)


def disable(tx: Tx, endpoint: Endpoint, now: Instant) -> Endpoint:
    """The endpoint disabled by hand: what is for it is held until it is enabled. Once disabled it stays as it is."""
    endpoint = _lock(tx, endpoint)
    if not endpoint.enabled:
        return endpoint
    disabled = replace(endpoint, disabled_at=now, disabled_reason="disabled by hand")
    endpoints.save(tx, disabled)
    return disabled


async def delete(store: Store, id: str, now: Instant, *, configured: bool = False) -> None:
    """Removes an endpoint: its registrations are withdrawn, its pending deliveries cancelled.

    In transactions of at most `PART` rows each, between which other work goes on. Where the relay dies between two of
    them, what is left stays as it was, and the same call goes on with it.

    Raises NotFound; Conflict where it belongs to the configuration, unless that is what removes it (`configured`).
    """
    while await store.write(lambda tx: _remove_some(tx, id, now, configured)):
        pass


def sync_configured(tx: Tx, configured: Sequence[EndpointSection], rules: EgressRules, now: Instant) -> list[str]:
    """Makes the stored endpoints of the configuration what the configuration says, by name.

    Id, health and (where none is configured) secret of a known name stay; a secret that the configuration changes is
    rotated. Returns the ids of those that it has no more, which are to be removed. Raises Invalid for a URL that is
    refused.
    """
    wanted = {endpoint.name for endpoint in configured}
    there = endpoints.get_for_update_by_name(tx, wanted)
    for wish in sorted(configured, key=lambda wish: wish.name):  # in one order, or two relays would wait for each other
        _sync(tx, wish, there.get(wish.name), rules, now)
    return [one.id for one in endpoints.all_standing(tx) if one.source == "config" and one.name not in wanted]


def _sync(tx: Tx, patch: EndpointSection, found: Endpoint | None, rules: EgressRules, now: Instant) -> None:
    secret = patch.secret.get_secret_value() if patch.secret else None
    asked = EndpointSpec(
        patch.url.get_secret_value(),
        patch.format,
        patch.events,
        secret,
        patch.headers,
        patch.signing,
        patch.template,
        patch.quiet,
        patch.fallback,
    )
    checked = spec.validate(asked, rules, f"endpoints.{patch.name}.url")
    while found is None:
        new = spec.new_endpoint(
            checked,
            kind=EndpointKind.STANDING,
            now=now,
            random_bytes=random_bytes(tx, spec.RANDOM_BYTES),
            name=patch.name,
            source="config",
        )
        if endpoints.add(tx, new):  # else another relay was first
            return
        found = endpoints.get_for_update_by_name(tx, [patch.name]).get(patch.name)
    changed = replace(_with(found, checked, patch.name), source="config")
    if secret is not None and secret != found.secrets[0].value:
        changed = replace(changed, secrets=_rotated(found, secret, now))
    elif patch.signing not in (None, standard_webhooks.scheme_of(found.secrets[0].value)):
        changed = replace(
            changed,
            secrets=_rotated(
                found, standard_webhooks.new_secret(random_bytes(tx, spec.SECRET_BYTES), checked.signing), now
            ),
        )
    if changed != found:
        _save(tx, found, changed)


def _lock(tx: Tx, endpoint: Endpoint) -> Endpoint:
    """The endpoint as it is by now, nobody else's to change until the transaction ends. Raises NotFound."""
    return _there(endpoints.lock_many(tx, [endpoint.id]).get(endpoint.id))


def _held(tx: Tx, id: str) -> Endpoint:
    """As `_lock`, for a change of what it is known by, or for its removal."""
    return _there(endpoints.get_for_update(tx, id))


def _there(found: Endpoint | None) -> Endpoint:
    if found is None:
        raise NotFound("endpoint_not_found", "there is no endpoint with this id")
    return found


def _with(endpoint: Endpoint, checked: ValidatedEndpoint, name: str | None) -> Endpoint:
    changed = replace(
        endpoint,
        name=name,
        url=checked.target.url,
        host=checked.target.host_port,
        format=checked.format,
        template=checked.template,
        quiet=checked.quiet,
        fallback=checked.fallback,
        events=checked.events,
        headers=checked.headers,
    )
    return changed if changed.url == endpoint.url else _healthy(changed)


def _healthy(endpoint: Endpoint) -> Endpoint:
    return replace(endpoint, paused_until=None, failing_since=None, failures=0)


def _rotated(endpoint: Endpoint, new: str, now: Instant) -> tuple[Secret, ...]:
    until = now + OLD_SECRET_GRACE
    old = [Secret(secret.value, min(secret.until or until, until)) for secret in endpoint.secrets]
    kept = [secret for secret in old if (secret.until or 0) > now and secret.value != new]
    return (Secret(new), *kept[: MOST_SECRETS - 1])


def _save(tx: Tx, before: Endpoint, changed: Endpoint) -> None:
    """Writes a changed endpoint; the request that made it no longer means it."""
    endpoints.save(tx, changed, changed.id)
    if changed.host != before.host:
        outbox.update_host(tx, changed.id, changed.host)


def _remove_some(tx: Tx, id: str, now: Instant, configured: bool) -> bool:
    """A part of the removal of an endpoint; whether more is left.

    Watches are locked before the endpoint, never after: what is registered meanwhile is for the next part.
    """
    if not configured:
        _refuse_configured(get(tx, id))
    if gone := registrations.standing_at(tx, id, PART):
        watches.lock(tx, gone.values())
        registrations.withdraw(tx, gone)
        watches.withdraw_if_unwatched(tx, gone.values(), now)
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
    return endpoints.lock_by_fingerprint(tx, marks) if marks else None


def _find_unfingerprinted(
    tx: Tx, name: str | None, checked: ValidatedEndpoint, marks: Sequence[str]
) -> Endpoint | None:
    """One without a name that is just as asked, and whose own request can't be told any more; now it is this one."""
    for found in endpoints.without_fingerprint(tx) if name is None else ():
        if _is_as_asked(found, checked) and (held := endpoints.get_for_update(tx, found.id)) is not None:
            endpoints.save(tx, held, marks[0])
            return found
    return None


def _fingerprints(tx: Tx, checked: ValidatedEndpoint) -> Sequence[str]:
    """What makes two requests without a name mean the same standing endpoint: all that they ask for."""
    asked = (checked.target.url, checked.format_identity, checked.headers, checked.secret_identity)
    return endpoints.fingerprints(tx, *asked, standing_for=checked.events)


def _is_as_asked(found: Endpoint, checked: ValidatedEndpoint) -> bool:
    asked = (checked.target.url, checked.format, checked.template, checked.quiet, checked.fallback)
    there = (found.url, found.format, found.template, found.quiet, found.fallback)
    same_sets = (set(checked.events), dict(checked.headers)) == (set(found.events), dict(found.headers))
    same_way = checked.signing is standard_webhooks.scheme_of(found.secrets[0].value)
    return asked == there and same_sets and same_way and checked.secret in (None, found.secrets[0].value)


def _fingerprint_after_rotation(tx: Tx, rotated: Endpoint) -> str:
    """An ad hoc endpoint goes on being meant by its URL, with the new secret where requests bring one."""
    if rotated.kind is EndpointKind.STANDING:
        return rotated.id
    described = (rotated.url, rotated.format, rotated.headers)
    scheme = standard_webhooks.scheme_of(rotated.secrets[0].value)
    unsaid = None if scheme is SignatureScheme.HMAC else scheme.value
    for secret in (unsaid, rotated.secrets[0].value):
        marks = endpoints.fingerprints(tx, *described, secret)
        found = endpoints.lock_by_fingerprint(tx, marks)
        if (found is None and secret != unsaid) or (found is not None and found.id == rotated.id):
            return marks[0]
    return rotated.id
