"""Instants and durations in whole milliseconds, and instants as text."""

from datetime import UTC, datetime, timedelta

Instant = int
"""Milliseconds since the Unix epoch, UTC."""

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def to_rfc3339(at: Instant) -> str:
    """`1709287200000` → `2024-03-01T10:00:00.000Z`."""
    return (_EPOCH + timedelta(milliseconds=at)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_INSTANT = 253_402_300_799_999  # the end of the year 9999, the last that `to_rfc3339` can write


def from_rfc3339(text: str | None) -> Instant | None:
    """The instant of an RFC 3339 text; None for any other text, because times from Exec may be malformed."""
    if not text:
        return None
    try:
        parsed = datetime.fromisoformat(text)
        at = round((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1_000)
    except (ValueError, OverflowError):
        return None
    return at if 0 <= at <= _LAST_INSTANT else None
