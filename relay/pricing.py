"""The price of a look: what the budget sets, in seconds of delay that a look has to save to be worth it.

The smallest price on a ladder at which the looks expected of all active watches, and of those still to come, fit what
is left of the budget over every horizon from five minutes to a day. It rises with the load and as the budget is used
up, so the evening's jobs are not paid for by the morning's; whoever works it out anew every half minute need forecast
no better than roughly.
"""

from collections.abc import Sequence

from relay.arrivals import Arrivals, jobs_within, rates
from relay.budget import HORIZONS, Left
from relay.law import Law
from relay.model import Instant
from relay.timetable import Timetable, make_timetable

LADDER = tuple(0.02 * 1.25**k for k in range(61))
"""The prices there are: 0.02 s to 3.6 h."""

_AT_LEAST = 1.2
_SLICES = 12
_MOST_AGES = 200

Forecast = tuple[tuple[float, float], ...]
"""(seconds from now, jobs expected about then), in order."""


def price(ages: Sequence[float], law: Law, left: Left, arrivals: Arrivals, now: Instant) -> float:
    """The smallest price at which the looks expected fit `left.within`, or are near the fewest that can be.

    `ages` are the active watches' (seconds; queued ones 0 or less). Jobs still to come are those that `arrivals` lets
    expect; each costs a first look at once. Where even the dearest price would not fit, a fifth more looks than at
    that price are planned for: looks that the budget refuses wait in order of their gain, and waiting for too long
    where the budget does reach would waste it. Takes about 20 ms.
    """
    groups, coming = grouped(ages), forecast(arrivals, now)
    dearest = make_timetable(law, LADDER[-1])
    limits = [
        (ahead / 1_000, max(looks, _AT_LEAST * demand(dearest, groups, coming, ahead / 1_000)))
        for ahead, looks in left.within
    ]
    low, high = 0, len(LADDER) - 1
    while low < high:
        middle = (low + high) // 2
        table = make_timetable(law, LADDER[middle])
        if all(demand(table, groups, coming, seconds) <= looks for seconds, looks in limits):
            high = middle
        else:
            low = middle + 1
    return LADDER[low]


def demand(table: Timetable, groups: Sequence[tuple[float, float]], coming: Forecast, seconds: float) -> float:
    """Looks expected within `seconds`: of the active watches (age, how many), and of the jobs still to come."""
    active = sum(many * table.looks(age, seconds) for age, many in groups)
    return active + sum(jobs * (1.0 + table.looks(0.0, seconds - at)) for at, jobs in coming if at < seconds)


def forecast(arrivals: Arrivals, now: Instant) -> Forecast:
    """The jobs to come within the longest horizon, the near ones in finer slices than the far."""
    hourly = rates(arrivals, now)
    found, before, begin = [], 0.0, 0
    for ahead in HORIZONS:
        for k in range(1, _SLICES + 1):
            by_then = jobs_within(hourly, now, begin + (ahead - begin) * k // _SLICES)
            middle = begin + (ahead - begin) * (k - 0.5) / _SLICES
            found.append((middle / 1_000, by_then - before))
            before = by_then
        begin = ahead
    return tuple(found)


def grouped(ages: Sequence[float]) -> list[tuple[float, float]]:
    """(age, how many) for at most 200 ages that stand for all of them; those below 0 count as 0."""
    ordered = sorted(max(age, 0.0) for age in ages)
    size = max(len(ordered) / _MOST_AGES, 1.0)
    return [(ordered[int((k + 0.5) * size)], size) for k in range(int(len(ordered) / size))]
