"""The price of a look: what the budget sets, in seconds of delay that a look has to save to be worth it."""

from collections.abc import Sequence
from dataclasses import dataclass

from relay.arrivals import Arrivals, expected
from relay.budget import Left
from relay.law import Law
from relay.model import Instant
from relay.timetable import Timetable, make_timetable

LADDER = tuple(0.02 * 1.25**k for k in range(61))
"""The prices there are: 0.02 s to 3.6 h."""
_SLICES = 12


@dataclass(frozen=True, slots=True)
class Demand:
    """Looks expected at a price within a horizon."""

    active: float
    forecast: float


def price(ages: Sequence[float], law: Law, left: Left, arrivals: Arrivals, now: Instant) -> float:
    """The smallest price on the ladder at which the looks expected fit what is left, over each horizon of `left`.

    `ages` are the active watches' (seconds; queued ones 0 or less). Watches still to come are those that `arrivals`
    lets expect; each costs a first look at once. The top of the ladder where nothing fits.
    """
    low, high = 0, len(LADDER) - 1
    while low < high:
        middle = (low + high) // 2
        if _fits(make_timetable(law, LADDER[middle]), ages, left, arrivals, now):
            high = middle
        else:
            low = middle + 1
    return LADDER[low]


def demand(table: Timetable, ages: Sequence[float], arrivals: Arrivals, now: Instant, ahead: int) -> Demand:
    """Looks expected within `ahead` milliseconds: of the active watches, and of those still to come."""
    seconds = ahead / 1_000
    active = sum(table.looks(max(age, 0.0), seconds) for age in ages)
    forecast, before = 0.0, 0.0
    for k in range(1, _SLICES + 1):
        by = expected(arrivals, now, ahead * k // _SLICES)
        forecast += (by - before) * (1.0 + table.looks(0.0, seconds * (_SLICES - k + 0.5) / _SLICES))
        before = by
    return Demand(active, forecast)


def _fits(table: Timetable, ages: Sequence[float], left: Left, arrivals: Arrivals, now: Instant) -> bool:
    for ahead, looks in left.within:
        wanted = demand(table, ages, arrivals, now, ahead)
        if wanted.active + wanted.forecast > looks:
            return False
    return True
