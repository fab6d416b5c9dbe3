"""How many jobs are still to come: the load that the rest of a budget has to carry.

The forecast for an hour is the mean of the same hour on the days before, times how busy today is against it; that
pace fades over hours. Where no day was seen yet, what the hours so far brought is taken to go on.
"""

import math
from collections.abc import Sequence

from relay.model import HOUR, MINUTE, Instant
from relay.model.arrival_history import KEPT_HOURS, MOST_JOBS, ArrivalHistory

_PACE_HOURS = 3
_PACE_FADES = 4.0
"""Hours after which today's pace counts 1/e as much."""
_PRIOR = 2.0
"""Jobs an hour, before anything was seen; counts as much as an hour of observation."""
_OF_A_MINUTE = 10
_LEAST_WATCHED = 0.25
"""Hours."""
_SMOOTHED = 0.25**2 + 0.5**2 + 0.25**2
"""How much of an hour's variance is left of the mean of it and its neighbours."""


def record_arrivals(arrivals: ArrivalHistory, jobs: int, at: Instant) -> ArrivalHistory:
    """With `jobs` more registered at `at`."""
    hour, minute = at // HOUR, at // MINUTE
    if jobs <= 0:
        return arrivals
    newest = max([hour, *(then for then, _, _ in arrivals.hours[-1:])])
    counts = {then: (n, minutes) for then, n, minutes in arrivals.hours if newest - KEPT_HOURS < then <= newest}
    n, minutes = counts.get(hour, (0, 0))
    counts[hour] = min(n + jobs, MOST_JOBS), min(minutes + (minute > arrivals.last or not minutes), 60)
    since = minute if arrivals.since is None else min(arrivals.since, minute)
    kept = tuple((then, *pair) for then, pair in sorted(counts.items()))
    return ArrivalHistory(kept, since, max(arrivals.last, minute))


def hourly_rates(arrivals: ArrivalHistory, now: Instant, hours: int = 25) -> tuple[float, ...]:
    """Jobs expected in each hour from the one that `now` is in, as full hours."""
    counts, hour = {then: jobs for then, jobs, _ in arrivals.hours}, now // HOUR
    into = (now % HOUR) / HOUR
    since = now // MINUTE if arrivals.since is None else min(arrivals.since, now // MINUTE)
    first = since * MINUTE // HOUR
    present = max(_recent_rate(arrivals.hours, max(first, hour - 23), hour, into), _surely(arrivals, since, now))
    usually = _shrunk([_same_hour_mean(counts, first, hour + k, hour) for k in range(24)], (hour - first) / 24)
    policy = _today_vs_usual(counts, usually, hour, into)
    found = []
    for k in range(hours):
        usual = usually[k % 24]
        found.append(present if usual is None else usual * (1 + (policy - 1) * math.exp(-k / _PACE_FADES)))
    return tuple(found)


def _surely(arrivals: ArrivalHistory, since: int, now: Instant) -> float:
    """Jobs an hour that the last hours make sure of: a flow is known within a quarter of an hour, one mass of jobs at
    once says nothing of how many come in a day.

    Jobs of one minute count as one arrival, of ten jobs at most. n arrivals, a Poisson count, make sure of n − √n, one
    standard deviation less: of one arrival nothing, of 25 it is 20.
    """
    hour = now // HOUR
    near = [(jobs, minutes) for then, jobs, minutes in arrivals.hours if hour - _PACE_HOURS < then <= hour]
    seen, minutes = sum(min(jobs, _OF_A_MINUTE * n) for jobs, n in near), sum(n for _, n in near)
    if not minutes:
        return 0.0
    began = max(since * MINUTE, (hour - _PACE_HOURS + 1) * HOUR)
    watched = max((now - began) / HOUR, _LEAST_WATCHED)
    return seen / minutes * (minutes - math.sqrt(minutes)) / watched


def expected_jobs(hourly: Sequence[float], now: Instant, ahead: int) -> float:
    """Jobs expected within `ahead` milliseconds of `now`, at the rates that `hourly_rates` gave."""
    total, at, end = 0.0, now, now + ahead
    for k, rate in enumerate(hourly):
        until = min((now // HOUR + k + 1) * HOUR, end)
        total += rate * max(until - at, 0) / HOUR
        at = max(at, until)
    return total


def _recent_rate(hours: Sequence[tuple[int, int, int]], first: int, hour: int, into: float) -> float:
    """Jobs an hour by the hours seen. The mean of roots, squared, and of one minute ten jobs at most: one mass of
    jobs at once weighs less than a flow."""
    jobs = {then: min(n, _OF_A_MINUTE * minutes) for then, n, minutes in hours}
    roots, weight = math.sqrt(_PRIOR), 1.0
    for then in range(first, hour + 1):
        share = 1.0 if then < hour else max(into, 0.25)
        roots, weight = roots + math.sqrt(jobs.get(then, 0)) * share, weight + share
    return (roots / weight) ** 2


def _shrunk(usual: Sequence[float | None], days: float) -> list[float | None]:
    """The hours of a day drawn to their mean as far as chance explains how they differ from it.

    By James and Stein ('Estimation with quadratic loss', 1961): the differences count as much as their squares exceed
    those of Poisson counts. Hours that differ by chance alone become one mean, a night without jobs stays one.
    """
    known = [rate for rate in usual if rate is not None]
    if len(known) < 24:
        return list(usual)
    mean = sum(known) / len(known)
    by_chance = len(known) * mean * _SMOOTHED / max(days, 1.0)
    squares = sum((rate - mean) ** 2 for rate in known)
    counts = max(0.0, 1.0 - by_chance / squares) if squares else 0.0
    return [mean + counts * (rate - mean) for rate in known]


def _today_vs_usual(counts: dict[int, int], usually: Sequence[float | None], hour: int, into: float) -> float:
    """How many times as busy the last hours were as the same hours usually are, drawn to 1 in the same way."""
    usual = seen = 0.0
    for back in range(_PACE_HOURS):
        rate = usually[-back % 24]
        if rate is not None:
            usual += rate * (1.0 if back else into)
            seen += counts.get(hour - back, 0)
    usual, seen = usual + 1.0, seen + 1.0
    differs = seen - usual
    return 1.0 + differs / usual * max(0.0, 1.0 - usual / differs**2) if differs else 1.0


def _same_hour_mean(counts: dict[int, int], first: int, hour: int, present: int) -> float | None:
    """The mean of the same hour on the days before `present`, its neighbours counted half; None if there is none."""
    total, weight = 0.0, 0.0
    for days in range(1, 8):
        for shift, share in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            then = hour - 24 * days + shift
            if first <= then < present and present - then < KEPT_HOURS:
                total, weight = total + share * counts.get(then, 0), weight + share
    return total / weight if weight > 0 else None
