"""A law of durations as a table: the probability that a job has ended by an age. Ages are seconds since its start."""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

SHORTEST = 0.5
LONGEST = 86_400.0
"""What the table spans, in seconds; jobs that last longer count as never ending."""
_STEPS = 640
_STEP = math.log(LONGEST / SHORTEST) / _STEPS
AGES = tuple(SHORTEST * math.exp(_STEP * k) for k in range(_STEPS + 1))
"""The ages of the table: each 1.9% longer than the one before."""


@dataclass(frozen=True, slots=True)
class Law:
    """`ended[k]` is the probability that a job has ended by `AGES[k]`: rising, at most 1 less those that never end."""

    ended: tuple[float, ...]

    def cdf(self, age: float) -> float:
        """The probability that a job has ended by `age` seconds, 0 to 1."""
        if age <= SHORTEST:
            return self.ended[0] * max(age, 0.0) / SHORTEST
        place = math.log(age / SHORTEST) / _STEP
        below = int(place)
        if below >= _STEPS:
            return self.ended[-1]
        return self.ended[below] + (place - below) * (self.ended[below + 1] - self.ended[below])

    def survival(self, age: float) -> float:
        """The probability that a job goes on after `age` seconds."""
        return 1.0 - self.cdf(age)

    def quantile(self, share: float) -> float:
        """The age by which `share` of the jobs that end at all have ended."""
        wanted = share * self.ended[-1]
        above = bisect_left(self.ended, wanted)
        if above == 0:
            return SHORTEST
        low, high = self.ended[above - 1], self.ended[above]
        part = (wanted - low) / (high - low) if high > low else 0.0
        return SHORTEST * math.exp(_STEP * (above - 1 + part))

    @property
    def median(self) -> float:
        return self.quantile(0.5)

    @property
    def p90(self) -> float:
        return self.quantile(0.9)


def tabulate(cdf: Callable[[float], float], never: float = 0.0) -> Law:
    """The law with the given probability of having ended by an age, if it ends; `never` of all jobs do not."""
    ended, highest = [], 0.0
    for age in AGES:
        highest = max(highest, min(cdf(age), 1.0))
        ended.append((1.0 - never) * highest)
    return Law(tuple(ended))


def lognormal_cdf(age: float, median: float, sigma: float) -> float:
    """The probability that a lognormal duration is at most `age`."""
    return 0.5 * math.erfc(-math.log(age / median) / (sigma * math.sqrt(2)))
