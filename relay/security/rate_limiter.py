"""Rate limits by name: a burst, then a steady rate (GCRA, the generic cell rate algorithm)."""

from collections import OrderedDict

from relay.model import MINUTE, Instant


class RateLimiter:
    """One bucket for each name. A bucket holds `burst` requests and refills evenly with `per_minute`.

    It keeps at most `max_keys` names, and drops those unused for longest.
    """

    def __init__(self, burst: int, per_minute: float, max_keys: int) -> None:
        self._interval, self._max_keys = MINUTE / per_minute, max_keys
        self._room = burst * self._interval
        self._full_at: OrderedDict[str, float] = OrderedDict()
        """When each bucket is full again. A name that is missing has a full bucket."""

    def __len__(self) -> int:
        return len(self._full_at)

    def retry_after(self, name: str, now: Instant) -> float:
        """Milliseconds until the next request is allowed; 0 if it is allowed now."""
        return max(0.0, self._full(name, now) + self._interval - self._room - now)

    def available(self, name: str, now: Instant) -> int:
        """The number that can be taken now."""
        return int((now + self._room - self._full(name, now)) / self._interval + 1e-9)

    def acquire(self, name: str, now: Instant) -> float:
        """Counts a request and returns 0; or returns the milliseconds to wait, and counts nothing."""
        if wait := self.retry_after(name, now):
            return wait
        self._full_at[name] = self._full(name, now) + self._interval
        self._full_at.move_to_end(name)
        if len(self._full_at) > self._max_keys:
            self._full_at.popitem(last=False)
        return 0.0

    def release(self, name: str) -> None:
        """Gives a counted request back."""
        if name in self._full_at:
            self._full_at[name] -= self._interval

    def _full(self, name: str, now: Instant) -> float:
        """When the bucket is full. An empty bucket is the limit: if the clock was set back, it refills from now on."""
        full_at, latest = self._full_at.get(name, 0.0), now + self._room
        if full_at > latest:
            self._full_at[name] = full_at = latest
        return max(full_at, now)
