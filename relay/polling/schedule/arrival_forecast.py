"""How many jobs are still to come: the load that the rest of a budget has to carry.

The forecast for an hour is the mean of the same hour on the days before, times how busy today is against it; that
pace fades over hours. Where no day was seen yet, what the hours so far brought is taken to go on.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from relay.model import HOUR, Instant
from relay.model.arrival_history import KEPT_HOURS, MOST_JOBS, ArrivalHistory

_PACE_HOURS = 3
_PACE_FADES = 4.0
"""Hours after which today's pace counts 1/e as much."""
_PRIOR = 2.0
"""Jobs an hour, before anything was seen; counts as much as an hour of observation."""
_PRIOR_HOURS = 1.0


def record_arrivals(arrivals: ArrivalHistory, jobs: int, now: Instant) -> ArrivalHistory:
    """With `jobs` more registered at `now`."""
    hour = now // HOUR
    if jobs <= 0:
        return arrivals
    counts = {then: n for then, n in arrivals.hours if hour - KEPT_HOURS < then <= hour}
    counts[hour] = min(counts.get(hour, 0) + jobs, MOST_JOBS)
    since = hour if arrivals.since is None else min(arrivals.since, hour)
    return replace(arrivals, hours=tuple(sorted(counts.items())), since=since)


def hourly_rates(arrivals: ArrivalHistory, now: Instant, hours: int = 25) -> tuple[float, ...]:
    """Jobs expected in each hour from the one that `now` is in, as full hours."""
    counts, hour = dict(arrivals.hours), now // HOUR
    into = (now % HOUR) / HOUR
    first = hour if arrivals.since is None else min(arrivals.since, hour)
    present, policy = (
        _recent_rate(counts, max(first, hour - 23), hour, into),
        _today_vs_usual(counts, first, hour, into),
    )
    found = []
    for k in range(hours):
        usual = _same_hour_mean(counts, first, hour + k, hour)
        found.append(present if usual is None else usual * (1 + (policy - 1) * math.exp(-k / _PACE_FADES)))
    return tuple(found)


def expected_jobs(hourly: Sequence[float], now: Instant, ahead: int) -> float:
    """Jobs expected within `ahead` milliseconds of `now`, at the rates that `hourly_rates` gave."""
    total, at, end = 0.0, now, now + ahead
    for k, rate in enumerate(hourly):
        until = min((now // HOUR + k + 1) * HOUR, end)
        total += rate * max(until - at, 0) / HOUR
        at = max(at, until)
    return total


def _recent_rate(counts: dict[int, int], first: int, hour: int, into: float) -> float:
    """Jobs an hour by the hours seen. The mean of roots, squared: one mass of jobs at once weighs less than a flow."""
    roots, weight = math.sqrt(_PRIOR) * _PRIOR_HOURS, _PRIOR_HOURS
    for then in range(first, hour + 1):
        share = 1.0 if then < hour else max(into, 0.25)
        roots, weight = roots + math.sqrt(counts.get(then, 0)) * share, weight + share
    return (roots / weight) ** 2


def _today_vs_usual(counts: dict[int, int], first: int, hour: int, into: float) -> float:
    """How many times as busy the last hours were as the same hours usually are."""
    usual, seen = 1.0, 1.0
    for then in range(hour - _PACE_HOURS + 1, hour + 1):
        rate = _same_hour_mean(counts, first, then, then)
        if rate is not None:
            usual, seen = usual + rate * (into if then == hour else 1.0), seen + counts.get(then, 0)
    return seen / usual


def _same_hour_mean(counts: dict[int, int], first: int, hour: int, present: int) -> float | None:
    """The mean of the same hour on the days before `present`, its neighbours counted half; None if there is none."""
    total, weight = 0.0, 0.0
    for days in range(1, 8):
        for shift, share in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            then = hour - 24 * days + shift
            if first <= then < present and present - then < KEPT_HOURS:
                total, weight = total + share * counts.get(then, 0), weight + share
    return total / weight if weight > 0 else None
