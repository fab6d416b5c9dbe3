"""Buckets: how often something may be done, by whom; some of it at once, and then at a steady pace."""

from collections import OrderedDict

from relay.model import MINUTE, Instant


class RateLimiter:
    """One bucket a name. Each holds `burst`, and is filled again with `per_minute`, evenly.

    At most `max_keys` names are remembered: of those that were not heard of for longest, what they spent is forgotten.
    """

    def __init__(self, burst: int, per_minute: float, max_keys: int) -> None:
        self._every, self._kept = MINUTE / per_minute, max_keys
        self._room = burst * self._every
        self._full_at: OrderedDict[str, float] = OrderedDict()
        """When each is full again; those that are full are as good as unknown."""

    def __len__(self) -> int:
        return len(self._full_at)

    def retry_after(self, name: str, now: Instant) -> float:
        """Milliseconds until one may be taken; 0: now."""
        return max(0.0, self._full(name, now) + self._every - self._room - now)

    def acquire(self, name: str, now: Instant) -> float:
        """Takes one, or says how many milliseconds to wait for it; 0: it was taken."""
        if waits := self.retry_after(name, now):
            return waits
        self._full_at[name] = self._full(name, now) + self._every
        self._full_at.move_to_end(name)
        if len(self._full_at) > self._kept:
            self._full_at.popitem(last=False)
        return 0.0

    def _full(self, name: str, now: Instant) -> float:
        """Never further off than an empty bucket's, though the clock was set back: from then on it fills again."""
        full_at, latest = self._full_at.get(name, 0.0), now + self._room
        if full_at > latest:
            self._full_at[name] = full_at = latest
        return max(full_at, now)
