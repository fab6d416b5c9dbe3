"""The best ages to poll, for a law of durations and a price of a poll.

On ages t_0 = 0 < … < t_K, with F the law, S = 1 − F, M the running mean ∫x dF and λ the price, the least cost from a
poll of t_i on is

    V_i = λ·S_i + min over j > i of [ t_j·(F_j − F_i) − (M_j − M_i) + V_j ],    V_K = 0:

the poll after t_i is made if the job still runs at t_i, and what ended in between is seen at t_j, late by t_j less the
time it ended. The minimising j is the next poll. It never falls as i rises, for F and t both rise (the costs are a
Monge array: Aggarwal and others, 'Geometric applications of a matrix-searching algorithm', 1987), which makes the
search short. The problem is that of Barlow, Hunter and Proschan, 'Optimum Checking Procedures', J. SIAM 11 (1963).

By hand: of four jobs one ends at 60 s, three at 300 s; polls are possible at both. V_2 = 0, V_1 = ¾λ, and V_0 = λ +
min(V_1, ¼·240 s): the poll at 60 s is worth it while ¾λ < 60 s, so that V_0 is 35 s at λ = 20 s, and 160 s at 100 s.
docs/polling.md has the same as a program.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, replace

from relay.polling.schedule.duration_distribution import AGES, LONGEST, DurationDistribution

LONGEST_GAP = 600.0
"""No gap is longer than this many seconds or, where that is more, so many times the age: what every job gets."""
LONGEST_GROWTH = 8.0
"""At 2, with one job in twenty stuck, polls those cost the others a tenth of delay; at 8, a thirtieth."""
_SHORTEST_GAP = 1.0
_PER_POLL = 5.0
_LEAST = 80.0
_MOST = 800.0


def longest_gap(age: float, price: float) -> float:
    """Seconds: no gap after a poll at `age` is longer, at a price. A gap shorter than the price can't pay for its poll,
    as a poll saves at most the gap before it."""
    return max(LONGEST_GAP, LONGEST_GROWTH * age, price)


@dataclass(frozen=True, slots=True)
class OptimalSchedule:
    """`following[i]` is the age of the poll after one at `ages[i]`; `poll_ages` the polls of a job seen from its
    start."""

    law: DurationDistribution
    price: float
    ages: tuple[float, ...]
    next_ages: tuple[float, ...]
    poll_ages: tuple[float, ...]
    expected_polls: tuple[float, ...]
    """spent[k]: polls expected by path[k], of a job that starts now."""
    poll_immediately: bool
    """Whether a job just registered is polled at once."""

    def next_age(self, age: float) -> float:
        """The age for the poll after one at `age`, later than it. Seconds."""
        place = bisect_right(self.ages, max(age, 0.0)) - 1
        if place >= len(self.ages) - 1:
            return max(age, 0.0) * 2 + LONGEST_GAP
        low, high = self.ages[place], self.ages[place + 1]
        part = (max(age, 0.0) - low) / (high - low)
        following = self.next_ages[place] + part * (self.next_ages[place + 1] - self.next_ages[place])
        return max(following, age + _SHORTEST_GAP)

    def expected_polls_within(self, age: float, within: float) -> float:
        """Polls expected within so many seconds, of a job that was still going at its last poll before `age`."""
        first = bisect_right(self.poll_ages, age)
        last = bisect_right(self.poll_ages, age + within)
        before = self.expected_polls[first - 1] if first else 0.0
        alive = self.law.counted_survival(self.poll_ages[first - 1]) if first else 1.0
        return (self.expected_polls[last - 1] - before) / max(alive, 1e-9) if last > first else 0.0


def optimal_schedule(law: DurationDistribution, price: float, ready: float = 0.9) -> OptimalSchedule:
    """The timetable for a law and a price (seconds of delay per poll). A few milliseconds of work.

    `ready` is the share of jobs that have ended already when they are registered. Such a job would wait until the
    first poll of the path, and another finds its poll wasted: at once is best where ready·path[0] ≥ (1 − ready)·price.
    """
    ages = _grid(law, price)
    table = OptimalSchedule(law, price, tuple(ages), tuple(_solve(ages, law, price)), (), (), True)
    path, spent, age, total = [], [], 0.0, 0.0
    while age < LONGEST:
        total += law.counted_survival(age)
        age = table.next_age(age)
        path.append(min(age, LONGEST))
        spent.append(total)
    at_once = ready * path[0] >= (1 - ready) * price
    return replace(table, poll_ages=tuple(path), expected_polls=tuple(spent), poll_immediately=at_once)


def _solve(ages: list[float], law: DurationDistribution, price: float) -> list[float]:
    """The next poll after one at each age."""
    ended, means = zip(*map(law.cdf_and_partial_mean, ages), strict=True)
    last = len(ages) - 1
    costs = [0.0] * (last + 1)
    following = [ages[-1] * 2] * (last + 1)
    furthest = last

    for i in range(last - 1, -1, -1):
        bound = ages[i] + longest_gap(ages[i], price)
        before = ended[i]
        best, at, tried = float("inf"), i + 1, []
        for j in range(i + 1, furthest + 1):
            age = ages[j]
            if age > bound and j > i + 1:
                break
            cost = age * (ended[j] - before) - means[j] + costs[j]
            tried.append(cost)
            if cost < best:
                best, at = cost, j
        furthest = min(at + 1, last)
        k = at - i - 1
        if 0 < k < len(tried) - 1:
            following[i], least = _parabola_minimum(ages[at - 1 : at + 2], tried[k - 1 : k + 2])
        else:
            following[i], least = ages[at], best
        costs[i] = price * (1.0 - before) + least + means[i]
    return following


def _parabola_minimum(x: list[float], y: list[float]) -> tuple[float, float]:
    """Where the parabola through three points is least, and how much that is: the middle one is the least of them."""
    left, right = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    bend = (right - left) / (x[2] - x[0])
    if bend <= 0:
        return x[1], y[1]
    at = min(max((x[0] + x[1]) / 2 - left / (2 * bend), x[0]), x[2])
    return at, y[0] + (at - x[0]) * (left + bend * (at - x[1]))


def _grid(law: DurationDistribution, price: float) -> list[float]:
    """Ages some times as dense as polls will be, √(F'/(2λ·S)) (Keller, 'Optimum checking schedules', 1974), and never
    sparse. The table is straight between its ages, so that a few for each gap between polls are enough."""
    polls = sum(law.poll_density) / math.sqrt(2 * price)
    scale = min(max(_PER_POLL * polls, _LEAST), _MOST) / max(sum(law.poll_density), 1e-9)
    floor = _LEAST / len(law.poll_density)
    ages, at, mark = [0.0], 0.0, 1.0
    for k, root in enumerate(law.poll_density):
        before, at = at, at + root * scale + floor
        while mark <= at:
            ages.append(AGES[k] + (AGES[k + 1] - AGES[k]) * (mark - before) / (at - before))
            mark += 1.0
    return [*(age for age in ages if age < LONGEST), LONGEST]
