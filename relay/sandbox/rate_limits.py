"""Exec's published rate limits as rolling windows, the strictest reading of its page."""

from collections import deque
from dataclasses import dataclass

from relay.model import DAY, MINUTE, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Requests that a workspace may make; None: no limit."""

    per_minute: int | None = 60
    per_day: int | None = 1_000
    creates_per_minute: int | None = 10

    def __post_init__(self) -> None:
        if any(limit is not None and limit < 1 for limit in (self.per_minute, self.per_day, self.creates_per_minute)):
            raise ValueError("a limit is at least 1; None switches it off")


UNLIMITED = Limits(per_minute=None, per_day=None, creates_per_minute=None)


class Window:
    """At most `limit` requests in any `span` milliseconds."""

    def __init__(self, limit: int, span: int) -> None:
        self._span = span
        self._allowed: deque[Instant] = deque(maxlen=limit)

    def wait(self, now: Instant) -> int:
        """Milliseconds until a request is allowed; 0: now."""
        if len(self._allowed) < (self._allowed.maxlen or 0):
            return 0
        return max(self._allowed[0] + self._span - now, 0)

    def record(self, now: Instant) -> None:
        self._allowed.append(now)


class WorkspaceLimiter:
    """The limits of one workspace. A refused request does not count."""

    def __init__(self, limits: Limits) -> None:
        self._any = [Window(n, span) for n, span in ((limits.per_minute, MINUTE), (limits.per_day, DAY)) if n]
        self._creates = [Window(limits.creates_per_minute, MINUTE)] if limits.creates_per_minute else []

    def acquire(self, now: Instant, creates: bool) -> int:
        """Counts a request and returns 0, or returns the milliseconds to wait."""
        windows = [*self._any, *self._creates] if creates else self._any
        wait = max((window.wait(now) for window in windows), default=0)
        if wait == 0:
            for window in windows:
                window.record(now)
        return wait
