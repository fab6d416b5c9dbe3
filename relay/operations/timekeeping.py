"""Timekeeping: handles a machine's clock that is wrong, and its correction.

A relay can't detect that a clock is wrong, only that it was set. So in the first minutes of a run, and after its clock
was set, nothing is given up for its age unless the relay itself has run for that long.

Sources of the rules: a board without a clock battery boots with the time of its last shutdown or of its firmware; one
that keeps local time is hours off; a suspended machine is behind. NTP corrects each within minutes.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from logging import Logger

from relay.model import MINUTE, SECOND, Instant, to_rfc3339
from relay.store import Store, Tx
from relay.store.tables import clock_shift

UNSURE = 10 * MINUTE
"""How long after a start, or after the clock was set, ages are not trusted."""

_RECORD_EVERY = MINUTE
"""How often the time is stored, so that the next run knows when this one ended."""


@dataclass(frozen=True, slots=True)
class _Correction:
    """The clock was set by `by` milliseconds; `at` is when that was found, by the clock as it was set."""

    by: int
    at: Instant


class Timekeeper:
    """Keeps one relay's clock correct. Call `begin` before anything uses it, then `sync` and `keep` with every tick."""

    def __init__(self, store: Store, clock: Callable[[], Instant], owner: str, reach: int, log: Logger) -> None:
        """`reach` is how far ahead, in milliseconds, a poll or an attempt can be planned."""
        self._store, self._clock, self._owner, self.reach, self._log = store, clock, owner, reach, log
        self._since = self._sure_from = self._written_at = clock()
        self._corrections = deque[_Correction]()
        """Those that pending times have not followed yet: more than one if the store failed, or all if a commit that
        failed took effect."""
        self._followed = 0
        """How many corrections of this run pending times have followed."""
        self._set_back = 0
        self._counted_longer = 0
        self._is_syncing = False

    async def begin(self) -> None:
        """Starts the run. Raises StoreError."""
        now = self._since = self._written_at = self._clock()
        self._sure_from = now + UNSURE
        if self._store.is_behind:
            text = "this machine's clock is %g s behind the store's time; the relay continues from %s until it is set"
            self._log.warning(text, self._store.is_behind / SECOND, to_rfc3339(now))
        last_seen = await self._store.read(clock_shift.last_seen) if self._store.uses_machine_clock else None
        downtime = max(0, now - last_seen) if last_seen is not None else 0
        is_long = downtime > _RECORD_EVERY
        await self._store.write(lambda tx: clock_shift.limit_pending_times(tx, self._clock, self.reach))

        def record_start(tx: Tx) -> None:
            clock_shift.record_seen(tx, self._owner, now)
            # If the clock is ahead of that of the last run, requests spent before the stop would no longer count.
            if is_long:
                clock_shift.count_longer(tx, downtime, now)
            elif last_seen is not None:
                known = max(last_seen, clock_shift.last_spent(tx) or last_seen)
                clock_shift.count_minute_longer(tx, max(0, now - known), now)

        if self._store.uses_machine_clock:
            await self._store.write(record_start)
            self._counted_longer = downtime if is_long else 0
            # A clock that was set shortly before the stop may be as wrong now: what it recorded follows it again.
            doubtful_since = await self._store.read(lambda tx: clock_shift.doubtful_since(tx, now))
            self._since = now if doubtful_since is None else min(now, doubtful_since)

    def sync(self, tx: Tx) -> None:
        """Syncs the clock if it is the database's, within any transaction; `keep` does the rest."""
        if self._store.uses_database_clock:
            self._note(self._store.sync_clock(tx))

    def _note(self, corrected: int) -> None:
        if abs(corrected) >= SECOND:  # less is drift, which `sync_clock` corrects
            now = self._clock()
            self._corrections.append(_Correction(corrected, now))
            self._sure_from = now + UNSURE

    async def keep(self) -> None:
        """Syncs the clock if it is the machine's. Shifts pending times if a clock was set by a second or more since the
        last call, as soon as can be: until then the ledgers have times of the clock before. Raises StoreError."""
        if not self._store.uses_database_clock:
            self._is_syncing = True  # a transaction on another thread may read the clock before the correction is noted
            self._note(self._store.sync_clock())
            self._is_syncing = False
        if self._corrections:
            await self._follow()
        now = self._clock()
        if self.is_sure():
            self._set_back = 0
            if carried_over := self._counted_longer:
                self._counted_longer = 0  # not tried again: a commit that failed may have taken effect
                await self._store.write(lambda tx: clock_shift.count_longer(tx, -carried_over, self._since))
        if self._store.uses_machine_clock and now - self._written_at >= _RECORD_EVERY:
            await self._store.write(lambda tx: clock_shift.record_seen(tx, self._owner, now))
            self._written_at = now

    async def _follow(self) -> None:
        corrections = list(self._corrections)
        if self._store.uses_machine_clock:
            await self._follow_machine()
        else:
            now = self._clock()
            await self._store.write(lambda tx: clock_shift.limit_pending_times(tx, self._clock, self.reach))
            self._since = now
            self._corrections.clear()
        clock_owner = "this machine" if self._store.uses_machine_clock else "the database"
        text = "the clock of %s was set by %g s; planned polls and deliveries follow it"
        for correction in corrections:
            self._log.warning(text, clock_owner, correction.by / SECOND)

    async def _follow_machine(self) -> None:
        """Shifts pending times, one correction after the other. The store says which they have followed: a shift whose
        commit failed may have taken effect, and is not made twice.

        Two corrections that cancel out are both followed: what was planned between them is hours late otherwise.
        """
        followed = await self._store.read(lambda tx: clock_shift.followed(tx, self._owner))
        while self._corrections and self._followed < followed:
            self._has_followed()
        if not self._corrections:
            return
        since, set_back, sure_from, shifts = self._since, self._set_back, self._sure_from, []
        ends = [*(later.at - later.by for later in list(self._corrections)[1:]), self._clock()]
        for correction, until in zip(self._corrections, ends, strict=True):
            shifts.append((correction.by, min(correction.by, set_back), since, until, correction.at))
            since, set_back = since + correction.by, max(0, set_back - correction.by)

        def follow(tx: Tx) -> None:
            for by, plans_by, started, now, found_at in shifts:
                clock_shift.shift_pending_times(tx, by, plans_by, started, now, found_at)
            clock_shift.record_followed(tx, self._owner, self._followed + len(shifts), since, sure_from)

        # After what waits already, which was planned by the clock before; only SQLite has no order of locks.
        await self._store.write(follow, at_end=True)
        for _ in shifts:
            self._has_followed()

    def _has_followed(self) -> None:
        by = self._corrections.popleft().by
        self._followed += 1
        self._since, self._set_back = self._since + by, max(0, self._set_back - by)
        self._written_at += by
        self._counted_longer = max(0, self._counted_longer + min(by, 0))

    def may_spend(self) -> bool:
        """Whether the ledgers go by the clock that was read just before. If it was set forward and they have not
        followed, all requests seem to have been spent long ago."""
        return not (self._is_syncing or self._corrections)

    def is_sure(self) -> bool:
        """Whether the clock has run long enough without being set, so that ages can be trusted."""
        return self._clock() >= self._sure_from

    def seen_since(self) -> Instant:
        """The instant before which recorded times are not trusted: ages count from it. 0 once the clock is sure."""
        return 0 if self.is_sure() else self._since
