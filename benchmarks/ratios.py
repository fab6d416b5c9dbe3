"""How near the relay's polls come to the best possible ones, job by job, if it knows and if it learns the distribution.

All schedules are compared at equal polls per job, so that none wins by polling more often. A ratio of 1 is the
optimum's delay.
"""

import math
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.distributions import DISTRIBUTIONS, TrueDistribution
from benchmarks.optimum import Optimum
from benchmarks.schedules import START, Schedule, at_polls, backoff, fixed, median_first, ours
from relay.model import DAY, MINUTE, Instant
from relay.model.duration_history import DurationHistory
from relay.polling.schedule import job_durations as learning
from relay.polling.schedule.duration_distribution import DurationDistribution

POLLS = (2, 3, 5, 10, 20, 30)
SEEN = (10, 30, 100)
SEEDS = tuple(range(1, 9))
EVERY = 15 * MINUTE
"""A job begins so long after the one before."""
OTHERS: Mapping[str, Schedule] = {"fixed interval": fixed, "backoff ×1.5": backoff(1.5), "backoff ×2": backoff(2.0)}
MEDIAN_FIRST = "the median, then fixed"
KNOWN, FIXED = "the relay, if it knows", "fixed interval"


@dataclass(frozen=True)
class Judged:
    """A distribution with its optimum."""

    distribution: TrueDistribution
    optimum: Optimum

    def delay(self, schedule: Schedule, polls: float) -> float | None:
        """The delay of a schedule over the optimum's, at so many polls a job; None if it can't cost so many."""
        found = at_polls(self.distribution, schedule, polls)
        return None if found is None else found / self.optimum.delay(polls)


@dataclass(frozen=True)
class Known:
    """One distribution, one schedule: at each number of polls, its ratio to the optimum, and the optimum's seconds."""

    distribution: str
    who: str
    ratios: tuple[float | None, ...]
    optimum: tuple[float, ...]


@dataclass(frozen=True)
class Learned:
    """One history, after so many jobs: the ratio to the optimum over all numbers of polls."""

    name: str
    seen: int
    mean: float
    spread: float
    """The standard deviation between seeds."""
    worst: float
    """The worst seed's mean."""
    against_fixed: float
    """The delay over that of the fixed interval of as many polls, at the worst number of polls."""
    ratios: tuple[float, ...]
    """The mean of all seeds at each number of polls."""


@dataclass(frozen=True)
class History:
    """What a workspace lives through: `before` jobs of another distribution, then those of `distribution`."""

    name: str
    distribution: TrueDistribution
    earlier: TrueDistribution | None = None
    before: int = 0
    absurd: float = 0.0
    """The share of jobs whose timestamps say a second, or a day."""


SLOWER, FASTER = DISTRIBUTIONS[1].slower(2.0), DISTRIBUTIONS[1].slower(0.5)
HISTORIES = (
    *(History(distribution.name, distribution) for distribution in DISTRIBUTIONS),
    History("shift: twice as slow after 150 jobs", SLOWER, DISTRIBUTIONS[1], 150),
    History("shift: twice as fast after 150 jobs", FASTER, DISTRIBUTIONS[1], 150),
    History("σ 0.35, 5% of timestamps absurd", DISTRIBUTIONS[1], absurd=0.05),
)


def known(judged: Judged, polls: Sequence[int] = POLLS) -> Iterator[Known]:
    """The relay's schedule and the usual ones, if all know the distribution."""
    everyone = {
        KNOWN: ours(judged.distribution.table),
        **OTHERS,
        MEDIAN_FIRST: median_first(judged.distribution.table.median),
    }
    best = tuple(judged.optimum.delay(n) for n in polls)
    for who, schedule in everyone.items():
        yield Known(judged.distribution.name, who, tuple(judged.delay(schedule, n) for n in polls), best)


def learned(
    history: History, judged: Judged, seeds: Sequence[int] = SEEDS, polls: Sequence[int] = POLLS
) -> Iterator[Learned]:
    """Ours, which learns as jobs end; one row for each of `SEEN`."""
    plain = [judged.delay(fixed, n) or math.inf for n in polls]
    lives = [list(_lived(history, seed)) for seed in seeds]
    for place, seen in enumerate(SEEN):
        ratios = [[judged.delay(ours(life[place]), n) or math.inf for n in polls] for life in lives]
        means = [statistics.fmean(one) for one in ratios]
        at_each = [statistics.fmean(column) for column in zip(*ratios, strict=True)]
        yield Learned(
            history.name,
            seen,
            statistics.fmean(means),
            statistics.pstdev(means),
            max(means),
            max(one / other for one, other in zip(at_each, plain, strict=True)),
            tuple(at_each),
        )


def _lived(history: History, seed: int) -> Iterator[DurationDistribution]:
    """The distribution as the relay estimates it after each of `SEEN` jobs of the present distribution."""
    rng, durations, now = random.Random(f"{seed}, {history.name}"), DurationHistory(), START
    for _ in range(history.before):
        durations, now = _job(durations, history.earlier or history.distribution, rng, now), now + EVERY
    for number in range(1, max(SEEN) + 1):
        if history.absurd and rng.random() < history.absurd:
            durations = learning.observe(durations, rng.choice([1.0, 86_399.0]), now + DAY)
        else:
            durations = _job(durations, history.distribution, rng, now)
        now += EVERY
        if number in SEEN:
            yield learning.fit_distribution(durations)


def _job(
    durations: DurationHistory, distribution: TrueDistribution, rng: random.Random, begun: Instant
) -> DurationHistory:
    took = distribution.sample(rng)
    if took is None:
        return learning.observe_unfinished(durations, begun + DAY)
    return learning.observe(durations, took, begun + round(took * 1_000))
