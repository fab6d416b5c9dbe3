"""Ids of jobs, and the relay's own ids."""

import base64
import re
from functools import lru_cache

from relay.times import Instant

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""The job ids that the relay accepts. Exec's schema says only `string`; its examples have 12 alphanumerics."""


ID_BYTES = 10
"""Random bytes in an id."""

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]


@lru_cache(16)
def _time_digits(now: Instant) -> str:
    return "".join(_PAIRS[now >> shift & 1_023] for shift in (40, 30, 20, 10, 0))


def _ulid(now: Instant, random_bytes: bytes) -> str:
    """A ULID, 26 digits of Crockford's base 32 that sort by time: of `now` and of `ID_BYTES` random bytes."""
    n, pairs = int.from_bytes(random_bytes, "big"), _PAIRS
    high = f"{pairs[n >> 70]}{pairs[n >> 60 & 1_023]}{pairs[n >> 50 & 1_023]}{pairs[n >> 40 & 1_023]}"
    low = f"{pairs[n >> 30 & 1_023]}{pairs[n >> 20 & 1_023]}{pairs[n >> 10 & 1_023]}{pairs[n & 1_023]}"
    return _time_digits(now) + high + low


def new_id(prefix: str, now: Instant, random_bytes: bytes) -> str:
    """A time-ordered id such as `reg_01JC4Z...`: the prefix and a ULID of `now` and of `ID_BYTES` random bytes."""
    return f"{prefix}_{_ulid(now, random_bytes)}"


def new_token(random_bytes: bytes) -> str:
    """A secret for URLs and cookies: the random bytes in the URL-safe alphabet of base64."""
    return base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode()
