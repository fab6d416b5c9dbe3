"""Who polls when: at which ages a job is polled, seconds since its start, until it is given up.

Every one of them makes a poll when the job is registered, which says nothing yet and is not counted here.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from benchmarks.distributions import MAX_AGE, TrueDistribution, judge
from relay.model import Instant
from relay.polling.schedule.duration_distribution import DurationDistribution
from relay.polling.schedule.next_poll import PollState, adaptive_poll
from relay.polling.schedule.optimal_schedule import optimal_schedule

START: Instant = 1_709_510_400_000
"""Monday 2024-03-04T00:00:00Z."""

Schedule = Callable[[float], list[float]]
"""The ages of the polls by how sparing they are: the more, the fewer."""


def ours(distribution: DurationDistribution) -> Schedule:
    """The relay's planner with this distribution and a fixed price of a poll (seconds)."""

    def ages(price: float) -> list[float]:
        table, found, now = optimal_schedule(distribution, price), [], START
        poll_state = PollState(
            registered_at=START, created_at=START, started_at=START, status="processing", last_poll_at=START, polls=1
        )
        while now < START + MAX_AGE * 1_000:
            now = adaptive_poll(poll_state, table, now).at
            poll_state = replace(poll_state, last_poll_at=now, polls=poll_state.polls + 1)
            found.append((now - START) / 1_000)
        return found

    return ages


def fixed(interval: float) -> list[float]:
    """Every so many seconds."""
    return [interval * k for k in range(1, math.ceil(MAX_AGE / interval))]


def backoff(factor: float) -> Schedule:
    """Each gap `factor` times the one before; the first one is given."""

    def ages(first: float) -> list[float]:
        found, at, gap = [], first, first
        while at < MAX_AGE:
            found.append(at)
            gap *= factor
            at += gap
        return found

    return ages


def median_first(median: float) -> Schedule:
    """Wait the median, then every so many seconds."""

    def ages(interval: float) -> list[float]:
        return [median + interval * k for k in range(math.ceil((MAX_AGE - median) / interval))]

    return ages


def at_polls(distribution: TrueDistribution, schedule: Schedule, polls: float) -> float | None:
    """The mean delay of a schedule that costs so many polls a job; None if none does.

    If the number of polls jumps over it, the two sides of the jump are mixed.
    """
    low, high = math.log(1e-4), math.log(MAX_AGE)
    many = few = None
    for _ in range(16):
        middle = (low + high) / 2
        spent, delay = judge(distribution, schedule(math.exp(middle)))
        if spent > polls:
            low, many = middle, (spent, delay)
        else:
            high, few = middle, (spent, delay)
        if many and few and many[0] / few[0] < 1.01:
            break
    if many is None or few is None:
        return None
    part = (polls - few[0]) / (many[0] - few[0])
    return few[1] + part * (many[1] - few[1])
