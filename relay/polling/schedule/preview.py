"""What the polls of a job registered now would bring, and what a fixed interval with as many polls would: for people.

Both are exact for the law that was learned: a poll of age a hears of all that ended since the poll before, each late by
a less its own age; and a poll costs one for every job that goes on until then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from relay.polling.schedule.duration_distribution import LONGEST, DurationDistribution
from relay.polling.schedule.optimal_schedule import OptimalSchedule

_STEPS = 40
_LEAST = 1.0
"""Seconds: no fixed interval is shorter."""


@dataclass(frozen=True, slots=True)
class SchedulePreview:
    """Ages and delays in seconds; polls after the one at the registration."""

    ages: tuple[float, ...]
    """When a job is polled, until 99% of those that end have ended."""
    polls: float
    """How many of them are made, in the mean."""
    delay: float
    """How late the end is heard of, in the mean of the jobs that end."""
    interval: float
    """The fixed interval that takes as many polls."""
    fixed_delay: float


def preview(table: OptimalSchedule) -> SchedulePreview:
    """What the timetable brings."""
    law = table.law
    end = law.quantile(0.99)
    polls, delay = polls_and_delay(law, table.poll_ages)
    interval = _interval(law, polls)
    _, fixed_delay = polls_and_delay(law, fixed_interval_ages(interval))
    shown = tuple(age for age, before in zip(table.poll_ages, (0.0, *table.poll_ages), strict=False) if before < end)
    return SchedulePreview(shown, polls, delay, interval, fixed_delay)


def polls_and_delay(law: DurationDistribution, ages: Sequence[float]) -> tuple[float, float]:
    """Polls a job, and the mean delay of the jobs that end, of polling these ages."""
    polls = delay = 0.0
    for before, age in pairwise((0.0, *ages)):
        ended, mean = law.cdf_and_partial_mean(before)
        by_then, mean_then = law.cdf_and_partial_mean(age)
        polls += 1.0 - ended
        delay += age * (by_then - ended) - (mean_then - mean)
    return polls, delay / max(law.cdf(LONGEST), 1e-9)


def fixed_interval_ages(interval: float) -> list[float]:
    """Every so many seconds, until jobs are given up."""
    return [interval * k for k in range(1, int(LONGEST / interval) + 1)]


def histogram(law: DurationDistribution, columns: int, end: float) -> list[float]:
    """The share of jobs that end in each of so many equal parts of the time until `end` seconds."""
    edges = [end * k / columns for k in range(columns + 1)]
    return [law.cdf(high) - law.cdf(low) for low, high in pairwise(edges)]


def _interval(law: DurationDistribution, polls: float) -> float:
    low, high = _LEAST, LONGEST
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        if polls_and_delay(law, fixed_interval_ages(middle))[0] > polls:
            low = middle
        else:
            high = middle
        if high / low < 1.01:
            break
    return high
