"""Computes the best ages to poll, for a distribution of durations and a price of a poll.

On ages t_0 = 0 < … < t_K, with F the distribution, S = 1 − F, M the running mean ∫x dF and λ the price, the least cost
from a poll at t_i on is

    V_i = λ·S_i + min over j > i of [ t_j·(F_j − F_i) − (M_j − M_i) + V_j ],    V_K = 0:

the poll after t_i is made if the job still runs at t_i, and a job that ended in between is detected at t_j, late by t_j
minus the time it ended. The minimising j is the next poll. It never falls as i rises, because F and t both rise (the
costs are a Monge array: Aggarwal and others, 'Geometric applications of a matrix-searching algorithm', 1987), which
makes the search short. The problem is that of Barlow, Hunter and Proschan, 'Optimum Checking Procedures', J. SIAM 11
(1963).

By hand: of four jobs one ends at 60 s, three at 300 s; polls are possible at both. V_2 = 0, V_1 = ¾λ, and V_0 = λ +
min(V_1, ¼·240 s): the poll at 60 s is worth it while ¾λ < 60 s, so that V_0 is 35 s at λ = 20 s, and 160 s at 100 s.
docs/polling.md has the same as a program.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, replace

from relay.polling.schedule.duration_distribution import AGES, MAX_AGE, DurationDistribution

MAX_GAP = 600.0
"""No gap is longer than this many seconds or, if that is more, this many times the age. It limits every job's delay."""
MAX_GROWTH = 8.0
"""At 2, with one job in twenty stuck, the polls of stuck jobs cost the others a tenth of delay; at 8, a thirtieth."""
_MIN_GAP = 1.0
_PER_POLL = 5.0
_MIN_AGES = 80.0
_MAX_AGES = 800.0


def longest_gap(age: float, price: float) -> float:
    """The longest gap after a poll at `age`, in seconds. A gap shorter than the price can't pay for its poll, because a
    poll saves at most the gap before it."""
    return max(MAX_GAP, MAX_GROWTH * age, price)


@dataclass(frozen=True, slots=True)
class OptimalSchedule:
    """The polls of a job by its age. `next_ages[i]` is the age of the poll after one at `ages[i]`; `poll_ages` are the
    polls of a job that is watched from its start."""

    distribution: DurationDistribution
    price: float
    ages: tuple[float, ...]
    next_ages: tuple[float, ...]
    poll_ages: tuple[float, ...]
    expected_polls: tuple[float, ...]
    """expected_polls[k]: polls expected until poll_ages[k], for a job that starts now."""
    poll_immediately: bool
    """Whether a newly registered job is polled at once."""

    def next_age(self, age: float) -> float:
        """The age of the poll after one at `age`, later than it. Seconds."""
        index = bisect_right(self.ages, max(age, 0.0)) - 1
        if index >= len(self.ages) - 1:
            return max(age, 0.0) * 2 + MAX_GAP
        low, high = self.ages[index], self.ages[index + 1]
        part = (max(age, 0.0) - low) / (high - low)
        following = self.next_ages[index] + part * (self.next_ages[index + 1] - self.next_ages[index])
        return max(following, age + _MIN_GAP)

    def expected_polls_within(self, age: float, within: float) -> float:
        """Polls expected within so many seconds, for a job that was running at its last poll before `age`."""
        first = bisect_right(self.poll_ages, age)
        last = bisect_right(self.poll_ages, age + within)
        before = self.expected_polls[first - 1] if first else 0.0
        alive = self.distribution.unsmoothed_survival(self.poll_ages[first - 1]) if first else 1.0
        return (self.expected_polls[last - 1] - before) / max(alive, 1e-9) if last > first else 0.0


def optimal_schedule(distribution: DurationDistribution, price: float, already_ended: float = 0.9) -> OptimalSchedule:
    """The schedule for a distribution and a price (seconds of delay per poll). Takes a few milliseconds.

    `already_ended` is the share of jobs that have ended when they are registered. Without a poll at once, such a job
    waits until poll_ages[0]; for any other job that poll is wasted. So a poll at once is best if
    already_ended·poll_ages[0] ≥ (1 − already_ended)·price.
    """
    ages = _grid(distribution, price)
    table = OptimalSchedule(distribution, price, tuple(ages), tuple(_solve(ages, distribution, price)), (), (), True)
    poll_ages, expected_polls, age, total = [], [], 0.0, 0.0
    while age < MAX_AGE:
        total += distribution.unsmoothed_survival(age)
        age = table.next_age(age)
        poll_ages.append(min(age, MAX_AGE))
        expected_polls.append(total)
    poll_immediately = already_ended * poll_ages[0] >= (1 - already_ended) * price
    return replace(
        table, poll_ages=tuple(poll_ages), expected_polls=tuple(expected_polls), poll_immediately=poll_immediately
    )


def _solve(ages: list[float], distribution: DurationDistribution, price: float) -> list[float]:
    """The age of the next poll after one at each age."""
    ended, means = zip(*map(distribution.cdf_and_partial_mean, ages), strict=True)
    last = len(ages) - 1
    costs = [0.0] * (last + 1)
    next_ages = [ages[-1] * 2] * (last + 1)
    search_end = last

    for i in range(last - 1, -1, -1):
        bound = ages[i] + longest_gap(ages[i], price)
        before = ended[i]
        best, at, costs_tried = float("inf"), i + 1, []
        for j in range(i + 1, search_end + 1):
            age = ages[j]
            if age > bound and j > i + 1:
                break
            cost = age * (ended[j] - before) - means[j] + costs[j]
            costs_tried.append(cost)
            if cost < best:
                best, at = cost, j
        search_end = min(at + 1, last)
        k = at - i - 1
        if 0 < k < len(costs_tried) - 1:
            next_ages[i], best_cost = _parabola_minimum(ages[at - 1 : at + 2], costs_tried[k - 1 : k + 2])
        else:
            next_ages[i], best_cost = ages[at], best
        costs[i] = price * (1.0 - before) + best_cost + means[i]
    return next_ages


def _parabola_minimum(x: list[float], y: list[float]) -> tuple[float, float]:
    """The minimum of the parabola through three points, of which the middle one is the least: its place and value."""
    left, right = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    curvature = (right - left) / (x[2] - x[0])
    if curvature <= 0:
        return x[1], y[1]
    at = min(max((x[0] + x[1]) / 2 - left / (2 * curvature), x[0]), x[2])
    return at, y[0] + (at - x[0]) * (left + curvature * (at - x[1]))


def _grid(distribution: DurationDistribution, price: float) -> list[float]:
    """Ages several times as dense as polls will be, √(F'/(2λ·S)) (Keller, 'Optimum checking schedules', 1974), with a
    minimum density. The table is linear between its ages, so that a few of them per gap between polls are enough."""
    polls = sum(distribution.poll_density) / math.sqrt(2 * price)
    scale = min(max(_PER_POLL * polls, _MIN_AGES), _MAX_AGES) / max(sum(distribution.poll_density), 1e-9)
    floor = _MIN_AGES / len(distribution.poll_density)
    ages, at, mark = [0.0], 0.0, 1.0
    for k, root in enumerate(distribution.poll_density):
        before, at = at, at + root * scale + floor
        while mark <= at:
            ages.append(AGES[k] + (AGES[k + 1] - AGES[k]) * (mark - before) / (at - before))
            mark += 1.0
    return [*(age for age in ages if age < MAX_AGE), MAX_AGE]
