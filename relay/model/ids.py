"""Ids of jobs, and the relay's own ids."""

import base64
import re

from ulid import ULID

from relay.times import Instant

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""The job ids that the relay accepts. Exec's schema says only `string`; its examples have 12 alphanumerics."""


ID_BYTES = 10
"""Random bytes in an id."""


def new_id(prefix: str, now: Instant, random_bytes: bytes | None = None) -> str:
    """A time-ordered id such as `reg_01JC4Z...`: the prefix and a ULID of `now` and of `ID_BYTES` random bytes.

    With None the bytes are the operating system's.
    """
    if random_bytes is None:
        return f"{prefix}_{ULID.from_timestamp(now / 1_000)}"
    return f"{prefix}_{ULID.from_bytes(now.to_bytes(6, 'big') + random_bytes)}"


def new_token(random_bytes: bytes) -> str:
    """A secret for URLs and cookies: the random bytes in the URL-safe alphabet of base64."""
    return base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode()
