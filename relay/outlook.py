"""What the looks of a job registered now would bring, and what a fixed interval with as many looks would: for people.

Both are exact for the law that was learned: a look at age a hears of all that ended since the look before, each late by
a less its own age; and a look costs one for every job that goes on until then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from relay.law import LONGEST, Law
from relay.timetable import Timetable

_STEPS = 40
_LEAST = 1.0
"""Seconds: no fixed interval is shorter."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Ages and delays in seconds; looks after the one at the registration."""

    ages: tuple[float, ...]
    """When a job is looked at, until 99% of those that end have ended."""
    looks: float
    """How many of them are made, in the mean."""
    delay: float
    """How late the end is heard of, in the mean of the jobs that end."""
    interval: float
    """The fixed interval that takes as many looks."""
    fixed_delay: float


def outlook(table: Timetable) -> Outlook:
    """What the timetable brings."""
    law = table.law
    end = law.quantile(0.99)
    looks, delay = judged(law, table.path)
    interval = _interval(law, looks)
    _, fixed_delay = judged(law, fixed(interval))
    shown = tuple(age for age, before in zip(table.path, (0.0, *table.path), strict=False) if before < end)
    return Outlook(shown, looks, delay, interval, fixed_delay)


def judged(law: Law, ages: Sequence[float]) -> tuple[float, float]:
    """Looks a job, and the mean delay of the jobs that end, of looking at these ages."""
    looks = delay = 0.0
    for before, age in pairwise((0.0, *ages)):
        ended, mean = law.moments(before)
        by_then, mean_then = law.moments(age)
        looks += 1.0 - ended
        delay += age * (by_then - ended) - (mean_then - mean)
    return looks, delay / max(law.cdf(LONGEST), 1e-9)


def fixed(interval: float) -> list[float]:
    """Every so many seconds, until jobs are given up."""
    return [interval * k for k in range(1, int(LONGEST / interval) + 1)]


def density(law: Law, columns: int, end: float) -> list[float]:
    """The share of jobs that end in each of so many equal parts of the time until `end` seconds."""
    edges = [end * k / columns for k in range(columns + 1)]
    return [law.cdf(high) - law.cdf(low) for low, high in pairwise(edges)]


def _interval(law: Law, looks: float) -> float:
    low, high = _LEAST, LONGEST
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        if judged(law, fixed(middle))[0] > looks:
            low = middle
        else:
            high = middle
        if high / low < 1.01:
            break
    return high
