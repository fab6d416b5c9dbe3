"""The distributions of durations that polling is measured with: exact, to draw jobs from and to judge schedules by."""

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from relay.polling.schedule.duration_distribution import DurationDistribution, lognormal_cdf, tabulate

MAX_AGE = 86_400.0
"""Seconds after which a watch is given up: the last poll of a job that never ends."""

_POINTS = 6_000
_GRID = [0.0] + [math.exp(math.log(0.5) + k * math.log(MAX_AGE / 0.5) / _POINTS) for k in range(_POINTS + 1)]


@dataclass(frozen=True)
class TrueDistribution:
    """How long jobs take, seconds; `never` of them do not end within `MAX_AGE`."""

    name: str
    if_it_ends: Callable[[float], float]
    draw: Callable[[random.Random], float]
    never: float = 0.0

    @cached_property
    def _table(self) -> tuple[list[float], list[float]]:
        """On `_GRID`: the probability of having ended, and ∫ x dF up to there."""
        top = self.if_it_ends(MAX_AGE)
        ended = [(1 - self.never) * self.if_it_ends(x) / top for x in _GRID]
        means = [0.0]
        for k in range(1, len(_GRID)):
            means.append(means[-1] + (ended[k] - ended[k - 1]) * (_GRID[k] + _GRID[k - 1]) / 2)
        return ended, means

    def at(self, age: float) -> tuple[float, float]:
        """F and ∫ x dF at an age."""
        ended, means = self._table
        place = min(bisect_right(_GRID, age) - 1, len(_GRID) - 2)
        part = min((age - _GRID[place]) / (_GRID[place + 1] - _GRID[place]), 1.0)
        return (
            ended[place] + part * (ended[place + 1] - ended[place]),
            means[place] + part * (means[place + 1] - means[place]),
        )

    def sample(self, rng: random.Random) -> float | None:
        """A duration; None if the job never ends."""
        if rng.random() < self.never:
            return None
        while (seconds := self.draw(rng)) > MAX_AGE:
            pass
        return seconds

    def slower(self, times: float) -> "TrueDistribution":
        """The same distribution with durations `times` as long."""
        return TrueDistribution(
            f"{self.name} × {times:g}",
            lambda x: self.if_it_ends(x / times),
            lambda rng: self.draw(rng) * times,
            self.never,
        )

    @property
    def table(self) -> DurationDistribution:
        """As the planner knows it after infinitely many jobs."""
        return tabulate(lambda age: self.at(age)[0] / (1 - self.never), self.never)


def judge(distribution: TrueDistribution, polls: Sequence[float]) -> tuple[float, float]:
    """Polls per job and mean delay (seconds, over the jobs that end) of polling these ages and at `MAX_AGE`."""
    spent, delay, ended, mean = 0.0, 0.0, 0.0, 0.0
    for age in [*(poll for poll in polls if poll < MAX_AGE), MAX_AGE]:
        spent += 1.0 - ended
        by_then, mean_then = distribution.at(age)
        delay += age * (by_then - ended) - (mean_then - mean)
        ended, mean = by_then, mean_then
        if 1.0 - ended < 1e-12:
            break
    return spent, delay / (1 - distribution.never)


def _lognormal(median: float, sigma: float) -> tuple[Callable[[float], float], Callable[[random.Random], float]]:
    return (
        lambda x: lognormal_cdf(x, median, sigma) if x > 0 else 0.0,
        lambda rng: rng.lognormvariate(math.log(median), sigma),
    )


def _mixture(
    share: float,
    one: tuple[Callable[[float], float], Callable[[random.Random], float]],
    other: tuple[Callable[[float], float], Callable[[random.Random], float]],
) -> tuple[Callable[[float], float], Callable[[random.Random], float]]:
    return (
        lambda x: share * one[0](x) + (1 - share) * other[0](x),
        lambda rng: one[1](rng) if rng.random() < share else other[1](rng),
    )


def _gamma_cdf(x: float, shape: int) -> float:
    """Of whole shape (Erlang): 1 − Σ e^−x·x^k/k!."""
    term, total = math.exp(-x), 0.0
    for k in range(shape):
        total += term
        term *= x / (k + 1)
    return 1.0 - total


_ERLANG, _ERLANG_SCALE = 4, 300 / 3.672_060_7
_WEIBULL, _WEIBULL_SCALE = 2.0, 300 / math.log(2) ** 0.5
_PARETO = 1.3


def _pareto(x: float) -> float:
    return 1 - (300 / x) ** _PARETO if x > 300 else 0.0


QUICK_AND_SLOW = _mixture(0.25, _lognormal(30, 0.5), _lognormal(300, 0.25))

DISTRIBUTIONS = (
    TrueDistribution("lognormal σ 0.12", *_lognormal(300, 0.12)),
    TrueDistribution("lognormal σ 0.35", *_lognormal(300, 0.35)),
    TrueDistribution("lognormal σ 0.7", *_lognormal(300, 0.7)),
    TrueDistribution(
        "gamma, shape 4",
        lambda x: _gamma_cdf(x / _ERLANG_SCALE, _ERLANG),
        lambda rng: rng.gammavariate(_ERLANG, _ERLANG_SCALE),
    ),
    TrueDistribution(
        "Weibull, shape 2",
        lambda x: 1 - math.exp(-((x / _WEIBULL_SCALE) ** _WEIBULL)),
        lambda rng: rng.weibullvariate(_WEIBULL_SCALE, _WEIBULL),
    ),
    TrueDistribution("25% quick failures", *QUICK_AND_SLOW),
    TrueDistribution(
        "heavy tail",
        *_mixture(0.9, _lognormal(300, 0.35), (_pareto, lambda rng: 300 * rng.paretovariate(_PARETO))),
    ),
    TrueDistribution("5% stuck", *_lognormal(300, 0.35), never=0.05),
)
