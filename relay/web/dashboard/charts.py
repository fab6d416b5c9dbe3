"""Plots as geometry, which the templates draw as SVG: across in per cent of the picture's width, so that words in it
keep their size on any screen, and down in pixels."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from relay.model import HOUR, SECOND, Instant
from relay.store.tables.dashboard_queries import HourlyCounts
from relay.web.dashboard.template_filters import format_duration, pluralize

HEIGHT = 120
_MIN_BAR_HEIGHT = 2.0
"""Pixels: one failure among thousands is seen."""
_BAR_WIDTH = 0.76
"""Of a column's width."""
_EVERY = 4
"""Columns from one time on the axis to the next."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle of a column, from `y` downwards."""

    y: float
    height: float
    kind: str
    """A class of the style sheet: `good`, `bad`, `waiting`, `plain`."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what stands in it, what it says, and its row of the table."""

    x: float
    width: float
    bars: tuple[Bar, ...]
    label: str
    title: str
    cells: tuple[str, ...]
    at: Instant | None = None
    """The hour that `label` names, where it names one: a script writes it in the reader's own zone."""
    ticked: bool = False
    """Whether the axis bears the label."""

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart, and the same as rows of a table."""

    columns: tuple[Column, ...]
    top: int
    """What the upper edge stands for: even, so that half of it is a whole number."""
    total: int


Stack = Sequence[tuple[str, int]]
"""The counts of a column with their kinds, the lowest first."""


def _column(place: int, of: int, stack: Stack, top: int) -> tuple[float, float, tuple[Bar, ...]]:
    step, y, bars = 100 / of, float(HEIGHT), list[Bar]()
    for kind, number in stack:
        height = max(HEIGHT * number / top, _MIN_BAR_HEIGHT) if number else 0.0
        y = max(y - height, 0.0)
        if number:
            bars.append(Bar(round(y, 1), round(height, 1), kind))
    return round(step * (place + (1 - _BAR_WIDTH) / 2), 3), round(step * _BAR_WIDTH, 3), tuple(bars)


def _top(highest: int) -> int:
    """The least of 2, 4, 6, 8, 10, 20, ... that is not below `highest`."""
    power = int("1" + "0" * (len(str(highest)) - 1))
    return next(top for top in (2, 4, 6, 8, 10, *(power * k for k in (2, 4, 6, 8, 10))) if top >= highest)


def deliveries_per_hour(hours: Sequence[HourlyCounts]) -> Bars:
    """Deliveries an hour, stacked: delivered at the bottom, then pending, then failed."""
    top = _top(max((sum(hour[1:]) for hour in hours), default=0))
    columns = []
    for place, hour in enumerate(hours):
        stack = (("good", hour.delivered), ("waiting", hour.pending), ("bad", hour.failed))
        said = [f"{hour.delivered:,} delivered", f"{hour.pending:,} pending", f"{hour.failed:,} failed"]
        cells = tuple(str(number) for _, number in stack) if sum(hour[1:]) else ()
        drawn = _column(place, len(hours), stack, top)
        columns.append(_of_hour(drawn, place, hour.at, ", ".join(said) if cells else "nothing sent", cells))
    return Bars(tuple(columns), top, sum(sum(hour[1:]) for hour in hours))


def polls_per_hour(spent: Iterable[tuple[Instant, int]], now: Instant, hours: int = 24) -> Bars:
    """Polls spent in each of the last hours; `spent` is (instant, polls)."""
    first = now - now % HOUR - (hours - 1) * HOUR
    counts = [0] * hours
    for at, polls in spent:
        if first <= at <= now:
            counts[min((at - first) // HOUR, hours - 1)] += polls
    top = _top(max(counts))
    columns = [
        _of_hour(
            _column(place, hours, (("plain", number),), top),
            place,
            first + place * HOUR,
            pluralize(number, "poll"),
            (str(number),) if number else (),
        )
        for place, number in enumerate(counts)
    ]
    return Bars(tuple(columns), top, sum(counts))


def _of_hour(
    drawn: tuple[float, float, tuple[Bar, ...]], place: int, at: Instant, said: str, cells: tuple[str, ...]
) -> Column:
    label = f"{at // HOUR % 24:02d}:00"
    return Column(*drawn, label, f"{label}: {said}", cells, at, ticked=place % _EVERY == 0)


_EDGES = (1, 2, 5, 10, 20, 30, 60, 120, 300, 900)
"""Seconds; the last bar holds all that is longer."""


def histogram(delays: Sequence[int]) -> Bars:
    """How many deliveries came how long after the job's end; `delays` in milliseconds."""
    ordered = sorted(delays)
    bounds = [0, *(bisect_right(ordered, edge * SECOND) for edge in _EDGES), len(ordered)]
    counts = [high - low for low, high in pairwise(bounds)]
    top = _top(max(counts))
    labels = [*(format_duration(edge * SECOND) for edge in _EDGES), "longer"]
    columns = [
        Column(
            *_column(place, len(counts), (("plain", number),), top),
            label,
            f"{pluralize(number, 'delivery', 'deliveries')} "
            f"{'took longer' if label == 'longer' else f'within {label}'}",
            (f"{number:,}",),
            ticked=place % 2 == 0,
        )
        for place, (label, number) in enumerate(zip(labels, counts, strict=True))
    ]
    return Bars(tuple(columns), top, len(ordered))


def quantile(values: Sequence[int], share: float) -> int | None:
    """The value below which `share` of them lie (nearest rank); None of none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None


# --- a budget, used and expected -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gauge:
    """Polls beside what is allowed, all in per cent of the bar's length."""

    used: float
    expected: float
    """0 where nothing is known of it."""
    allowed: float
    """Where the allowance ends: short of 100 where more is expected than that."""
    scarce: bool
    """Whether nine tenths are used."""


def gauge(used: int, expected: int | None, allowed: int) -> Gauge:
    """The longest of the three reaches the end of the bar."""
    longest = max(used, expected or 0, allowed, 1)
    used_up, coming, most = (round(100 * number / longest, 2) for number in (used, expected or 0, allowed))
    return Gauge(used_up, coming, most, used >= 0.9 * allowed)


# --- one watch against the law ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """How old a job is beside how long jobs take; all in per cent of the bar's length."""

    elapsed: float
    median: float
    p90: float
    next_poll: float | None
    share: int
    """Per cent of jobs that have ended by this age."""


def progress(age: float, median: float, p90: float, share: float, next_age: float | None) -> Progress:
    """Ages in seconds. The bar reaches a fifth beyond the 90th percentile, or beyond the age where that is more."""
    longest = 1.2 * max(p90, age, 1.0)

    def percent(seconds: float) -> float:
        return round(100 * min(max(seconds, 0.0) / longest, 1.0), 2)

    following = None if next_age is None else percent(next_age)
    return Progress(percent(age), percent(median), percent(p90), following, round(100 * share))
