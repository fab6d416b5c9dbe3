"""Digests: news of success at one endpoint that are gathered for a while and sent as one message."""

import re

from relay.times import DAY, HOUR, MINUTE, SECOND, Instant

_TEXT = re.compile(r"([1-9][0-9]{0,5})(s|m|h)")
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR}
_MIN_LENGTH, _MAX_LENGTH = 10 * SECOND, DAY

UNGATHERED = ""
"""The `digest_id` of a delivery that waits to be gathered."""


class InvalidDigest(ValueError):
    """The text is no length of time for a digest; the message says how to write one."""


def parse_digest(text: str) -> int:
    """`5m` → 300,000 ms: how long news are gathered. Raises InvalidDigest."""
    match = _TEXT.fullmatch(text.strip())
    length = int(match[1]) * _UNITS[match[2]] if match else 0
    if not _MIN_LENGTH <= length <= _MAX_LENGTH:
        raise InvalidDigest("must be a time from 10s to 24h, such as 5m")
    return length


def digest_due(text: str | None, at: Instant) -> Instant | None:
    """When news of `at` are sent at the latest; None without a digest, or with one that can't be read."""
    if text is None:
        return None
    try:
        return at + parse_digest(text)
    except InvalidDigest:
        return None
