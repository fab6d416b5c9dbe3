"""Cursors of the event feed: opaque texts that name a place in one database's order of events.

Positions have no gaps, and are given out only after the event is committed, so a reader that goes on after a position
misses nothing. The cursor names the feed and the event at its position too: a database that was restored may have given
the same position to another event.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

_CURSOR = re.compile(r"([0-9a-f]{16}):([0-9]{1,18}):([0-9a-f]{8})?(:end)?")


@dataclass(frozen=True, slots=True)
class FeedPosition:
    """A place in the feed: after the event at `position`, whose check is `event_check`; 0 is before the first event."""

    position: int
    event_check: str = ""
    """`check_of` the event at the position; "" if it is unknown, or there is none."""


@dataclass(frozen=True, slots=True)
class FeedCursor:
    """What a reader has of the feed `identity`, and whether the feed has ended for it."""

    identity: str
    at: FeedPosition
    is_end: bool = False

    def encode(self) -> str:
        """The text that readers keep."""
        text = f"{self.identity}:{self.at.position}:{self.at.event_check}{':end' if self.is_end else ''}"
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def decode(text: str) -> FeedCursor | None:
    """The cursor of a text; None for a text that is none."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    if (parts := _CURSOR.fullmatch(decoded)) is None:
        return None
    return FeedCursor(parts[1], FeedPosition(int(parts[2]), parts[3] or ""), parts[4] is not None)


def check_of(event_id: str) -> str:
    """A short hash of an event's id, by which a cursor knows the event at its position again."""
    return hashlib.blake2b(event_id.encode(), digest_size=4).hexdigest()
