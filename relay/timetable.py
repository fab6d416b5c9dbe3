"""The best ages to look at, for a law of durations and a price of a look.

On ages t_0 = 0 < … < t_K, with F the law, S = 1 − F, M the running mean ∫x dF and λ the price, the least cost from a
look at t_i on is

    V_i = λ·S_i + min over j > i of [ t_j·(F_j − F_i) − (M_j − M_i) + V_j ],    V_K = 0:

the look after t_i is made if the job still runs at t_i, and what ended in between is seen at t_j, late by t_j less the
time it ended. The minimising j is the next look; it never falls as i rises, which makes the search short.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, replace

from relay.law import AGES, LONGEST, Law

LONGEST_GAP = 600.0
"""No gap is longer than this, or the age, where that is more: seconds."""
LONGEST_GROWTH = 2.0
_SHORTEST_GAP = 1.0
_PER_LOOK = 5.0
_LEAST = 80.0
_MOST = 800.0
_RARE = 0.01


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
    ages = _grid(law, price)
    table = Timetable(law, price, tuple(ages), tuple(_solve(ages, [law.moments(age) for age in ages], price)), (), ())
    path, spent, age, total = [], [], 0.0, 0.0
    while age < LONGEST:
        total += law.survival(age)
        age = table.next_age(age)
        path.append(min(age, LONGEST))
        spent.append(total)
    return replace(table, path=tuple(path), spent=tuple(spent))


def _solve(ages: list[float], moments: list[tuple[float, float]], price: float) -> list[float]:
    """The next look after one at each age."""
    last = len(ages) - 1
    costs = [0.0] * (last + 1)
    following = [ages[-1] * 2] * (last + 1)
    furthest = last

    for i in range(last - 1, -1, -1):
        bound = ages[i] + max(LONGEST_GAP, LONGEST_GROWTH * ages[i])
        ended, mean = moments[i]
        best, at, tried = float("inf"), i + 1, []
        for j in range(i + 1, furthest + 1):
            if j > i + 1 and ages[j] > bound:
                break
            cost = ages[j] * (moments[j][0] - ended) - (moments[j][1] - mean) + costs[j]
            tried.append(cost)
            if cost < best:
                best, at = cost, j
        furthest = min(at + 1, last)
        k = at - i - 1
        if 0 < k < len(tried) - 1:
            following[i], least = _vertex(ages[at - 1 : at + 2], tried[k - 1 : k + 2])
        else:
            following[i], least = ages[at], best
        costs[i] = price * (1.0 - ended) + least
    return following


def _vertex(x: list[float], y: list[float]) -> tuple[float, float]:
    """Where the parabola through three points is least, and how much that is: the middle one is the least of them."""
    left, right = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    bend = (right - left) / (x[2] - x[0])
    if bend <= 0:
        return x[1], y[1]
    at = min(max((x[0] + x[1]) / 2 - left / (2 * bend), x[0]), x[2])
    return at, y[0] + (at - x[0]) * (left + bend * (at - x[1]))


def _grid(law: Law, price: float) -> list[float]:
    """Ages about as dense as looks will be, which is √(F'·S/2λ) (Keller 1974), and some everywhere.

    The table is linear between its ages, so that a few points for each gap between looks are enough.
    """
    weights = []
    for k in range(len(AGES) - 1):
        width = AGES[k + 1] - AGES[k]
        density = max(law.ended[k + 1] - law.ended[k], 0.0) / width
        weights.append(math.sqrt(density / max(1.0 - law.ended[k], _RARE)) * width)
    looks = sum(weights) / math.sqrt(2 * price)
    points = min(max(_PER_LOOK * looks, _LEAST), _MOST)
    scale, floor = points / (sum(weights) or 1.0), _LEAST / len(weights)
    ages, at = [0.0], 0.0
    for k, weight in enumerate(weights):
        before, at = at, at + weight * scale + floor
        slope = (AGES[k + 1] - AGES[k]) / (at - before)
        ages.extend(AGES[k] + (mark - before) * slope for mark in range(int(before) + 1, int(at) + 1))
    return [*(age for age in ages if age < LONGEST), LONGEST]
