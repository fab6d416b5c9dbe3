"""The identity of endpoints: which requests mean the same one.

A request without a name identifies its endpoint by everything that it asks for. The store keeps a fingerprint of that.
"""

from collections.abc import Sequence

from relay.endpoints.spec import ValidatedEndpoint
from relay.model import Endpoint, EndpointKind
from relay.signing import SignatureScheme, standard_webhooks
from relay.store import Tx
from relay.store.tables import endpoints


def standing_fingerprints(tx: Tx, validated: ValidatedEndpoint) -> Sequence[str]:
    """The fingerprints of a request for a standing endpoint without a name, the current key's first."""
    identity = (validated.target.url, validated.format_identity, validated.headers, validated.secret_identity)
    return endpoints.fingerprints(tx, *identity, standing_for=validated.events)


def find_existing(tx: Tx, name: str | None, validated: ValidatedEndpoint, keys: Sequence[str]) -> Endpoint | None:
    """The standing endpoint that the request means: the one with the name; without a name, the one with a fingerprint.

    Locks an endpoint that it finds by fingerprint.
    """
    if name is not None:
        return endpoints.by_name(tx, name)
    existing = endpoints.lock_by_fingerprint(tx, keys) if keys else None
    return existing or _adopt_without_fingerprint(tx, validated, keys)


def _adopt_without_fingerprint(tx: Tx, validated: ValidatedEndpoint, keys: Sequence[str]) -> Endpoint | None:
    """An endpoint that equals the request, but whose fingerprint was lost by a change. It gets the request's."""
    for candidate in endpoints.without_fingerprint(tx):
        if not matches(candidate, validated):
            continue
        if (locked := endpoints.get_for_update(tx, candidate.id)) is not None:
            endpoints.save(tx, locked, keys[0])
            return candidate
    return None


def matches(endpoint: Endpoint, validated: ValidatedEndpoint) -> bool:
    """Whether the endpoint is as the request describes it."""
    requested = (
        validated.target.url,
        validated.format,
        validated.template,
        validated.quiet,
        validated.digest,
        validated.fallback,
        set(validated.events),
        dict(validated.headers),
    )
    current = (
        endpoint.url,
        endpoint.format,
        endpoint.template,
        endpoint.quiet,
        endpoint.digest,
        endpoint.fallback,
        set(endpoint.events),
        dict(endpoint.headers),
    )
    secret = endpoint.secrets[0].value
    has_scheme = validated.signing is standard_webhooks.scheme_of(secret)
    return requested == current and has_scheme and validated.secret in (None, secret)


def fingerprint_after_rotation(tx: Tx, rotated: Endpoint) -> str:
    """The fingerprint of an endpoint with a new secret. It is its id if only its id identifies it from now on.

    An endpoint of a registration is still identified by its URL: without a secret if no other endpoint is, else with
    the new secret.
    """
    if rotated.kind is EndpointKind.STANDING:
        return rotated.id
    identity = (rotated.url, rotated.format, rotated.headers)
    scheme = standard_webhooks.scheme_of(rotated.secrets[0].value)
    without_secret = None if scheme is SignatureScheme.HMAC else scheme.value
    for secret in (without_secret, rotated.secrets[0].value):
        keys = endpoints.fingerprints(tx, *identity, secret)
        owner = endpoints.lock_by_fingerprint(tx, keys)
        if (owner is None and secret != without_secret) or (owner is not None and owner.id == rotated.id):
            return keys[0]
    return rotated.id
