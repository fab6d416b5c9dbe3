"""Verification of events, also of those that were stored first."""

from collections.abc import Iterable
from typing import Any

from relay.times import Instant
from relay.verify import TOLERANCE, Headers
from relay.verify import verify as verify_as_of


def verify(
    headers: Headers,
    body: bytes | str,
    secrets: str | Iterable[str],
    *,
    tolerance: int | None = TOLERANCE,
    received_at: Instant | None = None,
) -> dict[str, Any]:
    """The event, if a signature proves that the relay sent it, as `relay.verify` has it.

    For an event that was stored, give `received_at`, when it was received (milliseconds since 1970), or a `tolerance`
    of None, which takes any age. Raises a subclass of Unverified.
    """
    return verify_as_of(headers, body, secrets, tolerance=tolerance, now=received_at)
