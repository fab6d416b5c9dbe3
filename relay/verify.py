"""Verifies the relay's webhooks, for receivers: Standard Webhooks 1.0, in one call.

    from relay import Unverified, verify

    try:
        event = verify(request.headers, request.body, "whsec_...")
    except Unverified as error:
        return 400, str(error)

It needs the bytes of the body as they arrived: a body that was parsed and serialized again has another signature. Any
other Standard Webhooks library works too. `relay` exports the function and `Unverified`; the subclasses are here.
"""

import hmac
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from relay.errors import RelayError, ValidationFailed
from relay.signing import ed25519, standard_webhooks
from relay.times import SECOND, Instant

TOLERANCE = 300 * SECOND
"""Milliseconds allowed between a request's timestamp and now, as in the specification's libraries."""

_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_MAX_SIGNATURES = 10
"""Signatures that are checked: twice as many as the relay sends, because a stranger can send any number."""
_PRIVATE_KEY = (
    f"this is a private key ({ed25519.PRIVATE_PREFIX}...), which signs and stays with the relay: verify with its "
    f"public half ({ed25519.PUBLIC_PREFIX}...), which the relay shows as public_key"
)


class Unverified(RelayError):
    """The request is not proven to come from the relay: do not act on it. Base of the errors below."""


class MissingHeader(Unverified):
    """One of the three headers is missing or invalid, or the headers have an unknown shape."""


class TimestampTooOld(Unverified):
    """It was signed too long ago: a replay, or this machine's clock is fast."""


class TimestampTooNew(Unverified):
    """It was signed in the future: this machine's clock is slow, or the sender's is fast."""


class BadSignature(Unverified):
    """No signature matches: another secret, or another body than the one that was sent."""


class InvalidBody(Unverified):
    """The signature matches, but the body is no JSON object."""


Headers = Mapping[Any, Any] | Iterable[Sequence[Any]]
"""Headers as frameworks have them: a mapping or pairs, names and values as text or bytes, values perhaps in a list."""


def verify(
    headers: Headers,
    body: bytes | bytearray | memoryview | str,
    secrets: str | Iterable[str],
    *,
    tolerance: int | None = TOLERANCE,
    now: Instant | None = None,
) -> dict[str, Any]:
    """The event, if a signature proves that the relay sent it.

    `headers` may be a mapping (any framework's, WSGI's `environ`, an API gateway's `multiValueHeaders`, CloudFront's)
    or pairs (also ASGI's), names in any case. `body` holds the bytes as they arrived, or their text. A secret is the
    endpoint's `whsec_...`, or its public key `whpk_...` if it signs with Ed25519; one match of several `secrets` is
    enough, as while one rotates. `tolerance` and `now` are milliseconds, `now` the clock's by default; for an event
    that was stored, give when it was received. A `tolerance` of None takes an event of any age.

    Raises a subclass of Unverified whatever a request holds. For mistakes of the caller it raises
    `relay.errors.ValidationFailed` (an invalid secret) and TypeError (a body that was parsed already). Signatures are
    compared in constant time. Deduplicate by `webhook-id`: a retry has the same one.
    """
    event_id, timestamp, signatures = _required_headers(headers)
    if tolerance is not None:
        _check_age(timestamp, tolerance, time.time_ns() // 1_000_000 if now is None else now)
    content = _content(body)
    signed = standard_webhooks.signed_content(event_id, timestamp, content)
    candidates = _candidates(secrets)
    received = signatures.split(" ")[:_MAX_SIGNATURES]
    # It compares all signatures, so that timing does not show which one matches, and reports every invalid secret.
    matches = [match for secret in candidates for match in _matches(secret, signed, received)]
    if True not in matches:  # guard: bad-signature
        raise BadSignature("no signature fits: check the secret, and that the body's bytes are exactly those received")
    return _object(content)


def _candidates(secrets: object) -> list[str]:
    """The secrets without blanks around them, such as the line break of a file. Raises ValidationFailed."""
    secret_list: list[object] = (
        [secrets] if isinstance(secrets, str) or not isinstance(secrets, Iterable) else list(secrets)
    )
    candidates = [secret.strip() for secret in secret_list if isinstance(secret, str)]
    if len(candidates) < len(secret_list):
        raise ValidationFailed("invalid_secret", "a secret is text, whsec_... or whpk_...; is it configured?", "secret")
    return candidates


def _content(body: object) -> bytes:
    if body is None:
        raise BadSignature("no signature fits: the request has no body")
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if not isinstance(body, str):
        raise TypeError(f"the body is a {type(body).__name__}: give the bytes as they came, before they are parsed")
    try:
        return body.encode()
    except UnicodeEncodeError:
        raise BadSignature("no signature fits: the body is no text in UTF-8; give its bytes as they came") from None


def _matches(secret: str, signed: bytes, signatures: Sequence[str]) -> list[bool]:
    """For each signature, whether the secret made it."""
    if secret.startswith(ed25519.PUBLIC_PREFIX):
        return [ed25519.verify_signature(secret, signed, signature) for signature in signatures]
    if secret.startswith(ed25519.PRIVATE_PREFIX):
        raise ValidationFailed("invalid_secret", _PRIVATE_KEY, "secret")
    expected = standard_webhooks.signature(secret, signed).encode()
    return [hmac.compare_digest(expected, signature.encode(errors="replace")) for signature in signatures]


def _required_headers(headers: Headers) -> tuple[str, str, str]:
    values = {name: value for name, value in _normalized(headers) if value}
    for name in _HEADERS:
        if name not in values:
            raise MissingHeader(f"the header {name} is missing: this is no request of a Standard Webhooks sender")
    event_id, timestamp, signatures = (values[name] for name in _HEADERS)
    if not event_id.isascii():
        raise MissingHeader("the header webhook-id is not ASCII")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise MissingHeader("the header webhook-timestamp is no number of seconds")
    return event_id, timestamp, signatures


def _normalized(headers: object) -> Iterator[tuple[str, str]]:
    """Names in lower case with their values as text. Raises MissingHeader for an object that has no headers."""
    try:
        # Most frameworks' classes behave as mappings without being one; some list every value of a name in `items`.
        pairs = headers.items() if hasattr(headers, "items") else iter(headers)  # type: ignore[call-overload]
        for pair in pairs:
            name, value = _named_value(pair) if isinstance(pair, Mapping) else pair
            yield _header_name(name), _header_value(value)
    except MissingHeader:
        raise
    except Exception as error:  # a class of any framework may raise anything
        kind = type(headers).__name__
        text = f"headers can't be read from a {kind}: give a mapping of names to values, or (name, value) pairs"
        raise MissingHeader(text) from error


def _named_value(header: Mapping[Any, Any]) -> tuple[Any, Any]:
    """A header that is an object of its own, as some clouds hand them over."""
    return header.get("key") or header.get("name"), header.get("value")


def _header_name(name: object) -> str:
    """The name in lower case; WSGI's `HTTP_WEBHOOK_ID` becomes `webhook-id`."""
    text = _header_value(name).lower()
    return text.removeprefix("http_").replace("_", "-") if text.startswith("http_") else text


def _header_value(value: object) -> str:
    """The value as text; the first of several. CloudFront has a list of `{"key", "value"}` for each name."""
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    if isinstance(value, Mapping):
        value = value.get("value")
    if isinstance(value, bytes | bytearray):
        return value.decode("latin-1")
    return "" if value is None else str(value)


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
        event = json.loads(content)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise InvalidBody("the signature fits, but the body is no JSON object")
    return event
