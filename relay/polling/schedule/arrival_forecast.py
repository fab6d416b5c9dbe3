"""Forecasts how many jobs are still to come: the load that the rest of a budget has to carry.

The forecast for an hour is the mean of the same hour on the days before, plus the difference by which the last hours
were busier than usual; that difference fades over hours. On the first day, two jobs an hour are usual.

Jobs may come one by one or in groups. So the variance of a number of jobs is its mean times the index of dispersion,
and what differs counts as far as its square exceeds that variance (James and Stein, 'Estimation with quadratic loss',
1961). By hand: 36 jobs came where 6 are usual. One by one, with an index of 1, of the difference of 30 count 1 - 36/30²
= 96%. All at once, with an index of 36, the variance of 36·36 = 1,296 is more than 30² = 900: nothing counts.
"""

import math
from collections.abc import Sequence

from relay.model import DAY, HOUR, MINUTE, Instant
from relay.model.arrival_history import MAX_HOURS, MAX_JOBS, MAX_SLOTS, SLOT, ArrivalHistory

_RECENT = 3 * HOUR
"""The time over which jobs are compared with what is usual, after the first day."""
_FADES = 12.0
"""Hours after which the difference counts 1/e as much."""
_PRIOR = 2.0
"""Jobs per hour before any was observed."""
_SMOOTHED = 0.25**2 + 0.5**2 + 0.25**2
"""How much of an hour's variance is left of the mean of it and its neighbours."""


def record_arrivals(arrivals: ArrivalHistory, jobs: int, at: Instant) -> ArrivalHistory:
    """The history with `jobs` more registered at `at`."""
    if jobs <= 0:
        return arrivals
    minute = at // MINUTE
    return ArrivalHistory(
        _added(arrivals.hours, at // HOUR, jobs, MAX_HOURS),
        _added(arrivals.slots, at // SLOT, jobs, MAX_SLOTS),
        minute if arrivals.since is None else min(arrivals.since, minute),
    )


def _added(counts: Sequence[tuple[int, int]], at: int, jobs: int, kept: int) -> tuple[tuple[int, int], ...]:
    newest = max([at, *(start for start, _ in counts[-1:])])
    sums = {start: number for start, number in counts if newest - kept < start <= newest}
    sums[at] = min(sums.get(at, 0) + jobs, MAX_JOBS)
    return tuple(sorted(sums.items()))


def hourly_rates(arrivals: ArrivalHistory, now: Instant, hours: int = 25) -> tuple[float, ...]:
    """Jobs expected in each hour from the one that `now` is in, as full hours."""
    hour = now // HOUR
    since = now if arrivals.since is None else min(arrivals.since * MINUTE, now)
    first = since // HOUR
    if hour - first < 24:
        usual_rates, window, fades = [_PRIOR] * 24, max(now - since, SLOT), math.inf
    else:
        counts = dict(arrivals.hours)
        means = [_same_hour_mean(counts, first, hour + k, hour) for k in range(24)]
        usual_rates, window, fades = _shrink(means, (hour - first) / 24, dispersion(arrivals, now)), _RECENT, _FADES
    more = _more_than_usual(arrivals, usual_rates, now, window)
    return tuple(max(usual_rates[k % 24] + more * math.exp(-k / fades), 0.0) for k in range(hours))


def expected_jobs(hourly: Sequence[float], now: Instant, ahead: int) -> float:
    """Jobs expected within `ahead` milliseconds of `now`, at the rates of `hourly_rates`."""
    total, at, end = 0.0, now, now + ahead
    for k, rate in enumerate(hourly):
        until = min((now // HOUR + k + 1) * HOUR, end)
        total += rate * max(until - at, 0) / HOUR
        at = max(at, until)
    return total


def _more_than_usual(arrivals: ArrivalHistory, usual_rates: Sequence[float], now: Instant, window: int) -> float:
    """Jobs per hour by which the last `window` milliseconds were busier than usual, shrunk towards 0."""
    begin = (now - min(window, DAY)) // SLOT
    observed = sum(jobs for start, jobs in arrivals.slots if begin <= start <= now // SLOT)
    usual, at = 0.0, begin * SLOT
    while at < now:
        until = min((at // HOUR + 1) * HOUR, now)
        usual += usual_rates[(at // HOUR - now // HOUR) % 24] * (until - at) / HOUR
        at = until
    differs, by_chance = observed - usual, dispersion(arrivals, now) * max(observed, usual)
    if not differs:
        return 0.0
    return differs * max(0.0, 1.0 - by_chance / differs**2) / max((now - begin * SLOT) / HOUR, SLOT / HOUR)


def dispersion(arrivals: ArrivalHistory, now: Instant) -> float:
    """The variance of the number of jobs in ten minutes, divided by its mean (the index of dispersion: Cox and Lewis,
    1966), over two days: 1 if jobs come one by one, n if they come n at once. One empty slot is added, so that the
    first jobs of all count as one group."""
    newest = now // SLOT
    since = newest if arrivals.since is None else min(arrivals.since * MINUTE // SLOT, newest)
    number = min(newest - since + 1, MAX_SLOTS) + 1
    jobs = [count for start, count in arrivals.slots if newest - MAX_SLOTS < start <= newest]
    mean = sum(jobs) / number
    if not mean:
        return 1.0
    variance = (sum(count * count for count in jobs) - number * mean * mean) / (number - 1)
    return max(variance / mean, 1.0)


def _shrink(rates: Sequence[float], days: float, dispersed: float) -> list[float]:
    """The hours of a day, shrunk towards their mean as far as chance explains their differences.

    Hours that differ by chance alone become one mean; a night without jobs stays one.
    """
    mean = sum(rates) / len(rates)
    by_chance = len(rates) * mean * dispersed * _SMOOTHED / max(days, 1.0)
    squares = sum((rate - mean) ** 2 for rate in rates)
    counts = max(0.0, 1.0 - by_chance / squares) if squares else 0.0
    return [mean + counts * (rate - mean) for rate in rates]


def _same_hour_mean(counts: dict[int, int], first: int, hour: int, current_hour: int) -> float:
    """The mean of the same hour on the days before, neighbours counted half; there is at least one day."""
    total, weight = 0.0, 0.0
    for days in range(1, 8):
        for shift, share in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            past_hour = hour - 24 * days + shift
            if first <= past_hour < current_hour and current_hour - past_hour < MAX_HOURS:
                total, weight = total + share * counts.get(past_hour, 0), weight + share
    return total / weight
