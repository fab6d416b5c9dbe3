"""Ids: Exec's, and the relay's own."""

import re

from ulid import ULID

from relay.times import Instant

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""What the relay accepts as a job id; Exec's schema says only `string`, its examples show 12 alphanumerics."""


def new_id(prefix: str, now: Instant) -> str:
    """A time-ordered id such as `reg_01JC4Z...`: the prefix and a ULID of `now`."""
    return f"{prefix}_{ULID.from_timestamp(now / 1_000)}"
