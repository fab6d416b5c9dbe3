"""Estimating a distribution: by hand where that can be done, by its invariants elsewhere."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.polling.schedule.density_estimate import (
    change_point,
    gaussian_mixture_cdf,
    kaplan_meier,
    kernel_bandwidths,
)

values = st.lists(st.tuples(st.floats(-3, 11), st.floats(0.01, 1)), max_size=30)


@given(values, values)
def test_shares_sum_to_one(ended: list[tuple[float, float]], going: list[tuple[float, float]]) -> None:
    """The shares of ended jobs and of longer ones sum to one, for any observations."""
    shares, longer = kaplan_meier(ended, going)
    assert all(share >= 0 for share in shares)
    if ended or going:
        assert sum(shares) + longer == pytest.approx(1)


@given(values.filter(bool))
def test_without_running_jobs_shares_are_weights(ended: list[tuple[float, float]]) -> None:
    """If all jobs have ended, each counts by its weight."""
    shares, longer = kaplan_meier(ended, [])
    total = sum(weight for _, weight in ended)
    assert shares == pytest.approx([weight / total for _, weight in ended])
    assert longer == pytest.approx(0)


def test_kaplan_meier_matches_the_textbook_case() -> None:
    """Of four, at 1 and 3 one ended, at 2 one was last seen going, at 4 another: 1/4, then half of what is left."""
    shares, longer = kaplan_meier([(3.0, 1.0), (1.0, 1.0)], [(2.0, 1.0), (4.0, 1.0)])
    assert shares == pytest.approx([0.375, 0.25])
    assert longer == pytest.approx(0.375)


def test_the_fast_mixture_equals_the_plain_sum() -> None:
    """The fast sum equals the plain sum."""
    points = [k / 10 for k in range(-60, 120)]
    kernels = [(0.0, 0.5, 0.3), (4.0, 1.5, 0.6), (5.0, 0.02, 0.1)]
    plain = [sum(0.5 * w * math.erfc((c - x) / (s * math.sqrt(2))) for c, s, w in kernels) for x in points]
    assert gaussian_mixture_cdf(points, kernels) == pytest.approx(plain, abs=1e-4)


@given(st.lists(st.floats(-3, 11), min_size=1, max_size=60))
def test_a_bandwidth_is_never_zero(logs: list[float]) -> None:
    """Equal observations get kernels with a width above zero."""
    assert all(0.02 <= width < 20 for width in kernel_bandwidths(logs, 0.3))


def test_a_few_long_jobs_are_not_spread_over_the_gap_before_them() -> None:
    """Six jobs of three hours beside 294 of five minutes: their kernels end long before the five minutes."""
    rng = random.Random(1)
    usual = [rng.gauss(math.log(300), 0.35) for _ in range(294)]
    long = [math.log(10_800) + spread for spread in (-0.15, -0.08, -0.02, 0.03, 0.1, 0.17)]
    widths = kernel_bandwidths([*usual, *long], 0.3)[-6:]
    assert max(widths) < 0.6
    assert min(widths) > 0.15


def test_the_neighbours_of_a_few_alike_are_counted_by_hand() -> None:
    """Four values at 10 to 13 among 100: the width is 0.65 of the distance that the third neighbour gives."""
    widths = kernel_bandwidths([*(k / 1_000 for k in range(96)), 10.0, 11.0, 12.0, 13.0], 0.3)
    assert widths[-4:] == pytest.approx([0.65 * 8.0, 0.65 * 16 / 3, 0.65 * 16 / 3, 0.65 * 8.0], rel=0.01)


def test_a_second_mode_does_not_blur_the_first() -> None:
    """Forty failures at 30 s and sixty successes at 300 s: the kernels stay far narrower than the space between."""
    rng = random.Random(1)
    logs = [rng.gauss(math.log(30), 0.2) for _ in range(40)] + [rng.gauss(math.log(300), 0.2) for _ in range(60)]
    assert max(kernel_bandwidths(logs, 0.3)) < 0.5


def test_a_change_of_distribution_is_detected_and_no_other() -> None:
    """Twenty jobs of twice the duration are enough; a thousand of one distribution, polled after each, are not."""
    rng = random.Random(1)
    logs = [rng.gauss(5.7, 0.35) for _ in range(1_000)]
    assert all(change_point(logs[max(0, k - 200) : k], 2.1) == 0 for k in range(1_000))
    assert change_point(logs[:150] + [log + math.log(2) for log in logs[150:170]], 2.1) >= 140
