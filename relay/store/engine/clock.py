"""The clock of a store: this machine's on SQLite, the database's on PostgreSQL.

On PostgreSQL all relays share one time, however wrong the clocks of their machines are. The clock decides leases,
schedules, the request budget, and the timestamps in signatures.
"""

from collections.abc import Callable

from relay.model import MINUTE, Instant
from relay.process import monotonic_ms, system_clock

PATIENCE = 2 * MINUTE
"""How long a relay uses its store's time if the machine's clock is behind it. NTP corrects a clock sooner."""


class SteadyClock:
    """A clock that `sync` sets by its source from time to time, and a monotonic clock carries on in between."""

    def __init__(self, monotonic: Callable[[], Instant] = monotonic_ms) -> None:
        self._monotonic = monotonic
        self._offset: int | None = None

    def __call__(self) -> Instant:
        if self._offset is None:
            raise RuntimeError("the clock is not set yet")
        return self._monotonic() + self._offset

    def sync(self, source: Callable[[], Instant]) -> int:
        """Corrects the clock by its `source`, whose answer was true at some instant between question and answer.

        The correction is the smallest that the answer allows, so a slow answer makes a good clock no worse. Returns the
        correction in milliseconds; the first time 0.
        """
        before = self._monotonic()
        source_time = source()
        after = self._monotonic()
        min_shift, max_shift = source_time - after, source_time - before
        offset = (min_shift + max_shift) // 2 if self._offset is None else self._offset
        self._offset = min(max(offset, min_shift), max_shift)
        return self._offset - offset


class DatabaseClock(SteadyClock):
    """The database's clock."""


class MachineClock(SteadyClock):
    """This machine's clock, which does not jump between two calls of `sync`."""

    def __init__(
        self, monotonic: Callable[[], Instant] = monotonic_ms, machine: Callable[[], Instant] = system_clock
    ) -> None:
        super().__init__(monotonic)
        self.machine = machine
        """The source of `sync`."""
        self._held_until: int | None = None

    def begin(self, at: Instant) -> int:
        """Starts at `at`, an instant in the past, if the machine's clock is behind it: then that clock is wrong, as
        after a power cut on a board without a clock battery. This clock ignores it until it is correct, or for
        `PATIENCE`.

        Returns how many milliseconds the machine's clock is behind, else 0.
        """
        if (correction := at - self()) <= 0 or self._offset is None:
            return 0
        self._offset += correction
        self._held_until = self._monotonic() + PATIENCE
        return correction

    def sync(self, source: Callable[[], Instant]) -> int:
        """As `SteadyClock.sync`, but ignores the machine's clock while it is behind the start of this one."""
        if self._held_until is not None:
            if self._monotonic() < self._held_until and source() < self():
                return 0
            self._held_until = None
        return super().sync(source)
