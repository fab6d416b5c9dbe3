"""The clocks of this machine."""

import time

from relay.times import Instant


def system_clock() -> Instant:
    """Now, by the machine's clock."""
    return time.time_ns() // 1_000_000


_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def monotonic_ms() -> Instant:
    """Milliseconds since some instant, by a clock that nobody can set. It counts suspended time if the system can."""
    return time.clock_gettime_ns(_CLOCK) // 1_000_000
