"""Resolves the endpoint of each request to register: finds the existing one, or creates it."""

from collections.abc import Sequence

from relay.endpoints import spec
from relay.errors import Conflict, RequestError, ValidationFailed
from relay.model import Endpoint, EndpointKind
from relay.registration.request import TimedRequest
from relay.signing import standard_webhooks
from relay.store import Tx
from relay.store.engine.database import random_bytes
from relay.store.tables import endpoints

Subscriber = tuple[Endpoint | None, str | None]
"""The endpoint of a registration (None: the standing endpoints only), and its secret if it is new."""


def resolve_endpoints(tx: Tx, requests: Sequence[TimedRequest]) -> list[Subscriber | RequestError]:
    """The endpoint of each request, or why it has none; with the secret, for the request that created the endpoint.

    Locks existing endpoints: one that is being deleted is either missing here, or deleted after these registrations.
    """
    fingerprints = [_fingerprints(tx, request.callback) if request.callback else () for request, _ in requests]
    by_fingerprint, created = _find_or_create(tx, requests, fingerprints)
    names = sorted({request.endpoint for request, _ in requests if request.endpoint})
    by_name = {name: endpoints.lock_by_id_or_name(tx, name) for name in names}
    subscribers: list[Subscriber | RequestError] = []
    for (request, _), keys in zip(requests, fingerprints, strict=True):
        if keys:
            endpoint = next((by_fingerprint[key] for key in keys if key in by_fingerprint), None)
        else:
            endpoint = by_name.get(request.endpoint or "")
        if endpoint is not None:
            is_new = endpoint.id in created
            secret = standard_webhooks.secret_to_show(endpoint.secrets[0].value) if is_new else None
            subscribers.append((endpoint, secret))
            created.discard(endpoint.id)
        elif request.callback is not None:  # by another relay
            subscribers.append(Conflict("endpoint_deleted", "the endpoint was deleted in this moment; try again"))
        elif request.endpoint is not None:
            text = "there is no endpoint with this id or name"
            subscribers.append(ValidationFailed("unknown_endpoint", text, "endpoint"))
        else:
            subscribers.append((None, None))
    return subscribers


def _find_or_create(
    tx: Tx, requests: Sequence[TimedRequest], fingerprints: Sequence[Sequence[str]]
) -> tuple[dict[str, Endpoint], set[str]]:
    """The endpoints of all callbacks by fingerprint, and the ids of those that were created. Locks the others."""
    all_fingerprints = {key for keys in fingerprints for key in keys}
    existing = endpoints.lock_by_fingerprints(tx, all_fingerprints) if all_fingerprints else {}
    new: dict[str, Endpoint] = {}
    for (request, now), keys in zip(requests, fingerprints, strict=True):
        if request.callback is not None and not any(key in existing or key in new for key in keys):
            entropy = random_bytes(tx, spec.RANDOM_BYTES)
            new[keys[0]] = spec.new_endpoint(request.callback, kind=EndpointKind.AD_HOC, now=now, random_bytes=entropy)
    added_ids = endpoints.add_all(tx, new) if new else set()
    if len(added_ids) < len(new):  # another relay created some meanwhile
        existing |= endpoints.lock_by_fingerprints(tx, new)
    return existing | {key: endpoint for key, endpoint in new.items() if endpoint.id in added_ids}, added_ids


def _fingerprints(tx: Tx, callback: spec.ValidatedEndpoint) -> tuple[str, ...]:
    return endpoints.fingerprints(tx, callback.target.url, callback.format, callback.headers, callback.secret_identity)
