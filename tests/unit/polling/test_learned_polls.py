"""What is learned, by what it is for: polls nearly as good as with the distribution known, at as many polls."""

import random

import pytest
from _pytest.mark import ParameterSet
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.distributions import DISTRIBUTIONS, TrueDistribution
from benchmarks.schedules import START, at_polls, fixed, ours
from relay.model import DAY, MINUTE
from relay.model.duration_history import DurationHistory
from relay.polling.schedule.job_durations import fit_distribution, observe, observe_unfinished

SMOOTH, ROUGH = 1.10, 1.25
LIMITS = (ROUGH, SMOOTH, SMOOTH, SMOOTH, SMOOTH, ROUGH, ROUGH, ROUGH)
USUAL = DISTRIBUTIONS[1]
SHORT = (USUAL, DISTRIBUTIONS[5])
"""A smooth distribution and a rough one; all the others are tried at length."""


def some(true: TrueDistribution, *more: float) -> ParameterSet:
    """A case of a distribution, named after it."""
    return pytest.param(true, *more, id=true.name, marks=[] if true in SHORT else pytest.mark.long)


def lived(
    true: TrueDistribution, jobs: int, seed: int, known: DurationHistory | None = None, begin: int = START
) -> DurationHistory:
    """What is known after so many jobs, one each quarter of an hour, each seen as it ended."""
    rng, durations = random.Random(seed), known or DurationHistory()
    for number in range(jobs):
        took, begun = true.sample(rng), begin + number * 15 * MINUTE
        ended = None if took is None else begun + round(took * 1_000)
        durations = observe_unfinished(durations, begun + DAY) if took is None else observe(durations, took, ended)
    return durations


def worse(durations: DurationHistory, true: TrueDistribution, polls: float) -> float:
    """The delay over that with the distribution known, at as many polls a job."""
    learned, known = at_polls(true, ours(fit_distribution(durations)), polls), at_polls(true, ours(true.table), polls)
    assert learned is not None
    assert known is not None
    return learned / known


@pytest.mark.parametrize(
    ("true", "limit"), [some(one, limit) for one, limit in zip(DISTRIBUTIONS, LIMITS, strict=True)]
)
def test_after_a_hundred_jobs_polls_are_nearly_the_best(true: TrueDistribution, limit: float) -> None:
    """Every distribution, smooth or rough, at few polls and at many, two seeds."""
    ratios = [worse(lived(true, 100, seed), true, polls) for seed in (1, 2) for polls in (3, 10)]
    assert sum(ratios) / len(ratios) <= limit


@pytest.mark.parametrize("true", [some(one) for one in DISTRIBUTIONS])
def test_after_thirty_jobs_no_fixed_interval_is_better(true: TrueDistribution) -> None:
    """At four polls a job, of two seeds neither is later than the interval that costs as much."""
    interval = at_polls(true, fixed, 4)
    assert interval is not None
    for seed in (1, 2):
        assert (at_polls(true, ours(fit_distribution(lived(true, 30, seed))), 4) or interval) < interval


@pytest.mark.parametrize("times", [0.5, 2.0])
def test_thirty_jobs_after_a_shift_the_old_distribution_is_forgotten(times: float) -> None:
    """150 jobs of one distribution, then 30 that take half or twice as long: polls are as good as for a rough one."""
    shifted = USUAL.slower(times)
    for seed in (1, 2):
        known = lived(shifted, 30, seed, lived(USUAL, 150, seed + 10), START + 150 * 15 * MINUTE)
        assert worse(known, shifted, 5) <= ROUGH


@given(st.lists(st.floats(), max_size=5), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_impossible_durations_hardly_change_polls(absurd: list[float], rng: random.Random) -> None:
    """Up to five durations of any value at all among a hundred good ones cost less than a third."""
    durations = lived(USUAL, 100, 1)
    for number, seconds in enumerate(absurd):
        durations = observe(durations, seconds, START + rng.randrange(100) * 15 * MINUTE + number)
    assert worse(durations, USUAL, 5) <= 1.35
