"""Verifying, for those who receive from the relay: Standard Webhooks 1.0, in one call.

    from relay import Unverified, verify

    try:
        event = verify(request.headers, request.body, "whsec_...")
    except Unverified as error:
        return 400, str(error)

It needs the body's bytes as they came: a body that was parsed and written again has another signature. Any other
Standard Webhooks library does the same.

`relay` itself has the function and `Unverified`, `relay.verify` the more exact errors too.
"""

import hmac
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from relay.errors import RelayError, ValidationFailed
from relay.signing import ed25519, standard_webhooks
from relay.times import SECOND, Instant

TOLERANCE = 300 * SECOND
"""How far a request's timestamp may be from now, as the specification's libraries have it; milliseconds."""

_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_MOST_SIGNATURES = 10
"""That are polled: twice what the relay signs with at a time. A stranger could send any number."""
_PRIVATE_KEY = (
    f"this is a private key ({ed25519.PRIVATE_PREFIX}...), which signs and stays with the relay: verify with its "
    f"public half ({ed25519.PUBLIC_PREFIX}...), which the relay shows as public_key"
)


class Unverified(RelayError):
    """The request is not proven to come from the relay: do not act on it. Base of all below."""


class MissingHeader(Unverified):
    """One of the three headers is missing or can't be read."""


class TimestampTooOld(Unverified):
    """It was signed too long ago: a replay, or the clock here is fast."""


class TimestampTooNew(Unverified):
    """It was signed too far in the future: the clock here is slow, or the sender's fast."""


class BadSignature(Unverified):
    """No signature fits: another secret, or the body is not the one that was sent."""


class InvalidBody(Unverified):
    """The signature fits, but the body is no JSON object."""


def verify(
    headers: Mapping[str, str],
    body: bytes | bytearray | str,
    secrets: str | Iterable[str],
    *,
    tolerance: int = TOLERANCE,
    now: Instant | None = None,
) -> dict[str, Any]:
    """The event, once its signature is proven; any of several `secrets` will do, as while one rotates.

    A secret is the endpoint's `whsec_...`, or its public key `whpk_...` where it signs with Ed25519. `body` is what
    came, as bytes or as the text that they are in UTF-8.

    `headers` in any case of letters; `tolerance` and `now` in milliseconds, `now` being the clock's unless given.
    Raises a subclass of Unverified; for what is wrong on your own side, `relay.errors.Invalid` where a secret is none,
    TypeError where the body was parsed already. Signatures are compared in constant time. Deduplicate by `webhook-id`:
    a retry has the same one.
    """
    event_id, timestamp, signatures = _required_headers(headers)
    _check_age(timestamp, tolerance, time.time_ns() // 1_000_000 if now is None else now)
    content = _content(body)
    signed = standard_webhooks.signed_content(event_id, timestamp, content)
    known = [secrets] if isinstance(secrets, str) else list(secrets)
    given = signatures.split(" ")[:_MOST_SIGNATURES]
    # All are compared, so that the time tells nothing of which fits; and a secret that is none is found out.
    fitting = [fits for secret in known for fits in _matches(secret, signed, given)]
    if True not in fitting:  # guard: bad-signature
        raise BadSignature("no signature fits: check the secret, and that the body's bytes are exactly those received")
    return _object(content)


def _content(body: object) -> bytes:
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    if not isinstance(body, str):
        raise TypeError(f"the body is a {type(body).__name__}: give the bytes as they came, before they are parsed")
    try:
        return body.encode()
    except UnicodeEncodeError:
        raise BadSignature("no signature fits: the body is no text in UTF-8; give its bytes as they came") from None


def _matches(secret: str, signed: bytes, signatures: Sequence[str]) -> list[bool]:
    """Which of the signatures are the secret's."""
    if secret.startswith(ed25519.PUBLIC_PREFIX):
        return [ed25519.verify_signature(secret, signed, one) for one in signatures]
    if secret.startswith(ed25519.PRIVATE_PREFIX):
        raise ValidationFailed("invalid_secret", _PRIVATE_KEY, "secret")
    expected = standard_webhooks.signature(secret, signed).encode()
    return [hmac.compare_digest(expected, one.encode(errors="replace")) for one in signatures]


def _required_headers(headers: Mapping[str, str]) -> tuple[str, str, str]:
    found = {name.lower(): value for name, value in headers.items()}
    for name in _HEADERS:
        if not found.get(name):
            raise MissingHeader(f"the header {name} is missing: this is no request of a Standard Webhooks sender")
    event_id, timestamp, signatures = (found[name] for name in _HEADERS)
    if not event_id.isascii():
        raise MissingHeader("the header webhook-id is not ASCII")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise MissingHeader("the header webhook-timestamp is no number of seconds")
    return event_id, timestamp, signatures


def _check_age(timestamp: str, tolerance: int, now: Instant) -> None:
    age = now - int(timestamp) * SECOND
    if age > tolerance:  # guard: replay
        raise TimestampTooOld(
            f"signed {age // SECOND} s ago, more than the {tolerance // SECOND} s allowed: check the clock here"
        )
    if age < -tolerance:
        raise TimestampTooNew(f"signed {-age // SECOND} s in the future: check the clock here")


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidBody("the signature fits, but the body is no JSON object")
    return found
