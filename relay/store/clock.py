"""The time that the relays of a store go by: this machine's on SQLite, the database's on PostgreSQL.

There it is one time for all of them, however wrong the clocks of their machines are: it decides leases, schedules,
what counts against a budget, and what requests are signed with.
"""

import time
from collections.abc import Callable

from relay.model import Instant


def system_clock() -> Instant:
    """Now, by the machine's clock."""
    return time.time_ns() // 1_000_000


def even_clock() -> Instant:
    """Milliseconds since some instant, by a clock that nobody sets: it only runs, where it can in a sleep too."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000_000


class CarriedClock:
    """A clock that is asked every so often with `set`, and carried on in between by one that runs evenly."""

    def __init__(self, even: Callable[[], Instant] = even_clock) -> None:
        self._even = even
        self._ahead: int | None = None

    def __call__(self) -> Instant:
        if self._ahead is None:
            raise RuntimeError("the clock was not set yet")
        return self._even() + self._ahead

    def set(self, ask: Callable[[], Instant]) -> int:
        """Asks. What is answered was so at some instant between question and answer.

        So much is corrected as the answer demands and no more: a slow answer makes a good clock no worse. Returns by
        how many milliseconds; the first time 0.
        """
        asked = self._even()
        said = ask()
        answered = self._even()
        least, most = said - answered, said - asked
        known = (least + most) // 2 if self._ahead is None else self._ahead
        self._ahead = min(max(known, least), most)
        return self._ahead - known


class DatabaseClock(CarriedClock):
    """The database's clock."""


class MachineClock(CarriedClock):
    """This machine's clock, which does not jump between two times that it is set."""
