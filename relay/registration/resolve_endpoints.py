"""Subscribers: the endpoint that each request means, found or made."""

from collections.abc import Sequence

from relay.endpoints import spec
from relay.errors import Conflict, RequestError, ValidationFailed
from relay.model import Endpoint, EndpointKind
from relay.registration.request import TimedRequest
from relay.signing import standard_webhooks
from relay.store.engine.database import Tx, random_bytes
from relay.store.tables import endpoints

Subscriber = tuple[Endpoint | None, str | None]
"""Who hears of a job (None: the standing endpoints only), and the secret where it is new."""


def resolve_endpoints(tx: Tx, asked: Sequence[TimedRequest]) -> list[Subscriber | RequestError]:
    """The endpoint that each request means, made if need be; and its secret, for the request that made it."""
    marks = [_fingerprints(tx, request.callback) if request.callback else () for request, _ in asked]
    known, made = _find_or_create(tx, asked, marks)
    # Locked: one that is removed at this moment is either not found, or removed after these registrations.
    names = sorted({request.endpoint for request, _ in asked if request.endpoint})
    named = {name: endpoints.lock_by_id_or_name(tx, name) for name in names}
    found: list[Subscriber | RequestError] = []
    for (request, _), own in zip(asked, marks, strict=True):
        one = next((known[mark] for mark in own if mark in known), None) if own else named.get(request.endpoint or "")
        if one is not None:
            found.append((one, standard_webhooks.secret_to_show(one.secrets[0].value) if one.id in made else None))
            made.discard(one.id)
        elif request.callback is not None:  # by another relay
            found.append(Conflict("endpoint_deleted", "the endpoint was deleted in this moment; try again"))
        elif request.endpoint is not None:
            found.append(ValidationFailed("unknown_endpoint", "there is no endpoint with this id or name", "endpoint"))
        else:
            found.append((None, None))
    return found


def _find_or_create(
    tx: Tx, asked: Sequence[TimedRequest], marks: Sequence[Sequence[str]]
) -> tuple[dict[str, Endpoint], set[str]]:
    """The endpoints of all callbacks by the marks they are known by; and the ids of those that were made for it."""
    wanted = {mark for own in marks for mark in own}
    known = endpoints.lock_by_fingerprints(tx, wanted) if wanted else {}
    new: dict[str, Endpoint] = {}
    for (request, now), own in zip(asked, marks, strict=True):
        if request.callback is not None and not any(mark in known or mark in new for mark in own):
            drawn = random_bytes(tx, spec.RANDOM_BYTES)
            made = spec.new_endpoint(request.callback, kind=EndpointKind.AD_HOC, now=now, random_bytes=drawn)
            new[own[0]] = made
    added = endpoints.add_all(tx, new) if new else set()
    if len(added) < len(new):  # another relay made some meanwhile
        known |= endpoints.lock_by_fingerprints(tx, new)
    return known | {mark: endpoint for mark, endpoint in new.items() if endpoint.id in added}, added


def _fingerprints(tx: Tx, wanted: spec.ValidatedEndpoint) -> tuple[str, ...]:
    return endpoints.fingerprints(tx, wanted.target.url, wanted.format, wanted.headers, wanted.secret_identity)
