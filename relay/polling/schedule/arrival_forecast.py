"""Forecasts how many jobs are still to come: the load that the rest of a budget has to carry.

The forecast for an hour is the mean of the same hour on the days before, multiplied by how busy today is compared with
them; that factor fades over hours. Before a full day was observed, the forecast continues the rate of the hours so far.
"""

import math
from collections.abc import Sequence

from relay.model import HOUR, MINUTE, Instant
from relay.model.arrival_history import MAX_HOURS, MAX_JOBS, ArrivalHistory

_BUSYNESS_HOURS = 3
_BUSYNESS_FADES = 4.0
"""Hours after which today's busyness counts 1/e as much."""
_PRIOR = 2.0
"""Jobs per hour before any was observed; it counts as much as one hour of observation."""
_MAX_PER_MINUTE = 10
_MIN_WATCHED = 0.25
"""Hours."""
_SMOOTHED = 0.25**2 + 0.5**2 + 0.25**2
"""How much of an hour's variance is left of the mean of it and its neighbours."""


def record_arrivals(arrivals: ArrivalHistory, jobs: int, at: Instant) -> ArrivalHistory:
    """The history with `jobs` more registered at `at`."""
    hour, minute = at // HOUR, at // MINUTE
    if jobs <= 0:
        return arrivals
    newest = max([hour, *(start for start, _, _ in arrivals.hours[-1:])])
    counts = {start: (n, minutes) for start, n, minutes in arrivals.hours if newest - MAX_HOURS < start <= newest}
    n, minutes = counts.get(hour, (0, 0))
    counts[hour] = min(n + jobs, MAX_JOBS), min(minutes + (minute > arrivals.last or not minutes), 60)
    since = minute if arrivals.since is None else min(arrivals.since, minute)
    hours = tuple((start, *pair) for start, pair in sorted(counts.items()))
    return ArrivalHistory(hours, since, max(arrivals.last, minute))


def hourly_rates(arrivals: ArrivalHistory, now: Instant, hours: int = 25) -> tuple[float, ...]:
    """Jobs expected in each hour from the one that `now` is in, as full hours."""
    counts, hour = {start: jobs for start, jobs, _ in arrivals.hours}, now // HOUR
    elapsed_share = (now % HOUR) / HOUR
    since = now // MINUTE if arrivals.since is None else min(arrivals.since, now // MINUTE)
    first = since * MINUTE // HOUR
    current_rate = max(
        _recent_rate(arrivals.hours, max(first, hour - 23), hour, elapsed_share),
        _rate_lower_bound(arrivals, since, now),
    )
    if hour - first < 24:
        return (current_rate,) * hours
    usual_rates = _shrink([_same_hour_mean(counts, first, hour + k, hour) for k in range(24)], (hour - first) / 24)
    busyness = _today_vs_usual(counts, usual_rates, hour, elapsed_share)
    return tuple(usual_rates[k % 24] * (1 + (busyness - 1) * math.exp(-k / _BUSYNESS_FADES)) for k in range(hours))


def _rate_lower_bound(arrivals: ArrivalHistory, since: int, now: Instant) -> float:
    """A lower bound of the present rate, in jobs per hour: a steady flow of jobs counts within a quarter of an hour,
    one burst of jobs does not raise the forecast for a whole day.

    The jobs of one minute count as one arrival, with ten jobs at most. n arrivals, a Poisson count, make n − √n
    certain, one standard deviation less: one arrival makes none certain, 25 make 20 certain.
    """
    hour = now // HOUR
    recent = [(jobs, minutes) for start, jobs, minutes in arrivals.hours if hour - _BUSYNESS_HOURS < start <= hour]
    jobs_counted, minutes = sum(min(jobs, _MAX_PER_MINUTE * n) for jobs, n in recent), sum(n for _, n in recent)
    if not minutes:
        return 0.0
    watched_since = max(since * MINUTE, (hour - _BUSYNESS_HOURS + 1) * HOUR)
    watched_hours = max((now - watched_since) / HOUR, _MIN_WATCHED)
    return jobs_counted / minutes * (minutes - math.sqrt(minutes)) / watched_hours


def expected_jobs(hourly: Sequence[float], now: Instant, ahead: int) -> float:
    """Jobs expected within `ahead` milliseconds of `now`, at the rates of `hourly_rates`."""
    total, at, end = 0.0, now, now + ahead
    for k, rate in enumerate(hourly):
        until = min((now // HOUR + k + 1) * HOUR, end)
        total += rate * max(until - at, 0) / HOUR
        at = max(at, until)
    return total


def _recent_rate(hours: Sequence[tuple[int, int, int]], first: int, hour: int, elapsed_share: float) -> float:
    """Jobs per hour over the observed hours: the square of the mean of roots, with ten jobs per minute at most, so that
    one burst of jobs weighs less than a steady flow."""
    jobs = {start: min(n, _MAX_PER_MINUTE * minutes) for start, n, minutes in hours}
    roots, weight = math.sqrt(_PRIOR), 1.0
    for start in range(first, hour + 1):
        share = 1.0 if start < hour else max(elapsed_share, 0.25)
        roots, weight = roots + math.sqrt(jobs.get(start, 0)) * share, weight + share
    return (roots / weight) ** 2


def _shrink(rates: Sequence[float], days: float) -> list[float]:
    """The hours of a day, shrunk towards their mean as far as chance explains their differences.

    By James and Stein ('Estimation with quadratic loss', 1961): the differences count as much as their squares exceed
    those of Poisson counts. Hours that differ by chance alone become one mean; a night without jobs stays one.
    """
    mean = sum(rates) / len(rates)
    by_chance = len(rates) * mean * _SMOOTHED / max(days, 1.0)
    squares = sum((rate - mean) ** 2 for rate in rates)
    counts = max(0.0, 1.0 - by_chance / squares) if squares else 0.0
    return [mean + counts * (rate - mean) for rate in rates]


def _today_vs_usual(counts: dict[int, int], usual_rates: Sequence[float], hour: int, elapsed_share: float) -> float:
    """How many times as busy the last hours were as the same hours usually are, shrunk towards 1 in the same way."""
    usual = observed = 0.0
    for hours_ago in range(_BUSYNESS_HOURS):
        usual += usual_rates[-hours_ago % 24] * (1.0 if hours_ago else elapsed_share)
        observed += counts.get(hour - hours_ago, 0)
    usual, observed = usual + 1.0, observed + 1.0
    differs = observed - usual
    return 1.0 + differs / usual * max(0.0, 1.0 - usual / differs**2) if differs else 1.0


def _same_hour_mean(counts: dict[int, int], first: int, hour: int, current_hour: int) -> float:
    """The mean of the same hour on the days before, neighbours counted half; there is at least one day."""
    total, weight = 0.0, 0.0
    for days in range(1, 8):
        for shift, share in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            past_hour = hour - 24 * days + shift
            if first <= past_hour < current_hour and current_hour - past_hour < MAX_HOURS:
                total, weight = total + share * counts.get(past_hour, 0), weight + share
    return total / weight
