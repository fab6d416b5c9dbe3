"""A distribution as a table: rising, and its readings agree with each other."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.polling.schedule.duration_distribution import AGES, MAX_AGE, from_cdf_table, lognormal_cdf, tabulate

DISTRIBUTION = tabulate(lambda age: lognormal_cdf(age, 300, 0.35), never=0.1)
ages = st.floats(0, 2 * MAX_AGE)


def test_the_table_matches_its_distribution() -> None:
    """Between its ages too, a distribution is the distribution it tabulates, less those that never end."""
    for age in (100.0, 299.0, 300.0, 512.3):
        assert DISTRIBUTION.cdf(age) == pytest.approx(0.9 * lognormal_cdf(age, 300, 0.35), abs=0.002)
    assert DISTRIBUTION.survival(MAX_AGE) == pytest.approx(0.1)
    assert [DISTRIBUTION.median, DISTRIBUTION.p90] == pytest.approx([300, 469.8], rel=0.01)


def test_the_mean_is_that_of_the_jobs_that_end() -> None:
    """∫ x dF over all ages is the mean of the distribution times the share that ends."""
    assert DISTRIBUTION.cdf_and_partial_mean(MAX_AGE)[1] == pytest.approx(0.9 * 300 * math.exp(0.35**2 / 2), rel=0.001)


@given(ages, ages)
def test_probability_and_mean_rise_with_age(one: float, other: float) -> None:
    """F and ∫ x dF never fall, and stay within their bounds."""
    (low, low_mean), (high, high_mean) = (
        DISTRIBUTION.cdf_and_partial_mean(min(one, other)),
        DISTRIBUTION.cdf_and_partial_mean(max(one, other)),
    )
    assert 0 <= low <= high <= 1
    assert 0 <= low_mean <= high_mean
    assert high_mean - low_mean <= max(one, other) * (high - low) + 1e-9


@given(st.floats(0.001, 0.999))
def test_a_quantile_is_where_that_share_has_ended(share: float) -> None:
    """The distribution at its own quantile gives the share back."""
    assert DISTRIBUTION.cdf(DISTRIBUTION.quantile(share)) == pytest.approx(0.9 * share, abs=1e-6)


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_any_numbers_make_a_distribution(seed: int, never: float) -> None:
    """However rough the estimate it is made of, a distribution rises and stays a probability."""
    rng = Random(seed)  # drawn one by one, hundreds of numbers take Hypothesis seconds
    distribution = from_cdf_table([rng.uniform(-1, 2) for _ in AGES], never)
    assert all(
        0 <= one <= other <= 1 for one, other in zip(distribution.cdf_table, distribution.cdf_table[1:], strict=False)
    )
