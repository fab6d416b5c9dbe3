"""A table of a duration distribution: the probability that a job has ended by an age, in seconds since its start.

F is linear between two ages of the table, so that jobs that end there end at the middle in the mean, and F and ∫ x dF
are exact for these pieces. By hand: with F(100 s) = 0.2 and F(200 s) = 0.6, F(150 s) is 0.4, and ∫ x dF from 100 s to
200 s is 0.4·150 s = 60 s.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MIN_AGE = 0.5
MAX_AGE = 86_400.0
"""The span of the table, in seconds; jobs that last longer count as never ending."""
_STEPS = 640
_STEP = math.log(MAX_AGE / MIN_AGE) / _STEPS
_RARE = 0.01
"""The smallest share of jobs left that the density of polls takes into account."""
AGES = tuple(MIN_AGE * math.exp(_STEP * k) for k in range(_STEPS + 1))
"""The ages of the table: each 1.9% longer than the one before."""


@dataclass(frozen=True, slots=True)
class DurationDistribution:
    """A distribution at the ages of `AGES`, linear between them. `from_cdf_table` makes one."""

    cdf_table: tuple[float, ...]
    """The probability that a job has ended by each age: rising, at most 1 minus the share of jobs that never end."""
    partial_means: tuple[float, ...]
    """∫ x dF up to each age, seconds."""
    poll_density: tuple[float, ...]
    """∫ √(F'/S) from each age to the next: the best density of polls is proportional to it."""
    unsmoothed_cdf: tuple[float, ...]
    """The probability of having ended by each age, not smoothed, to count the expected polls."""

    def cdf(self, age: float) -> float:
        """The probability that a job has ended by `age` seconds, 0 to 1."""
        return self.cdf_and_partial_mean(age)[0]

    def cdf_and_partial_mean(self, age: float) -> tuple[float, float]:
        """F and ∫ x dF at `age` seconds: both exact for the straight pieces."""
        if age <= MIN_AGE:
            ended = self.cdf_table[0] * max(age, 0.0) / MIN_AGE
            return ended, ended * max(age, 0.0) / 2
        position = math.log(age / MIN_AGE) / _STEP
        below = int(position)
        if below >= _STEPS:
            return self.cdf_table[-1], self.partial_means[-1]
        low = AGES[below]
        ended = self.cdf_table[below] + (self.cdf_table[below + 1] - self.cdf_table[below]) * (age - low) / (
            AGES[below + 1] - low
        )
        return ended, self.partial_means[below] + (ended - self.cdf_table[below]) * (age + low) / 2

    def survival(self, age: float) -> float:
        """The probability that a job goes on after `age` seconds."""
        return 1.0 - self.cdf(age)

    def unsmoothed_survival(self, age: float) -> float:
        """The probability that a job goes on after `age` seconds, not smoothed."""
        if age <= MIN_AGE:
            return 1.0
        position = math.log(age / MIN_AGE) / _STEP
        below = int(position)
        if below >= _STEPS:
            return 1.0 - self.unsmoothed_cdf[-1]
        low, high = self.unsmoothed_cdf[below], self.unsmoothed_cdf[below + 1]
        return 1.0 - low - (high - low) * (position - below)

    def quantile(self, share: float) -> float:
        """The age by which `share` of the jobs that end at all have ended."""
        target = share * self.cdf_table[-1]
        upper = bisect_left(self.cdf_table, target)
        if upper == 0:
            return MIN_AGE
        low, high = self.cdf_table[upper - 1], self.cdf_table[upper]
        part = (target - low) / (high - low) if high > low else 0.0
        return AGES[upper - 1] + part * (AGES[upper] - AGES[upper - 1])

    @property
    def median(self) -> float:
        return self.quantile(0.5)

    @property
    def p90(self) -> float:
        return self.quantile(0.9)


def from_cdf_table(
    ended: Sequence[float], never: float, unsmoothed: Sequence[float] | None = None
) -> DurationDistribution:
    """The distribution with this probability of having ended by each of `AGES`, if the job ends; the share `never` of
    all jobs does not end. `unsmoothed` is the same without smoothing, if it is known."""
    rising, means, roots = [], [], []
    highest = mean = before = 0.0
    for age, share in zip(AGES, ended, strict=True):
        previous, highest = highest, max(highest, (1.0 - never) * min(share, 1.0))
        mean += (highest - previous) * (age + before) / 2
        roots.append(math.sqrt((highest - previous) * (age - before) / max(1.0 - previous, _RARE)))
        before = age
        rising.append(highest)
        means.append(mean)
    unsmoothed_cdf = rising if unsmoothed is None else unsmoothed
    return DurationDistribution(tuple(rising), tuple(means), tuple(roots[1:]), tuple(unsmoothed_cdf))


def tabulate(cdf: Callable[[float], float], never: float = 0.0) -> DurationDistribution:
    """As `from_cdf_table`, from a distribution function."""
    return from_cdf_table([cdf(age) for age in AGES], never)


def lognormal_cdf(age: float, median: float, sigma: float) -> float:
    """The probability that a lognormal duration is at most `age`."""
    return 0.5 * math.erfc(-math.log(age / median) / (sigma * math.sqrt(2)))
