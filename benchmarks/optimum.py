"""The best that any schedule can do against a known distribution: a dynamic program on a fine grid, polished.

It shares no code with the planner, assumes nothing of the shape of the answer, and is the judge of every strategy.
"""

import math
from itertools import pairwise

from benchmarks.distributions import MAX_AGE, TrueDistribution, judge

_FINE = tuple(math.exp(k * math.log(MAX_AGE) / 10_000) for k in range(10_001))
_PER_POLL = 10
_POLLS = tuple(0.03 * 1.12**k for k in range(66))
"""The approximate numbers of polls for which the best schedule is computed."""


class Optimum:
    """The least mean delay at each number of polls per job, for one distribution.

    For each of many prices the dynamic program finds the schedule of least delay + price·polls. No schedule at all is
    cheaper at that price, so at n polls none has less delay than least − price·n, whichever the price: the greatest of
    these bounds is what others are held against. It is reached, but for the space between the prices (0.2%).
    """

    def __init__(self, distribution: TrueDistribution, between: tuple[float, float] = (2.0, 30.0)) -> None:
        """`between` are the least and the greatest number of polls that will be asked for."""
        scale = _keller(distribution)
        self._bounds = []
        for price in (0.5 * (scale / n) ** 2 for n in _POLLS if between[0] / 30 < n < between[1] * 1.5):
            polls, delay = judge(distribution, _polished(distribution, _best(distribution, price), price))
            weighed = price / (
                1 - distribution.never
            )  # `judge` has the delay of the jobs that end, `_best` that of all
            self._bounds.append((delay + weighed * polls, weighed))

    def delay(self, polls: float) -> float:
        """Seconds: no schedule of so many polls per job has less delay in the mean."""
        return max(least - price * polls for least, price in self._bounds)


def _keller(distribution: TrueDistribution) -> float:
    """∫ √(F'·S): a schedule of n polls can't do much better than a mean delay of half its square, divided by n."""
    total = 0.0
    for low, high in pairwise(_FINE):
        before, after = distribution.at(low)[0], distribution.at(high)[0]
        total += math.sqrt(max(after - before, 0.0) * max(1 - distribution.never - before, 0.0) * (high - low))
    return total


def _best(distribution: TrueDistribution, price: float) -> list[float]:
    ages = _grid(distribution, price)
    moments = [distribution.at(age) for age in ages]
    last = len(ages) - 1
    costs, following = [0.0] * (last + 1), [last] * (last + 1)
    furthest = last  # with t and F both rising, the least j never falls as i rises (the costs are a Monge array)
    for i in range(last - 1, -1, -1):
        ended, mean = moments[i]
        best = math.inf
        for j in range(i + 1, furthest + 1):
            cost = ages[j] * (moments[j][0] - ended) - (moments[j][1] - mean) + costs[j]
            if cost < best:
                best, following[i] = cost, j
        furthest = following[i]
        costs[i] = best + price * (1 - ended)
    polls, at = [], 0
    while at < last:
        at = following[at]
        polls.append(ages[at])
    return polls


def _polished(distribution: TrueDistribution, polls: list[float], price: float) -> list[float]:
    """The same schedule off the grid: each poll moves between its neighbours to the age at which it costs least."""
    polls = [0.0, *polls]

    def cost(before: float, at: float, after: float) -> float:
        (f0, m0), (f1, m1), (f2, m2) = distribution.at(before), distribution.at(at), distribution.at(after)
        return at * (f1 - f0) - (m1 - m0) + after * (f2 - f1) - (m2 - m1) + price * (1 - f1)

    for sweep in range(12):
        for k in range(1, len(polls) - 1):
            low, high = polls[k - 1], polls[k + 1]
            reach = (high - low) / 2**sweep / 4
            low, high = max(low, polls[k] - reach), min(high, polls[k] + reach)
            candidates = [low + (high - low) * step / 8 for step in range(9)]
            polls[k] = min([polls[k], *candidates], key=lambda at: cost(polls[k - 1], at, polls[k + 1]))
    return polls[1:]


def _grid(distribution: TrueDistribution, price: float) -> list[float]:
    """Points several times as dense as the best polls are, √(F'/(2·price·S)), and never sparse."""
    ages, at, before = [0.0], 0.0, 0.0
    for low, high in pairwise(_FINE):
        ended = distribution.at(high)[0]
        alive = max(1 - ended, 1e-4)
        at += _PER_POLL * math.sqrt(max(ended - before, 0.0) * (high - low) / alive / (2 * price)) + 400 / len(_FINE)
        before = ended
        if at >= 1:
            ages.append(high)
            at = 0.0
    return [*(age for age in ages if age < MAX_AGE), MAX_AGE]
