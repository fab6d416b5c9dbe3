"""Delays before the next poll or attempt: retry schedule, exponential backoff, Retry-After. All in milliseconds."""

import math
import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime

from relay.model import Instant, from_rfc3339

JITTER = 0.2
"""At most this share of a delay is added to it, so that requests that failed together are not repeated together."""

_SECONDS = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")


def retry_after(value: str | float | int | None, now: Instant, cap: int) -> int | None:
    """The wait that a `Retry-After` header or a `retry_after` field asks for: milliseconds from `now`, 0 to `cap`.

    The value is in seconds (a number or its text) or an HTTP date, as in RFC 9110 section 10.2.3; RFC 3339 dates are
    accepted too. A negative number or past date is 0; a value that is neither number nor date is None. Never raises.
    """
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        if not _SECONDS.fullmatch(text):
            at = http_date(text)
            return None if at is None else min(max(at - now, 0), cap)
        value = float(text)
    return None if value != value else _milliseconds(value, cap)  # only NaN differs from itself


def retry_delay(schedule: Sequence[int], tries: int, jitter: float) -> int | None:
    """The delay after `tries` failed tries; None if the schedule is exhausted.

    `schedule` holds the delay before each try, the first included: its length is the number of tries.
    `jitter` in [0, 1) picks the point between the delay and 20% more: never early.
    """
    if tries >= len(schedule):
        return None
    return _jittered(schedule[max(tries, 0)], jitter)


def capped_exponential(failures: int, base: int, cap: int, jitter: float) -> int:
    """The delay after `failures` failures in a row: `base`, doubled with each further one up to `cap`, plus jitter.

    The jitter (up to 20%, `jitter` in [0, 1)) is added to the cap too: without it, all delays would become equal.
    """
    if failures < 1 or base <= 0:
        return 0
    doublings = min(failures - 1, max(cap, 1).bit_length())
    return _jittered(min(base << doublings, cap), jitter)


def _jittered(delay: int, jitter: float) -> int:
    return delay + int(delay * JITTER * jitter)


def _milliseconds(seconds: float, cap: int) -> int:
    if seconds >= cap / 1_000:
        return cap
    return min(math.ceil(max(seconds, 0) * 1_000), cap)


def http_date(text: str) -> Instant | None:
    """The instant of an HTTP date or an RFC 3339 text; None for any other text."""
    try:
        date = parsedate_to_datetime(text)
        return round((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1_000)
    except (ValueError, TypeError, OverflowError, IndexError):
        return from_rfc3339(text)
