"""Finds hours of the day at which jobs take longer, or less long, than at others: sequences of numbers in, hours out.

All ways to divide the day into two parts are compared, each an interval of whole hours and the rest, by the distance
between the durations of the jobs that began in each (Kolmogorov and Smirnov). A day on which jobs become slower for
good looks alike, and chance makes some hours look alike too: so the hours count only if they divide the jobs better by
a tenth than any moment before and after which they began. A part is divided again in the same way.

By hand: 80 jobs took two minutes on Monday morning, 80 took eight on Monday afternoon, and nine take two minutes on
Tuesday morning. By the hours, all 89 short jobs are on one side: the distance is 1, scaled √(89·80/169) = 6.49. By the
moment, Monday noon, 80 of the 89 later jobs are longer than all of the earlier: 80/89·√(80·89/169) = 5.83, less by
89/80 = 1.11. So nine jobs tell a pattern of the day from a change; if they take eight minutes, it is a change.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

_HOURS = 24
_CLASSES = 12
"""Durations are compared by the twelfths of all durations that they are in."""
_FEWEST = 8
"""Jobs that each part has at least."""
_DIFFERS = 2.5
"""The scaled distance of two parts that is more than chance: one distribution exceeds it once in 130,000 times, and
about 300 ways to divide a day are compared."""
_BETTER = 1.1
"""By how much the hours divide jobs better than any moment does."""

Counts = Sequence[int]
"""How many jobs are in each class of durations."""


def hour_of_day(start: float) -> int:
    """The hour of the day, in UTC, in which a job began; `start` in seconds since the epoch."""
    return int(start // 3_600) % _HOURS


def hours_like(jobs: Sequence[tuple[int, float]], hour: int) -> frozenset[int]:
    """The hours of the day whose jobs take as long as those of `hour`: all, if jobs don't differ by the hour.

    `jobs` are (start in seconds since the epoch, duration on any scale).
    """
    hours = frozenset(range(_HOURS))
    while (part := _divided(jobs, hours)) is not None:
        hours = part if hour in part else hours - part
        jobs = [job for job in jobs if hour_of_day(job[0]) in hours]
    return hours


def _divided(jobs: Sequence[tuple[int, float]], hours: frozenset[int]) -> frozenset[int] | None:
    """The interval of hours, among `hours`, whose jobs differ most from the others. None if a moment of change says
    more, or if nothing does."""
    if len(jobs) < 2 * _FEWEST:
        return None
    ordered = sorted(duration for _, duration in jobs)
    limits = [ordered[len(ordered) * k // _CLASSES] for k in range(1, _CLASSES)]
    classes = [bisect_left(limits, duration) for _, duration in jobs]
    of_hour = {hour: [0] * _CLASSES for hour in sorted(hours)}
    for (start, _), k in zip(jobs, classes, strict=True):
        of_hour[hour_of_day(start)][k] += 1
    total = [sum(column) for column in zip(*of_hour.values(), strict=True)]
    part, distance = max(
        ((part, _distance(counts, total)) for part, counts in _intervals(of_hour)), key=lambda one: one[1]
    )
    return part if distance > max(_DIFFERS, _BETTER * _greatest_change(jobs, classes, total)) else None


def _intervals(of_hour: dict[int, list[int]]) -> Iterator[tuple[frozenset[int], Counts]]:
    """Each interval of these hours with its counts. The rest of the day is the interval beyond midnight."""
    hours = list(of_hour)
    for begin in range(len(hours)):
        counts = [0] * _CLASSES
        for end in range(begin, len(hours)):
            counts = [one + other for one, other in zip(counts, of_hour[hours[end]], strict=True)]
            yield frozenset(hours[begin : end + 1]), counts


def _greatest_change(jobs: Sequence[tuple[int, float]], classes: Sequence[int], total: Counts) -> float:
    """The greatest distance between the jobs that began before a moment and those after it."""
    counts, greatest = [0] * _CLASSES, 0.0
    for _, k in sorted(zip(jobs, classes, strict=True)):
        counts[k] += 1
        greatest = max(greatest, _distance(counts, total))
    return greatest


def _distance(counts: Counts, total: Counts) -> float:
    """Kolmogorov's and Smirnov's distance between a part and the rest, scaled; 0 if one of them has too few jobs."""
    n, m = sum(counts), sum(total) - sum(counts)
    if n < _FEWEST or m < _FEWEST:
        return 0.0
    inside, all_jobs = accumulate(counts), accumulate(total)
    greatest = max(abs(one / n - (both - one) / m) for one, both in zip(inside, all_jobs, strict=True))
    return greatest * math.sqrt(n * m / (n + m))
