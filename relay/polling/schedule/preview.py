"""A preview for people: what polls a job registered now gets, and what a fixed interval with as many polls would give.

Both are exact for the learned distribution: a poll at age a detects every job that ended since the poll before, each
late by a minus the age at which it ended; every job that still runs needs the next poll.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from relay.polling.schedule.duration_distribution import MAX_AGE, DurationDistribution
from relay.polling.schedule.optimal_schedule import OptimalSchedule

_STEPS = 40
_MIN_INTERVAL = 1.0
"""Seconds: the shortest fixed interval."""


@dataclass(frozen=True, slots=True)
class SchedulePreview:
    """Ages and delays in seconds; polls after the one at the registration."""

    ages: tuple[float, ...]
    """The ages at which a job is polled, until 99% of the jobs that end have ended."""
    polls: float
    """The mean number of these polls that are made."""
    delay: float
    """The mean delay until the relay detects the end, over the jobs that end."""
    interval: float
    """The fixed interval that needs as many polls."""
    fixed_delay: float


def preview(table: OptimalSchedule) -> SchedulePreview:
    """The preview of a schedule."""
    distribution = table.distribution
    end = distribution.quantile(0.99)
    polls, delay = polls_and_delay(distribution, table.poll_ages)
    interval = _interval(distribution, polls)
    _, fixed_delay = polls_and_delay(distribution, fixed_interval_ages(interval))
    shown_ages = tuple(
        age for age, before in zip(table.poll_ages, (0.0, *table.poll_ages), strict=False) if before < end
    )
    return SchedulePreview(shown_ages, polls, delay, interval, fixed_delay)


def polls_and_delay(distribution: DurationDistribution, ages: Sequence[float]) -> tuple[float, float]:
    """Polls per job, and the mean delay of the jobs that end, if they are polled at these ages."""
    polls = delay = 0.0
    for before, age in pairwise((0.0, *ages)):
        ended, mean = distribution.cdf_and_partial_mean(before)
        ended_share, mean_then = distribution.cdf_and_partial_mean(age)
        polls += 1.0 - ended
        delay += age * (ended_share - ended) - (mean_then - mean)
    return polls, delay / max(distribution.cdf(MAX_AGE), 1e-9)


def fixed_interval_ages(interval: float) -> list[float]:
    """The ages of polls at a fixed interval, until jobs are given up."""
    return [interval * k for k in range(1, int(MAX_AGE / interval) + 1)]


def histogram(distribution: DurationDistribution, columns: int, end: float) -> list[float]:
    """The share of jobs that end in each of so many equal parts of the time until `end` seconds."""
    edges = [end * k / columns for k in range(columns + 1)]
    return [distribution.cdf(high) - distribution.cdf(low) for low, high in pairwise(edges)]


def _interval(distribution: DurationDistribution, polls: float) -> float:
    low, high = _MIN_INTERVAL, MAX_AGE
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        if polls_and_delay(distribution, fixed_interval_ages(middle))[0] > polls:
            low = middle
        else:
            high = middle
        if high / low < 1.01:
            break
    return high
