"""Timetables against plain reckoning: the best ages, the polls they cost, and their bounds."""

import math
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model.duration_history import DurationHistory
from relay.polling.schedule.duration_distribution import MAX_AGE, DurationDistribution, lognormal_cdf, tabulate
from relay.polling.schedule.job_durations import fit_distribution, observe
from relay.polling.schedule.optimal_schedule import OptimalSchedule, longest_gap, optimal_schedule

DISTRIBUTIONS: dict[str, Callable[[float], float]] = {
    "tight": lambda age: lognormal_cdf(age, 300, 0.12),
    "usual": lambda age: lognormal_cdf(age, 300, 0.35),
    "wide": lambda age: lognormal_cdf(age, 300, 0.7),
    "two modes": lambda age: 0.3 * lognormal_cdf(age, 30, 0.3) + 0.7 * lognormal_cdf(age, 300, 0.2),
    "memoryless": lambda age: 1 - math.exp(-age / 400),
}
prices = st.floats(0.1, 3_000)


def cost(known: DurationDistribution, polls: tuple[float, ...], price: float) -> float:
    """E[delay] + price·E[polls] of polling these ages."""
    total, before, mean = 0.0, 0.0, 0.0
    for age in polls:
        ended, by_then = known.cdf_and_partial_mean(age)
        total += age * (ended - before) - (by_then - mean) + price * (1 - before)
        before, mean = ended, by_then
    return total


def moved(polls: tuple[float, ...], k: int, by: float) -> tuple[float, ...]:
    low, high = polls[k - 1] if k else 0.0, polls[k + 1]
    return (*polls[:k], min(max(polls[k] + by, low), high), *polls[k + 1 :])


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("price", [0.5, 50.0])
def test_no_change_of_a_poll_improves_the_schedule(name: str, price: float) -> None:
    """Moving a poll, dropping one, or adding one between two gains less than a hundredth."""
    known = tabulate(DISTRIBUTIONS[name])
    path = optimal_schedule(known, price).poll_ages
    best = cost(known, path, price)
    for k in range(len(path) - 1):
        gap = path[k] - (path[k - 1] if k else 0.0)
        others = [moved(path, k, gap / 8), moved(path, k, -gap / 8), path[:k] + path[k + 1 :]]
        others.append((*path[:k], path[k] - gap / 2, *path[k:]))
        assert all(cost(known, other, price) > 0.99 * best for other in others)


def test_the_exponential_case_of_barlow_hunter_and_proschan_holds() -> None:
    """For an exponential distribution the best gaps are all alike: e^(g/m) − 1 − g/m = price/m (their section 3)."""
    mean, price = 400.0, 20.0
    path = optimal_schedule(tabulate(DISTRIBUTIONS["memoryless"]), price).poll_ages
    low, high = 0.0, mean
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.exp(middle / mean) - 1 - middle / mean < price / mean else (low, middle)
    gaps = [other - one for one, other in zip((0.0, *path), path, strict=False)]
    assert gaps[:5] == pytest.approx([low] * 5, rel=0.03)


@pytest.mark.parametrize("name", ["usual", "two modes"])
def test_expected_polls_match_simulated_polls(name: str) -> None:
    """Over a thousand jobs of the distribution, the mean number of polls within an hour is what the table says."""
    known, rng = tabulate(DISTRIBUTIONS[name], never=0.05), random.Random(1)
    table = optimal_schedule(known, 8.0)
    made = 0
    for _ in range(4_000):
        share = rng.random()
        ends = known.quantile(share / 0.95) if share < 0.95 else math.inf
        age = 0.0
        while (next_age := table.next_age(age)) <= 3_600:
            made, age = made + 1, next_age
            if age >= ends:
                break
    assert made / 4_000 == pytest.approx(table.expected_polls_within(0.0, 3_600), rel=0.05)


@given(prices, st.lists(st.floats(1, 80_000), max_size=40), st.floats(0, 2 * MAX_AGE))
@settings(max_examples=60)
def test_a_gap_is_bounded_for_any_distribution_and_price(price: float, seen: list[float], age: float) -> None:
    """The next poll is a second later at least; ten minutes, eight times the age or the price at most (the grid being
    coarse).

    The price bounds the gap too because a poll saves at most the gap before it: after a gap shorter than the price, a
    poll cannot save what it costs. The price exceeds ten minutes only if the day has fewer polls than jobs.
    """
    assert longest_gap(age, price) == max(600.0, 8 * age, price)
    durations = DurationHistory()
    for seconds in seen:
        durations = observe(durations, seconds)
    gap = optimal_schedule(fit_distribution(durations), price).next_age(age) - age
    assert 1 <= gap <= 1.1 * longest_gap(age, price) + 60


@given(st.sampled_from(sorted(DISTRIBUTIONS)), prices)
@settings(max_examples=40)
def test_a_dearer_poll_is_rarer(name: str, price: float) -> None:
    """At a price half as high again, no more polls are expected."""
    known = tabulate(DISTRIBUTIONS[name])
    cheap, dear = optimal_schedule(known, price), optimal_schedule(known, 1.5 * price)
    assert dear.expected_polls_within(0.0, MAX_AGE) <= cheap.expected_polls_within(0.0, MAX_AGE) * 1.01


@given(st.sampled_from(sorted(DISTRIBUTIONS)), prices)
@settings(max_examples=40)
def test_poll_ages_follow_next_age_from_the_start(name: str, price: float) -> None:
    """The ages of the path rise, end with the distribution, and each is what `next_age` gives after the one before."""
    table: OptimalSchedule = optimal_schedule(tabulate(DISTRIBUTIONS[name]), price)
    age = 0.0
    for planned in table.poll_ages[:-1]:
        age = table.next_age(age)
        assert age == planned
    assert table.poll_ages[-1] == MAX_AGE


def test_polls_of_a_hanging_job_become_rare() -> None:
    """Long after all others have ended, a job is polled some dozen times in a day, ever more rarely, to the end."""
    durations = DurationHistory()
    rng = random.Random(1)
    for _ in range(100):
        durations = observe(durations, rng.lognormvariate(math.log(300), 0.35))
    late = [age for age in optimal_schedule(fit_distribution(durations), 5.0).poll_ages if age > 1_500]
    assert 5 <= len(late) <= 40
    gaps = [other - one for one, other in pairwise(late[:-1])]
    assert all(other > 0.95 * one for one, other in pairwise(gaps))
    assert optimal_schedule(fit_distribution(durations), 3_000).expected_polls_within(1_500, MAX_AGE) < 7


def test_a_first_poll_at_once_is_dropped_only_if_useless_and_expensive() -> None:
    """Jobs that were never over when registered, and a high price: then the first poll waits, else it does not."""
    known = tabulate(DISTRIBUTIONS["usual"])
    assert optimal_schedule(known, 50.0).poll_immediately
    assert optimal_schedule(known, 1.0, already_ended=0.02).poll_immediately
    assert not optimal_schedule(known, 50.0, already_ended=0.02).poll_immediately


@pytest.mark.parametrize(("price", "first"), [(20.0, 60.0), (100.0, 300.0)])
def test_the_case_to_check_by_hand(price: float, first: float) -> None:
    """One of four ends at 60 s, three at 300 s: the poll at 60 s is worth it while ¾ of a price is less than 60 s."""
    known = tabulate(lambda age: 0.0 if age < 59 else 0.25 if age < 299 else 1.0)
    assert optimal_schedule(known, price).poll_ages[0] == pytest.approx(first, rel=0.03)
