"""The time that the relays of a store go by: this machine's on SQLite, the database's on PostgreSQL.

There it is one time for all of them, however wrong the clocks of their machines are: it decides leases, schedules,
what counts against a budget, and what requests are signed with.
"""

import time
from collections.abc import Callable

from relay.model import MINUTE, Instant

PATIENCE = 2 * MINUTE
"""How long a relay goes by its store's time, where the machine's clock is behind it: NTP needs less to set it right."""


def system_clock() -> Instant:
    """Now, by the machine's clock."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> Instant:
    """Milliseconds since some instant, by a clock that nobody sets: it only runs, where it can in a sleep too."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000_000


class SteadyClock:
    """A clock that is asked every so often with `sync`, and carried on in between by one that runs evenly."""

    def __init__(self, even: Callable[[], Instant] = monotonic_ms) -> None:
        self._even = even
        self._ahead: int | None = None

    def __call__(self) -> Instant:
        if self._ahead is None:
            raise RuntimeError("the clock was not set yet")
        return self._even() + self._ahead

    def sync(self, ask: Callable[[], Instant]) -> int:
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


class DatabaseClock(SteadyClock):
    """The database's clock."""


class MachineClock(SteadyClock):
    """This machine's clock, which does not jump between two times that it is set."""

    def __init__(
        self, even: Callable[[], Instant] = monotonic_ms, machine: Callable[[], Instant] = system_clock
    ) -> None:
        super().__init__(even)
        self.machine = machine
        """What it is set by."""
        self._held_until: int | None = None

    def begin(self, at: Instant) -> int:
        """Begins at `at`, an instant that has been, if the machine's clock is behind it: that clock is wrong, as after
        a power cut on a board that keeps no time. Until it is set right, or for `PATIENCE`, this one runs on evenly.

        Returns by how many milliseconds the machine's clock is behind; 0 if it is not.
        """
        if (behind := at - self()) <= 0 or self._ahead is None:
            return 0
        self._ahead += behind
        self._held_until = self._even() + PATIENCE
        return behind

    def sync(self, ask: Callable[[], Instant]) -> int:
        """As of any carried clock. While the machine's is behind where this one began, it is not heeded."""
        if self._held_until is not None:
            if self._even() < self._held_until and ask() < self():
                return 0
            self._held_until = None
        return super().sync(ask)
