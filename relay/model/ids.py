"""Ids of jobs, and the relay's own ids."""

import re

from ulid import ULID

from relay.times import Instant

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""The job ids that the relay accepts. Exec's schema says only `string`; its examples have 12 alphanumerics."""


def new_id(prefix: str, now: Instant) -> str:
    """A time-ordered id such as `reg_01JC4Z...`: the prefix and a ULID of `now`."""
    return f"{prefix}_{ULID.from_timestamp(now / 1_000)}"
