"""Rate limits by name: so many at once, and then at a steady pace (GCRA)."""

from collections import OrderedDict

from relay.model import MINUTE, Instant


class RateLimiter:
    """One bucket a name. Each holds `burst` and refills evenly with `per_minute`.

    It remembers at most `max_keys` names and forgets those unused for longest.
    """

    def __init__(self, burst: int, per_minute: float, max_keys: int) -> None:
        self._interval, self._max_keys = MINUTE / per_minute, max_keys
        self._room = burst * self._interval
        self._full_at: OrderedDict[str, float] = OrderedDict()
        """When each bucket is full again; a full one is as good as an unknown one."""

    def __len__(self) -> int:
        return len(self._full_at)

    def retry_after(self, name: str, now: Instant) -> float:
        """Milliseconds until one may be taken; 0: now."""
        return max(0.0, self._full(name, now) + self._interval - self._room - now)

    def available(self, name: str, now: Instant) -> int:
        """How many may be taken now."""
        return int((now + self._room - self._full(name, now)) / self._interval + 1e-9)

    def acquire(self, name: str, now: Instant) -> float:
        """Takes one and returns 0, or returns how many milliseconds to wait for it."""
        if wait := self.retry_after(name, now):
            return wait
        self._full_at[name] = self._full(name, now) + self._interval
        self._full_at.move_to_end(name)
        if len(self._full_at) > self._max_keys:
            self._full_at.popitem(last=False)
        return 0.0

    def release(self, name: str) -> None:
        """Gives one back that was taken."""
        if name in self._full_at:
            self._full_at[name] -= self._interval

    def _full(self, name: str, now: Instant) -> float:
        """Never later than for an empty bucket: after the clock was set back it refills from then on."""
        full_at, latest = self._full_at.get(name, 0.0), now + self._room
        if full_at > latest:
            self._full_at[name] = full_at = latest
        return max(full_at, now)
