"""Charts as geometry that the templates draw as SVG.

Horizontal lengths are per cent of the width, so that text keeps its size on any screen; vertical lengths are pixels.
"""

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
"""Pixels: one failure among thousands stays visible."""
_BAR_WIDTH = 0.76
"""Share of a column's width."""
_TICK_EVERY = 4
"""Columns from one label on the axis to the next."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle of a column; `y` is its upper edge."""

    y: float
    height: float
    kind: str
    """A class of the style sheet: `good`, `bad`, `waiting`, `plain`."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its bars, its label and title, and its row of the table."""

    x: float
    width: float
    bars: tuple[Bar, ...]
    label: str
    title: str
    cells: tuple[str, ...]
    at: Instant | None = None
    """The hour of `label`, if it is one: a script writes it in the reader's time zone."""
    ticked: bool = False
    """Whether the axis shows the label."""

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart; its columns are also the rows of a table."""

    columns: tuple[Column, ...]
    top: int
    """The value of the upper edge: even, so that half of it is a whole number."""
    total: int


Stack = Sequence[tuple[str, int]]
"""The counts of a column with their kinds, the lowest bar first."""


def _column(index: int, columns: int, stack: Stack, top: int) -> tuple[float, float, tuple[Bar, ...]]:
    step, y, bars = 100 / columns, float(HEIGHT), list[Bar]()
    for kind, number in stack:
        height = max(HEIGHT * number / top, _MIN_BAR_HEIGHT) if number else 0.0
        y = max(y - height, 0.0)
        if number:
            bars.append(Bar(round(y, 1), round(height, 1), kind))
    return round(step * (index + (1 - _BAR_WIDTH) / 2), 3), round(step * _BAR_WIDTH, 3), tuple(bars)


def _top(highest: int) -> int:
    """The smallest of 2, 4, 6, 8, 10, 20, ... that is at least `highest`."""
    power = int("1" + "0" * (len(str(highest)) - 1))
    return next(top for top in (2, 4, 6, 8, 10, *(power * k for k in (2, 4, 6, 8, 10))) if top >= highest)


def deliveries_per_hour(hours: Sequence[HourlyCounts]) -> Bars:
    """Deliveries per hour, stacked: delivered at the bottom, then pending, then failed."""
    top = _top(max((sum(hour[1:]) for hour in hours), default=0))
    columns = []
    for index, hour in enumerate(hours):
        stack = (("good", hour.delivered), ("waiting", hour.pending), ("bad", hour.failed))
        texts = [f"{hour.delivered:,} delivered", f"{hour.pending:,} pending", f"{hour.failed:,} failed"]
        cells = tuple(str(number) for _, number in stack) if sum(hour[1:]) else ()
        geometry = _column(index, len(hours), stack, top)
        columns.append(_hour_column(geometry, index, hour.at, ", ".join(texts) if cells else "no deliveries", cells))
    return Bars(tuple(columns), top, sum(sum(hour[1:]) for hour in hours))


def polls_per_hour(buckets: Iterable[tuple[Instant, int]], now: Instant, hours: int = 24) -> Bars:
    """Polls in each of the last hours; each bucket is (instant, polls)."""
    first = now - now % HOUR - (hours - 1) * HOUR
    counts = [0] * hours
    for at, polls in buckets:
        if first <= at <= now:
            counts[min((at - first) // HOUR, hours - 1)] += polls
    top = _top(max(counts))
    columns = [
        _hour_column(
            _column(index, hours, (("plain", number),), top),
            index,
            first + index * HOUR,
            pluralize(number, "poll"),
            (str(number),) if number else (),
        )
        for index, number in enumerate(counts)
    ]
    return Bars(tuple(columns), top, sum(counts))


def _hour_column(
    geometry: tuple[float, float, tuple[Bar, ...]], index: int, at: Instant, text: str, cells: tuple[str, ...]
) -> Column:
    label = f"{at // HOUR % 24:02d}:00"
    return Column(*geometry, label, f"{label}: {text}", cells, at, ticked=index % _TICK_EVERY == 0)


_EDGES = (1, 2, 5, 10, 20, 30, 60, 120, 300, 900)
"""Seconds; the last bar counts all longer delays."""


def histogram(delays: Sequence[int]) -> Bars:
    """Deliveries by their delay after the job's end; `delays` in milliseconds."""
    ordered = sorted(delays)
    bounds = [0, *(bisect_right(ordered, edge * SECOND) for edge in _EDGES), len(ordered)]
    counts = [high - low for low, high in pairwise(bounds)]
    top = _top(max(counts))
    labels = [*(format_duration(edge * SECOND) for edge in _EDGES), "longer"]
    columns = [
        Column(
            *_column(index, len(counts), (("plain", number),), top),
            label,
            f"{pluralize(number, 'delivery', 'deliveries')} "
            f"{'took longer' if label == 'longer' else f'within {label}'}",
            (f"{number:,}",),
            ticked=index % 2 == 0,
        )
        for index, (label, number) in enumerate(zip(labels, counts, strict=True))
    ]
    return Bars(tuple(columns), top, len(ordered))


def quantile(values: Sequence[int], share: float) -> int | None:
    """The quantile of the values (nearest rank); None if there are no values."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None


# --- a budget, used and expected -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gauge:
    """Polls against the allowance, all in per cent of the bar's length."""

    used: float
    expected: float
    """0 if it is unknown."""
    allowed: float
    """The end of the allowance: below 100 if more polls are used or expected."""
    scarce: bool
    """Whether 90% of the allowance is used."""


def gauge(used: int, expected: int | None, allowed: int) -> Gauge:
    """The longest of the three reaches the end of the bar."""
    longest = max(used, expected or 0, allowed, 1)

    def percent(number: int) -> float:
        return round(100 * number / longest, 2)

    return Gauge(percent(used), percent(expected or 0), percent(allowed), used >= 0.9 * allowed)


# --- one job against the usual duration ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """A job's age against the usual duration; all in per cent of the bar's length."""

    elapsed: float
    median: float
    p90: float
    next_poll: float | None
    share: int
    """Per cent of jobs that ended by this age."""


def progress(age: float, median: float, p90: float, share: float, next_age: float | None) -> Progress:
    """Ages in seconds. The bar reaches a fifth beyond the 90th percentile, or beyond the age if it is greater."""
    longest = 1.2 * max(p90, age, 1.0)

    def percent(seconds: float) -> float:
        return round(100 * min(max(seconds, 0.0) / longest, 1.0), 2)

    next_poll = None if next_age is None else percent(next_age)
    return Progress(percent(age), percent(median), percent(p90), next_poll, round(100 * share))
