"""Administration of endpoints: create, change, rotate, enable, disable, delete, and apply the configuration.

All functions but `delete` work inside the caller's transaction, and write to the audit log in it: `actor` is who asked.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from relay import formats
from relay.config import EndpointSection
from relay.egress import EgressRules
from relay.endpoints import identity, spec
from relay.endpoints.rendering import render_again
from relay.endpoints.spec import EndpointSpec, ValidatedEndpoint
from relay.errors import Conflict, NotFound, ValidationFailed
from relay.model import (
    DAY,
    PULL_URL,
    THE_CONFIGURATION,
    THE_RELAY,
    Actor,
    AuditAction,
    DeliveryStatus,
    Endpoint,
    EndpointKind,
    EventType,
    Instant,
    Secret,
)
from relay.signing import SignatureScheme, standard_webhooks
from relay.store import Store, Tx
from relay.store.engine.database import random_bytes
from relay.store.tables import audit, deliveries, endpoints, outbox, registrations, watches
from relay.store.tables.filters import DeliveryFilter
from relay.suggestions import did_you_mean_or_list

OLD_SECRET_GRACE = DAY
"""How long the old secret signs beside the new one, in milliseconds."""

_SETTINGS = (
    *("name", "url", "format", "template", "events", "headers", "quiet", "digest", "fallback", "secrets", "source"),
)
"""The fields of an endpoint that people set."""

BATCH = 500
"""Registrations or deliveries that one transaction ends while their endpoint is deleted."""

RETIRED = "no longer in the configuration"
"""Why an endpoint is disabled that the configuration had."""

MAX_SECRETS = 5
"""Secrets that sign at the same time, after any number of rotations within a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPatch:
    """The fields to change; None leaves a field as it is."""

    name: str | None = None
    url: str | None = field(default=None, repr=False)
    format: str | None = None
    events: tuple[EventType, ...] | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    template: Mapping[str, Any] | None = field(default=None, repr=False)
    quiet: str | None = None
    """Empty: no quiet hours any more."""
    digest: str | None = None
    """Empty: no digest any more."""
    fallback: str | None = None
    """Empty: no fallback any more."""


def get(tx: Tx, id: str) -> Endpoint:
    """The endpoint with this id. Raises NotFound."""
    return _existing(endpoints.get(tx, id))


def get_locked(tx: Tx, id: str) -> Endpoint:
    """Like `get`, for a change of the fields that identify the endpoint, or for its deletion. Locks the endpoint."""
    return _existing(endpoints.get_for_update(tx, id))


def create(
    tx: Tx,
    name: str | None,
    validated: ValidatedEndpoint,
    now: Instant,
    owner: str | None = None,
    actor: Actor = THE_RELAY,
) -> tuple[Endpoint, bool]:
    """The standing endpoint, and whether it is new: the same request again returns the existing one.

    `owner` is the name of the API key that it belongs to, None for an admin's. Raises ValidationFailed for a malformed
    name, Conflict if another endpoint has the name.
    """
    entropy = random_bytes(tx, spec.RANDOM_BYTES)
    if name is not None:
        spec.check_name(name)
    _check_fallback(tx, validated.fallback, name)
    if name is None and validated.target.url == PULL_URL:
        raise ValidationFailed("missing_field", "an endpoint that is pulled needs a name, by which it is read", "name")
    new = spec.new_endpoint(validated, kind=EndpointKind.STANDING, now=now, random_bytes=entropy, name=name)
    new = replace(new, owner=owner)
    keys = identity.standing_fingerprints(tx, validated) if name is None else ()
    while (existing := identity.find_existing(tx, name, validated, keys)) is None:
        if endpoints.add(tx, new, keys[0] if keys else None):  # else another relay was first
            _record(tx, actor, AuditAction.ENDPOINT_CREATED, now, new, format=new.format)
            return new, True
    if name is not None and not identity.matches(existing, validated):
        text = f"another endpoint has this name; change it with PATCH /v1/endpoints/{existing.id}"
        raise Conflict("endpoint_exists", f"{text}, or choose another name", "name")
    return existing, False


def update(
    tx: Tx, endpoint: Endpoint, patch: EndpointPatch, rules: EgressRules, now: Instant, actor: Actor = THE_RELAY
) -> Endpoint:
    """The changed endpoint. Its secrets stay; its health stays too, unless the URL changes.

    A format that was detected from the URL is detected again for a new URL. Raises ValidationFailed; Conflict if the
    endpoint can't be changed here or the name is taken. Locks the endpoint.
    """
    endpoint = get_locked(tx, endpoint.id)
    refuse_unless_changeable(endpoint)
    if patch.url is not None and endpoint.is_pulled != (patch.url == PULL_URL):
        text = "an endpoint stays pulled, or notified at a URL; create another one, and delete this one"
        raise ValidationFailed("invalid_url", text, "url")
    if patch.name is not None and patch.name != endpoint.name:
        spec.check_name(patch.name)
        if endpoints.by_name(tx, patch.name) is not None:
            raise Conflict("endpoint_exists", "another endpoint has this name; choose another", "name")
    if patch.fallback != endpoint.fallback:
        _check_fallback(tx, patch.fallback, patch.name or endpoint.name)
    is_detected = endpoint.format == formats.detect_format(endpoint.url)
    format = "auto" if is_detected or patch.template else endpoint.format
    template = json.loads(endpoint.template) if endpoint.template and patch.format in (None, endpoint.format) else None
    endpoint_spec = EndpointSpec(
        url=patch.url if patch.url is not None else endpoint.url,
        format=patch.format or format,
        events=patch.events or endpoint.events,
        headers=patch.headers if patch.headers is not None else endpoint.headers,
        template=patch.template or template,
        quiet=endpoint.quiet if patch.quiet is None else patch.quiet,
        digest=endpoint.digest if patch.digest is None else patch.digest,
        fallback=endpoint.fallback if patch.fallback is None else patch.fallback,
    )
    changed = _with(endpoint, spec.validate(endpoint_spec, rules, "url"), patch.name or endpoint.name)
    _save(tx, endpoint, changed)
    if endpoint.name is not None and changed.name is not None and changed.name != endpoint.name:
        endpoints.rename_fallback(tx, endpoint.name, changed.name)
    _record_change(tx, actor, now, endpoint, changed)
    return changed


def _check_fallback(tx: Tx, fallback: str | None, own_name: str | None) -> None:
    """Raises ValidationFailed for a fallback that nothing could be sent to."""
    if not fallback:
        return
    found = endpoints.lock_by_id_or_name(tx, fallback)
    if found is None:
        names = [endpoint.name for endpoint in endpoints.all_standing(tx) if endpoint.name]
        text = f"there is no endpoint {fallback!r}{did_you_mean_or_list(fallback, names)}"
        raise ValidationFailed("unknown_fallback", text, "fallback")
    if found.is_pulled or (found.name is not None and found.name == own_name):
        what = "is pulled, so nothing is sent to it" if found.is_pulled else "is this endpoint itself"
        raise ValidationFailed("invalid_fallback", f"{fallback!r} {what}; name another endpoint", "fallback")


def refuse_unless_changeable(endpoint: Endpoint) -> None:
    """Raises Conflict if the configuration or a registration's callback_url defines the endpoint."""
    _refuse_configured(endpoint)
    if endpoint.kind is EndpointKind.AD_HOC:
        text = "a registration's callback_url created this endpoint; register the job again with what you want instead"
        raise Conflict("endpoint_ad_hoc", text)


def refuse_if_pulled(endpoint: Endpoint) -> None:
    """Raises Conflict for an endpoint to which nothing is sent."""
    if endpoint.is_pulled:
        text = f"nothing is sent to this endpoint; read it with GET /v1/events?endpoint={endpoint.name}&after=CURSOR"
        raise Conflict("endpoint_pulled", text)


def rotate(
    tx: Tx,
    endpoint: Endpoint,
    new: str | None,
    now: Instant,
    configured: Sequence[EndpointSection],
    signing: SignatureScheme | None = None,
    actor: Actor = THE_RELAY,
) -> Endpoint:
    """The endpoint with a new secret (None: a generated one); the old secret signs beside it for a day.

    The scheme stays, unless `signing` or the secret has another one. Raises ValidationFailed for an invalid secret,
    Conflict if the configuration sets the secret. Locks the endpoint.
    """
    endpoint = get_locked(tx, endpoint.id)
    if has_configured_secret(endpoint, configured):
        text = "the relay's configuration sets the secret of this endpoint; change it there and reload the relay"
        raise Conflict("endpoint_configured", text)
    before = standard_webhooks.scheme_of(endpoint.secrets[0].value)
    scheme = spec.check_signing(signing, new) if new or signing else before
    secret = new or standard_webhooks.new_secret(random_bytes(tx, spec.SECRET_BYTES), scheme)
    rotated = replace(endpoint, secrets=_rotated(endpoint, secret, now))
    endpoints.save(tx, rotated, identity.fingerprint_after_rotation(tx, rotated))
    _record(tx, actor, AuditAction.SECRET_ROTATED, now, rotated)
    return rotated


def has_configured_secret(endpoint: Endpoint, configured: Sequence[EndpointSection]) -> bool:
    """Whether the configuration sets the secret, so that it can be changed only there."""
    return endpoint.source == "config" and any(entry.secret and entry.name == endpoint.name for entry in configured)


def enable(tx: Tx, endpoint: Endpoint, now: Instant, actor: Actor = THE_RELAY) -> tuple[Endpoint, int]:
    """The enabled endpoint, and the number of deliveries that were held for it and are due now. Locks the endpoint."""
    before = _lock(tx, endpoint)
    enabled = replace(_healthy(before), disabled_at=None, disabled_reason=None)
    endpoints.save(tx, enabled)
    released = outbox.release_held(tx, endpoint.id, now)
    if not before.enabled:
        _record(tx, actor, AuditAction.ENDPOINT_ENABLED, now, enabled, released=released)
    return enabled, released


def disable(tx: Tx, endpoint: Endpoint, now: Instant, actor: Actor = THE_RELAY) -> Endpoint:
    """The endpoint, disabled by hand: its deliveries are held until it is enabled. Locks the endpoint.

    An endpoint that is disabled already stays as it is, with its reason.
    """
    endpoint = _lock(tx, endpoint)
    refuse_if_pulled(endpoint)
    if not endpoint.enabled:
        return endpoint
    disabled = replace(endpoint, disabled_at=now, disabled_reason="disabled by hand")
    endpoints.save(tx, disabled)
    _record(tx, actor, AuditAction.ENDPOINT_DISABLED, now, disabled)
    return disabled


async def delete(store: Store, id: str, now: Instant, *, configured: bool = False, actor: Actor = THE_RELAY) -> None:
    """Deletes an endpoint: its registrations are withdrawn, its pending deliveries cancelled.

    It works in transactions of at most `BATCH` rows, so that other transactions run in between. After a crash between
    two of them, the same call continues with the rest.

    Raises NotFound; Conflict if the configuration defines the endpoint, unless it is no longer there (`configured`), or
    if it is another endpoint's fallback.
    """
    while await store.write(lambda tx: _delete_batch(tx, id, now, configured, actor)):
        pass


def sync_configured(tx: Tx, configured: Sequence[EndpointSection], rules: EgressRules, now: Instant) -> list[str]:
    """Creates and changes the configured endpoints in the store, by name.

    An existing endpoint keeps its id and health, and its secret if none is configured; a secret that the configuration
    changes is rotated. One that belonged to an API key belongs to the operator now, with another secret. Returns the
    ids of endpoints that are configured no longer, for the caller to retire or delete.
    Raises ValidationFailed for a URL that is blocked. Locks the configured endpoints.
    """
    names = {entry.name for entry in configured}
    existing = endpoints.get_for_update_by_name(tx, names)
    for entry in sorted(configured, key=lambda entry: entry.name):  # in a fixed order: two relays would deadlock
        _sync(tx, entry, existing.get(entry.name), rules, now)
    standing = endpoints.all_standing(tx)
    return [endpoint.id for endpoint in standing if endpoint.source == "config" and endpoint.name not in names]


def retire(tx: Tx, id: str, now: Instant) -> bool:
    """Retires an endpoint that is configured no longer, if a delivery or an active job waits for it. False if nothing
    waits, for the caller to delete it.

    It gets no more events of every job, and what waits is held until a person enables or deletes it; if it is
    configured again, that is undone. Raises NotFound. Locks the endpoint.
    """
    endpoint = get_locked(tx, id)
    if endpoint.source != "config":
        return True  # another relay was first
    pending = DeliveryFilter(endpoint_id=id, status=DeliveryStatus.PENDING)
    if endpoint.is_pulled:
        return False
    if not deliveries.count(tx, pending, limit=1) and not registrations.has_active(tx, id):
        return False
    retired = replace(endpoint, kind=EndpointKind.AD_HOC, source="api")
    reason = RETIRED if endpoint.enabled else f"{RETIRED}; before that: {endpoint.disabled_reason}"
    retired = replace(retired, disabled_at=endpoint.disabled_at or now, disabled_reason=reason)
    endpoints.save(tx, retired)
    _record(tx, THE_CONFIGURATION, AuditAction.ENDPOINT_DISABLED, now, retired)
    return True


def _sync(tx: Tx, entry: EndpointSection, existing: Endpoint | None, rules: EgressRules, now: Instant) -> None:
    endpoint_spec = spec.of_section(entry)
    secret = endpoint_spec.secret
    validated = spec.validate(endpoint_spec, rules, f"endpoints.{entry.name}.url")
    while existing is None:
        new = spec.new_endpoint(
            validated,
            kind=EndpointKind.STANDING,
            now=now,
            random_bytes=random_bytes(tx, spec.RANDOM_BYTES),
            name=entry.name,
            source="config",
        )
        if endpoints.add(tx, new):  # else another relay was first
            _record(tx, THE_CONFIGURATION, AuditAction.ENDPOINT_CREATED, now, new, format=new.format)
            return
        existing = endpoints.get_for_update_by_name(tx, [entry.name]).get(entry.name)
    changed = replace(_with(existing, validated, entry.name), source="config", kind=EndpointKind.STANDING)
    if existing.disabled_reason == RETIRED:
        changed = replace(_healthy(changed), disabled_at=None, disabled_reason=None)
        outbox.release_held(tx, existing.id, now)
    if existing.owner is not None:  # whoever has that API key knows the secrets
        new_secret = secret or standard_webhooks.new_secret(random_bytes(tx, spec.SECRET_BYTES), validated.signing)
        changed = replace(changed, owner=None, secrets=(Secret(new_secret),))
    elif secret is not None and secret != existing.secrets[0].value:
        changed = replace(changed, secrets=_rotated(existing, secret, now))
    elif entry.signing not in (None, standard_webhooks.scheme_of(existing.secrets[0].value)):
        generated = standard_webhooks.new_secret(random_bytes(tx, spec.SECRET_BYTES), validated.signing)
        changed = replace(changed, secrets=_rotated(existing, generated, now))
    if changed != existing:
        _save(tx, existing, changed)
        _record_change(tx, THE_CONFIGURATION, now, existing, changed)
    if changed.is_pulled and not existing.is_pulled:
        reason = "the endpoint is pulled now: its events are read from the feed"
        while outbox.cancel_some(tx, existing.id, now, reason, BATCH) == BATCH:
            pass


def _lock(tx: Tx, endpoint: Endpoint) -> Endpoint:
    """The endpoint's current state, locked until the transaction ends. Raises NotFound."""
    return _existing(endpoints.lock_many(tx, [endpoint.id]).get(endpoint.id))


def _existing(endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise NotFound("endpoint_not_found", "there is no endpoint with this id")
    return endpoint


def _with(endpoint: Endpoint, validated: ValidatedEndpoint, name: str | None) -> Endpoint:
    changed = replace(
        endpoint,
        name=name,
        url=validated.target.url,
        host=validated.target.host_port,
        format=validated.format,
        template=validated.template,
        quiet=validated.quiet,
        digest=validated.digest,
        fallback=validated.fallback,
        events=validated.events,
        headers=validated.headers,
    )
    return changed if changed.url == endpoint.url else _healthy(changed)


def _healthy(endpoint: Endpoint) -> Endpoint:
    return replace(endpoint, paused_until=None, failing_since=None, failures=0)


def _rotated(endpoint: Endpoint, new: str, now: Instant) -> tuple[Secret, ...]:
    until = now + OLD_SECRET_GRACE
    old = [Secret(secret.value, min(secret.until or until, until)) for secret in endpoint.secrets]
    valid = [secret for secret in old if (secret.until or 0) > now and secret.value != new]
    return (Secret(new), *valid[: MAX_SECRETS - 1])


def _save(tx: Tx, before: Endpoint, changed: Endpoint) -> None:
    """Writes a changed endpoint. The request that created it no longer identifies it."""
    endpoints.save(tx, changed, changed.id)
    if changed.host != before.host:
        outbox.update_host(tx, changed.id, changed.host)
    if changed.format_identity != before.format_identity:
        render_again(tx, changed)


def _record(tx: Tx, actor: Actor, action: AuditAction, now: Instant, endpoint: Endpoint, **detail: object) -> None:
    audit.add(tx, actor, action, now, endpoint.id, endpoint.name, **detail)


def _record_change(tx: Tx, actor: Actor, now: Instant, before: Endpoint, changed: Endpoint) -> None:
    """Records which settings differ, by name only: their values may be secrets."""
    fields = [name for name in _SETTINGS if getattr(before, name) != getattr(changed, name)]
    if fields:
        was = {"was_named": before.name} if before.name != changed.name else {}
        _record(tx, actor, AuditAction.ENDPOINT_CHANGED, now, changed, fields=fields, **was)


def _delete_batch(tx: Tx, id: str, now: Instant, configured: bool, actor: Actor) -> bool:
    """Does one batch of deleting an endpoint. Returns whether more is left.

    It locks watches before the endpoint, never after: jobs that are registered meanwhile are for the next batch.
    """
    if not configured:
        _refuse_deletion(tx, get(tx, id))
    if jobs := registrations.standing_at(tx, id, BATCH):
        watches.lock(tx, jobs.values())
        registrations.withdraw(tx, jobs)
        watches.withdraw_if_unwatched(tx, jobs.values(), now)
        return True
    endpoint = get_locked(tx, id)
    if not configured:
        _refuse_deletion(tx, endpoint)
    if registrations.standing_at(tx, id, 1):
        return True
    if outbox.cancel_some(tx, id, now, "the endpoint was removed", BATCH) == BATCH:
        return True
    endpoints.remove(tx, id)
    _record(tx, actor, AuditAction.ENDPOINT_DELETED, now, endpoint)
    return False


def _refuse_deletion(tx: Tx, endpoint: Endpoint) -> None:
    _refuse_configured(endpoint)
    if others := endpoints.with_fallback(tx, endpoint):
        text = f"this endpoint is the fallback of {', '.join(others)}; give another fallback there first, or none"
        raise Conflict("endpoint_is_fallback", text)


def _refuse_configured(endpoint: Endpoint) -> None:
    if endpoint.source == "config":
        text = "this endpoint is defined in the relay's configuration; change it there and reload the relay"
        raise Conflict("endpoint_configured", text)
