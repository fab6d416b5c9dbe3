"""How many jobs are still to come: the load that the rest of a budget has to carry.

The forecast for an hour is the mean of the same hour on the days before, times how busy today is against it; that
pace fades over hours. While no day was seen yet, the present pace is taken to last.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay.model import HOUR, Instant

_KEPT = 7 * 24
_PACE_HOURS = 3
_PACE_FADES = 4.0
"""Hours after which today's pace counts 1/e as much."""
_PRIOR = 1.0
"""Jobs an hour, before anything was seen; counts as much as two hours of observation."""
_PRIOR_HOURS = 2.0
_MOST = 10**9


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Jobs registered, by hour. At most 337 numbers."""

    hours: tuple[tuple[int, int], ...] = ()
    """(hour since the epoch, jobs), oldest first, hours without jobs left out, of the last seven days."""
    since: int | None = None
    """The hour in which counting began."""

    def to_json(self) -> str:
        """At most about 3 KB."""
        return json.dumps({"hours": self.hours, "since": self.since}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Arrivals":
        """What `to_json` wrote. Raises ValueError where the text is none of it."""
        try:
            raw = json.loads(text)
            hours = tuple(sorted((int(hour), int(jobs)) for hour, jobs in raw["hours"][-_KEPT:]))
            since = None if raw["since"] is None else int(raw["since"])
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"these are no arrivals: {error}") from None
        if any(not 0 < jobs <= _MOST for _, jobs in hours):
            raise ValueError("these are no arrivals: a number of jobs is out of range")
        return cls(hours, since)


def arrived(arrivals: Arrivals, jobs: int, now: Instant) -> Arrivals:
    """With `jobs` more registered at `now`."""
    hour = now // HOUR
    if jobs <= 0:
        return arrivals
    counts = {then: n for then, n in arrivals.hours if hour - _KEPT < then <= hour}
    counts[hour] = min(counts.get(hour, 0) + jobs, _MOST)
    since = hour if arrivals.since is None else min(arrivals.since, hour)
    return replace(arrivals, hours=tuple(sorted(counts.items())), since=since)


def rates(arrivals: Arrivals, now: Instant, hours: int = 25) -> tuple[float, ...]:
    """Jobs expected in each hour from the one that `now` is in, as full hours."""
    counts, hour = dict(arrivals.hours), now // HOUR
    into = (now % HOUR) / HOUR
    seen = _hours_seen(arrivals, hour) + into
    recent = sum(counts.get(hour - k, 0) for k in range(_PACE_HOURS))
    span = min(seen, _PACE_HOURS - 1 + into)
    flat = (recent + _PRIOR * _PRIOR_HOURS) / (span + _PRIOR_HOURS)
    usual = [_usual(counts, arrivals, hour + k, hour) for k in range(hours)]
    past = [_usual(counts, arrivals, hour - k, hour - k) for k in range(_PACE_HOURS)]
    known = [rate for rate in past if rate is not None]
    if len(known) < len(past):
        return tuple(flat if rate is None else max(rate, flat * math.exp(-k / 12)) for k, rate in enumerate(usual))
    pace = (recent + 1.0) / (known[0] * into + sum(known[1:]) + 1.0)
    return tuple(
        flat if rate is None else rate * (1 + (pace - 1) * math.exp(-k / _PACE_FADES)) + max(flat - rate, 0) * (k < 1)
        for k, rate in enumerate(usual)
    )


def jobs_within(hourly: Sequence[float], now: Instant, ahead: int) -> float:
    """Jobs expected within `ahead` milliseconds of `now`, at the rates that `rates` gave."""
    total, at, end = 0.0, now, now + ahead
    for k, rate in enumerate(hourly):
        until = min((now // HOUR + k + 1) * HOUR, end)
        total += rate * max(until - at, 0) / HOUR
        at = max(at, until)
    return total


def _hours_seen(arrivals: Arrivals, hour: int) -> int:
    return 0 if arrivals.since is None else min(max(hour - arrivals.since, 0), _KEPT - 1)


def _usual(counts: dict[int, int], arrivals: Arrivals, hour: int, present: int) -> float | None:
    """The mean of the same hour on the days before `present`, its neighbours counted half; None if there is none."""
    if arrivals.since is None:
        return None
    total, weight = 0.0, 0.0
    for days in range(1, 8):
        for shift, share in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            then = hour - 24 * days + shift
            if arrivals.since <= then < present and present - then < _KEPT:
                total, weight = total + share * counts.get(then, 0), weight + share
    return total / weight if weight > 0 else None
