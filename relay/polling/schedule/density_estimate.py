"""Estimating a distribution of durations: sequences of numbers in, weights and widths out. Logarithms are natural.

The estimate is F(x) = Σ wₖ·Φ((ln x − ln xₖ)/bₖ) over the observed durations xₖ: `kaplan_meier` computes the shares
w, `kernel_bandwidths` the widths b, `gaussian_mixture_cdf` the sum. By hand: 100 s and 400 s, seen once each, with
widths of 0.5, make F(200 s) = ½·Φ(1.39) + ½·Φ(−1.39) = ½.

Sources: Kaplan and Meier, 'Nonparametric estimation from incomplete observations', J. ASA 53 (1958); Silverman,
'Density Estimation' (1986), whose sections are named below; Smirnov, 'Table for estimating the goodness of fit', Annals
of Mathematical Statistics 19 (1948), for `change_point`.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

MIN_WIDTH = 0.02
"""Timestamps are sometimes whole seconds: no kernel is narrower than this, on the logarithm of time."""
_TAIL = 4.0
_ALIKE = 3
"""A value with at least so many similar ones belongs to a group of its own."""


def kaplan_meier(
    ended: Sequence[tuple[float, float]], running: Sequence[tuple[float, float]]
) -> tuple[list[float], float]:
    """Kaplan and Meier's estimate (1958): the share of all observations that each ended one represents.

    `ended` and `running` are (value, weight); of a running one only a lower bound is known. Returns the share of each
    ended one, in the order given, and the remaining share, which lasts longer than the longest of them.
    """
    order = sorted(range(len(ended)), key=lambda k: ended[k][0])
    running_in_order = sorted(running)
    at_risk = sum(weight for _, weight in ended) + sum(weight for _, weight in running)
    shares, remaining, removed = [0.0] * len(ended), 1.0, 0
    for k in order:
        value, weight = ended[k]
        while removed < len(running_in_order) and running_in_order[removed][0] < value:
            at_risk -= running_in_order[removed][1]
            removed += 1
        shares[k] = remaining * min(weight / max(at_risk, weight), 1.0)
        remaining -= shares[k]
        at_risk -= weight
    return shares, max(remaining, 0.0) if removed < len(running_in_order) else 0.0


def kernel_bandwidths(logs: Sequence[float], fallback: float) -> list[float]:
    """The kernel width for each observation.

    Silverman's robust rule (1986, 3.30), with the spread of the shorter half, so that a second mode does not blur the
    first; for sparse observations the distance to near neighbours (5.3). `fallback` for fewer than 3.
    """
    n = len(logs)
    if n < 3:
        return [fallback] * n
    ordered = sorted(logs)
    mean = sum(ordered) / n
    deviation = math.sqrt(sum((x - mean) ** 2 for x in ordered) / (n - 1))
    half_size = (n + 1) // 2
    shorter_half = min(ordered[k + half_size - 1] - ordered[k] for k in range(n - half_size + 1))
    width = max(1.1 * min(deviation, shorter_half / 1.35) * math.pow(n, -0.2), MIN_WIDTH)
    neighbours = max(2, round(0.8 * math.sqrt(n)))
    return [max(width, 0.65 * _neighbour_distance(ordered, x, neighbours)) for x in logs]


def _neighbour_distance(ordered: Sequence[float], x: float, neighbours: int) -> float:
    """The distance from `x`, one of `ordered`, to the nearest but `neighbours`, by each of those from the third on.

    Among evenly spaced values the k-th is k/near as far away. The least of these estimates counts, so that a few
    similar values far from all others are not spread over the gap between. By hand, with near = 8: four values at 10,
    11, 12 and 13, all others at 0. The third neighbour of 10 is 3 away, so the eighth counts as 3 · 8/3 = 8 away, not
    as 10; that of 11 is 2 away, and its eighth counts as 5.3 away, not as 11.
    """
    n = len(ordered)
    index = bisect_left(ordered, x)
    low, high = max(index - neighbours, 0), min(index + neighbours, n - 1)
    distances = sorted(abs(value - x) for value in ordered[low : high + 1])
    return min(distances[k] * neighbours / k for k in range(min(_ALIKE, neighbours), neighbours + 1))


def gaussian_mixture_cdf(points: Sequence[float], kernels: Sequence[tuple[float, float, float]]) -> list[float]:
    """Σ weight·Φ((x − centre)/width) over `kernels` (centre, width, weight) at each of `points`, which rise."""
    totals = [0.0] * (len(points) + 1)
    for centre, width, weight in kernels:
        first = bisect_left(points, centre - _TAIL * width)
        last = bisect_right(points, centre + _TAIL * width)
        scale = -1 / (width * math.sqrt(2))
        before = 0.0
        for k in range(first, last):  # as differences, so that all above `last` get the full weight by one addition
            now = 0.5 * weight * math.erfc((points[k] - centre) * scale)
            totals[k] += now - before
            before = now
        totals[last] += weight - before
    sums, total = [], 0.0
    for difference in totals[:-1]:
        total += difference
        sums.append(total)
    return sums


def steps(points: Sequence[float], values: Sequence[float], shares: Sequence[float]) -> list[float]:
    """The sum of the shares of those values that are at most each of `points`, which rise: not smoothed."""
    totals = [0.0] * (len(points) + 1)
    for value, share in zip(values, shares, strict=True):
        totals[bisect_left(points, value)] += share
    return list(accumulate(totals[:-1]))


def change_point(values: Sequence[float], threshold: float) -> int:
    """The index of the first of `values`, oldest first, after the last change of their distribution; 0 if none is seen.

    Compares the newest 8 to 60 with those before them by Kolmogorov's and Smirnov's two-sample distance, scaled by
    √(nm/(n+m)): two samples of one distribution exceed 2.0 once in 1,500 times.
    """
    best, at = threshold, 0
    for newest in (8, 12, 18, 27, 40, 60):
        split = len(values) - newest
        if split < newest:
            break
        distance = _distance(sorted(values[:split]), sorted(values[split:]))
        scaled = distance * math.sqrt(split * newest / len(values))
        if scaled > best:
            best, at = scaled, split
    return at


def _distance(first: Sequence[float], second: Sequence[float]) -> float:
    return max(
        abs(bisect_right(first, x) / len(first) - bisect_right(second, x) / len(second)) for x in (*first, *second)
    )
