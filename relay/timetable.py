"""The best ages to look at, for a law of durations and a price of a look.

On ages t_0 = 0 < … < t_K, with F the law, S = 1 − F, M the running mean ∫x dF and λ the price, the least cost from a
look at t_i on is

    V_i = λ·S_i + min over j > i of [ t_j·(F_j − F_i) − (M_j − M_i) + V_j ],    V_K = 0:

the look after t_i is made if the job still runs at t_i, and what ended in between is seen at t_j, late by t_j less the
time it ended. The minimising j is the next look; it never falls as i rises, which makes the search short.
"""

from bisect import bisect_right
from dataclasses import dataclass

from relay.law import AGES, LONGEST, Law

LONGEST_GAP = 600.0
"""No gap is longer than this, or the age, where that is more: seconds."""
_SHORTEST_GAP = 1.0
_POINTS = 160


@dataclass(frozen=True, slots=True)
class Timetable:
    """`following[i]` is the age of the look after one at `ages[i]`; `path` the looks of a job seen from its start."""

    law: Law
    price: float
    ages: tuple[float, ...]
    following: tuple[float, ...]
    path: tuple[float, ...]
    spent: tuple[float, ...]
    """spent[k]: looks expected by path[k], of a job that starts now."""

    def next_age(self, age: float) -> float:
        """The age for the look after one at `age`, later than it. Seconds."""
        place = bisect_right(self.ages, max(age, 0.0)) - 1
        if place >= len(self.ages) - 1:
            return max(age, 0.0) * 2 + LONGEST_GAP
        low, high = self.ages[place], self.ages[place + 1]
        part = (max(age, 0.0) - low) / (high - low)
        following = self.following[place] + part * (self.following[place + 1] - self.following[place])
        return max(following, age + _SHORTEST_GAP)

    def looks(self, age: float, within: float) -> float:
        """Looks expected within so many seconds, of a job that was still going at its last look before `age`."""
        first = bisect_right(self.path, age)
        last = bisect_right(self.path, age + within)
        before = self.spent[first - 1] if first else 0.0
        alive = self.law.survival(self.path[first - 1]) if first else 1.0
        return (self.spent[last - 1] - before) / max(alive, 1e-9) if last > first else 0.0


def make_timetable(law: Law, price: float) -> Timetable:
    """The timetable for a law and a price (seconds of delay per look). A few milliseconds of work."""
    ages = _grid(law)
    ended = [law.cdf(age) for age in ages]
    means = [0.0]
    for k in range(1, len(ages)):
        means.append(means[-1] + (ended[k] - ended[k - 1]) * (ages[k] + ages[k - 1]) / 2)
    following = _solve(ages, ended, means, price)
    path, spent, at, total = [], [], 0, 0.0
    while at < len(ages) - 1:
        total += 1.0 - ended[at]
        at = following[at]
        path.append(ages[at])
        spent.append(total)
    last = ages[-1] * 2 + LONGEST_GAP
    nexts = [ages[j] for j in following[:-1]] + [last]
    return Timetable(law, price, tuple(ages), tuple(nexts), tuple(path), tuple(spent))


def _solve(ages: list[float], ended: list[float], means: list[float], price: float) -> list[int]:
    last = len(ages) - 1
    costs = [0.0] * (last + 1)
    following = [last] * (last + 1)
    furthest = last
    for i in range(last - 1, -1, -1):
        best, at = float("inf"), i + 1
        bound = max(LONGEST_GAP, ages[i]) + ages[i]
        for j in range(i + 1, furthest + 1):
            if j > i + 1 and ages[j] > bound:
                break
            cost = ages[j] * (ended[j] - ended[i]) - (means[j] - means[i]) + costs[j]
            if cost < best:
                best, at = cost, j
        following[i], furthest = at, at
        costs[i] = price * (1.0 - ended[i]) + best
    return following


def _grid(law: Law) -> list[float]:
    """Ages denser where looks will be: their best density is about √(F'·S) (Keller 1974), with some everywhere."""
    weights = []
    for k in range(len(AGES) - 1):
        width = AGES[k + 1] - AGES[k]
        density = max(law.ended[k + 1] - law.ended[k], 0.0) / width
        weights.append((density * (1.0 - law.ended[k])) ** 0.5 * width)
    total = sum(weights) or 1.0
    floor = 0.25 / len(weights)
    ages, at, step = [0.0], 0.0, 1.25 / _POINTS
    for k, weight in enumerate(weights):
        at += weight / total + floor
        if at >= step:
            ages.append(AGES[k + 1])
            at = 0.0
    if ages[-1] < LONGEST:
        ages.append(LONGEST)
    return ages
