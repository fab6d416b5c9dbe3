"""Timekeeping: what follows from a clock that is wrong, and from its being set right.

Whether a clock is wrong can't be seen; that it was set can. So in the first minutes of a run, and after its clock was
set, nothing is given up for its age unless the relay has itself seen that much time go by.

Sources of the rules: a board without a clock of its own boots with the time of its last shutdown, or with its
firmware's; one that keeps local time is hours off; a machine that was suspended is behind. NTP sets each within
minutes.
"""

from collections.abc import Callable
from logging import Logger

from relay.model import MINUTE, SECOND, Instant, to_rfc3339
from relay.store.engine.database import Store
from relay.store.tables import clock_shift

UNSURE = 10 * MINUTE
"""How long after a start, or after the clock was set, nothing that is older than that is given up for its age."""

_BEAT = MINUTE
"""How often the time is written down, so that the next run knows how late it was."""


class Timekeeper:
    """Keeps one relay's time. `begin` comes before anything that goes by the clock, then `keep` with every tick."""

    def __init__(self, store: Store, clock: Callable[[], Instant], owner: str, reach: int, log: Logger) -> None:
        """`reach` is how far ahead, in milliseconds, a poll or an attempt can be planned."""
        self._store, self._clock, self._owner, self.reach, self._log = store, clock, owner, reach, log
        self._since = self._sure_from = self._written_at = clock()
        self._unfollowed = 0
        self._set_back = 0
        self._counted_longer = 0

    async def begin(self) -> None:
        """The run begins now. Raises StoreError."""
        now = self._since = self._written_at = self._clock()
        self._sure_from = now + UNSURE
        if self._store.is_behind:
            text = "this machine's clock is %g s behind what the store has seen; going by %s until it is set right"
            self._log.warning(text, self._store.is_behind / SECOND, to_rfc3339(now))
        last_seen = await self._store.read(clock_shift.last_seen) if self._store.uses_machine_clock else None
        away = max(0, now - last_seen) if last_seen is not None else 0
        if away <= _BEAT:
            away = 0
        await self._store.write(lambda tx: clock_shift.forget_the_future(tx, now, self.reach))
        if self._store.uses_machine_clock:
            await self._store.write(lambda tx: clock_shift.see(tx, self._owner, now))
            # A clock that is ahead would forget what was spent; it was not away that long.
            await self._store.write(lambda tx: clock_shift.count_longer(tx, away, now))
            self._counted_longer = away

    async def keep(self) -> None:
        """Sets the clock, and has plans follow it if it was set by a second or more. Raises StoreError."""
        corrected = await self._store.sync_clock()
        if abs(corrected) >= SECOND:  # a clock that is a little slow or fast is not set, only kept right
            self._unfollowed += corrected
            self._sure_from = self._clock() + UNSURE
        if self._unfollowed:
            await self._follow(self._unfollowed)
        now = self._clock()
        if self.is_sure():
            self._set_back = 0
            if longer := self._counted_longer:
                await self._store.write(lambda tx: clock_shift.count_longer(tx, -longer, self._since))
                self._counted_longer = 0
        if self._store.uses_machine_clock and now - self._written_at >= _BEAT:
            await self._store.write(lambda tx: clock_shift.see(tx, self._owner, now))
            self._written_at = now

    async def _follow(self, by: int) -> None:
        now, since, plans_by = self._clock(), self._since, min(by, self._set_back)
        if self._store.uses_machine_clock:
            await self._store.write(lambda tx: clock_shift.follow(tx, by, plans_by, since))
            self._since, self._set_back = since + by, max(0, self._set_back - by)
            self._written_at += by
            self._counted_longer = max(0, self._counted_longer + min(by, 0))
        else:
            await self._store.write(lambda tx: clock_shift.forget_the_future(tx, now, self.reach))
            self._since = now
        self._unfollowed -= by
        whose = "this machine" if self._store.uses_machine_clock else "the database"
        self._log.warning("the clock of %s was set by %g s; what is planned follows it", whose, by / SECOND)

    def is_sure(self) -> bool:
        """Whether the clock has run long enough without being set to give anything up for its age."""
        return self._clock() >= self._sure_from

    def seen_since(self) -> Instant:
        """Since when ages count: what was stamped before this is not taken for older. 0 once the clock is sure."""
        return 0 if self.is_sure() else self._since
