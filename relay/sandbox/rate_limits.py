"""Exec's published rate limits, as rolling windows: the strictest reading, so that whoever keeps to it keeps to any."""

from collections import deque
from dataclasses import dataclass

from relay.model import DAY, MINUTE, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Requests that a workspace has; None: no limit."""

    per_minute: int | None = 60
    per_day: int | None = 1_000
    creates_per_minute: int | None = 10

    def __post_init__(self) -> None:
        if any(limit is not None and limit < 1 for limit in (self.per_minute, self.per_day, self.creates_per_minute)):
            raise ValueError("a limit is 1 at least; None switches it off")


UNLIMITED = Limits(per_minute=None, per_day=None, creates_per_minute=None)


class Window:
    """At most `limit` requests in any stretch of `span` milliseconds."""

    def __init__(self, limit: int, span: int) -> None:
        self._span = span
        self._granted: deque[Instant] = deque(maxlen=limit)

    def wait(self, now: Instant) -> int:
        """Milliseconds until a request is granted; 0: now."""
        if len(self._granted) < (self._granted.maxlen or 0):
            return 0
        return max(self._granted[0] + self._span - now, 0)

    def record(self, now: Instant) -> None:
        self._granted.append(now)


class WorkspaceLimiter:
    """What one workspace has left. What is refused costs nothing."""

    def __init__(self, limits: Limits) -> None:
        self._any = [Window(n, span) for n, span in ((limits.per_minute, MINUTE), (limits.per_day, DAY)) if n]
        self._creates = [Window(limits.creates_per_minute, MINUTE)] if limits.creates_per_minute else []

    def acquire(self, now: Instant, creates: bool) -> int:
        """0 and the request is spent, or the milliseconds to wait."""
        windows = [*self._any, *self._creates] if creates else self._any
        wait = max((window.wait(now) for window in windows), default=0)
        if wait == 0:
            for window in windows:
                window.record(now)
        return wait
