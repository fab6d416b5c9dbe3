"""Plots as geometry, which the templates draw as SVG. Lengths are in the units of the picture's own box."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from relay.model import MINUTE, SECOND, Instant
from relay.store.summaries import Hour
from relay.web.dashboard.words import span

WIDTH = 720
HEIGHT = 150
_GAP = 2


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle and what it says."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    """A class of the style sheet: `good`, `bad`, `waiting`, `plain`."""
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    text: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart, and the same as rows of a table."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    highest: int
    rows: tuple[tuple[str, ...], ...]
    total: int


def hourly(hours: Sequence[Hour]) -> Bars:
    """Deliveries an hour, stacked: delivered at the bottom, then pending, then failed."""
    highest = max((sum(hour[1:]) for hour in hours), default=0)
    step = WIDTH / max(len(hours), 1)
    bars = []
    for place, hour in enumerate(hours):
        top = float(HEIGHT)
        for kind, count in (("good", hour.delivered), ("waiting", hour.pending), ("bad", hour.failed)):
            height = HEIGHT * count / highest if highest else 0.0
            top -= height
            if count:
                title = f"{_hour(hour.at)}: {count:,} {_STATUS[kind]}"
                bars.append(Bar(place * step + _GAP / 2, top, step - _GAP, height, kind, title))
    ticks = tuple(Tick(place * step, _hour(hours[place].at)) for place in range(0, len(hours), 4))
    rows = tuple(
        (_hour(hour.at), str(hour.delivered), str(hour.pending), str(hour.failed)) for hour in hours if sum(hour[1:])
    )
    return Bars(tuple(bars), ticks, highest, rows, sum(sum(hour[1:]) for hour in hours))


_STATUS = {"good": "delivered", "waiting": "pending", "bad": "failed"}


def _hour(at: Instant) -> str:
    return f"{at // (60 * MINUTE) % 24:02d}:00"


_EDGES = (1, 2, 5, 10, 20, 30, 60, 120, 300, 900)
"""Seconds; the last bar holds all that is longer."""


def histogram(delays: Sequence[int]) -> Bars:
    """How many deliveries came how long after the job's end; `delays` in milliseconds."""
    ordered = sorted(delays)
    bounds = [0, *(bisect_right(ordered, edge * SECOND) for edge in _EDGES), len(ordered)]
    counts = [high - low for low, high in pairwise(bounds)]
    highest, step = max(counts, default=0), WIDTH / len(counts)
    names = _names()
    labels = [f"{name}: {n:,}" for n, name in zip(counts, names, strict=True)]
    bars = _plain_bars(counts, labels, highest)
    ticks = tuple(Tick(k * step, name) for k, name in enumerate(names))
    rows = tuple((name, f"{n:,}") for n, name in zip(counts, names, strict=True))
    return Bars(bars, ticks, highest, rows, len(ordered))


def _plain_bars(counts: Sequence[int], labels: Sequence[str], highest: int) -> tuple[Bar, ...]:
    step = WIDTH / len(counts)
    heights = [HEIGHT * n / highest if highest else 0.0 for n in counts]
    return tuple(
        Bar(k * step + _GAP / 2, HEIGHT - height, step - _GAP, height, "plain", labels[k])
        for k, height in enumerate(heights)
        if height
    )


def _names() -> list[str]:
    texts = [span(edge * SECOND) for edge in _EDGES]
    return [f"≤ {text}" for text in texts] + [f"> {texts[-1]}"]


def quantile(values: Sequence[int], share: float) -> int | None:
    """The value below which `share` of them lie (nearest rank); None of none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None


# --- one job's life --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, or lasted until `until`."""

    at: Instant
    kind: str
    title: str
    until: Instant | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of a timeline."""

    name: str
    moments: tuple[Moment, ...]
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Spot:
    """A moment as drawn: a bar where it has a width, else a dot."""

    x: float
    width: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class DrawnLane:
    name: str
    link: str | None
    y: float
    spots: tuple[Spot, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Lanes above each other on one axis, on which long waits are drawn shorter: lengths are the roots of times."""

    lanes: tuple[DrawnLane, ...]
    ticks: tuple[Tick, ...]
    height: float


LANE = 34
LEFT = 130
_AXIS = WIDTH - LEFT - 20
_TICK_ROOM = 74


def timeline(lanes: Sequence[Lane]) -> Timeline | None:
    """The lanes drawn; None where nothing happened yet."""
    instants = sorted({at for lane in lanes for moment in lane.moments for at in (moment.at, moment.until) if at})
    if not instants:
        return None
    places = _places(instants)

    def x(at: Instant) -> float:
        return places[bisect_left(instants, at)]

    drawn = []
    for row, lane in enumerate(lanes):
        spots = (
            Spot(x(m.at), max(x(m.until) - x(m.at), 3) if m.until is not None else 0, m.kind, m.title)
            for m in lane.moments
        )
        drawn.append(DrawnLane(lane.name, lane.link, 14 + row * LANE, tuple(spots)))
    return Timeline(tuple(drawn), _ticks(instants, places), 14 + len(lanes) * LANE)


def moments(lanes: Sequence[Lane]) -> list[tuple[Moment, str]]:
    """Every moment with the name of its lane, in order of time: what the picture shows, as a table."""
    return sorted(((moment, lane.name) for lane in lanes for moment in lane.moments), key=lambda row: row[0].at)


def _places(instants: Sequence[Instant]) -> list[float]:
    roots = [0.0]
    for before, after in pairwise(instants):
        roots.append(roots[-1] + math.sqrt(after - before))
    return [LEFT + _AXIS * root / (roots[-1] or 1.0) for root in roots]


def _ticks(instants: Sequence[Instant], places: Sequence[float]) -> tuple[Tick, ...]:
    found: list[Tick] = []
    for at, x in zip(instants, places, strict=True):
        if not found or x - found[-1].x >= _TICK_ROOM:
            anchor = "end" if x > WIDTH - _TICK_ROOM else "start"
            found.append(Tick(x, f"+{span(at - instants[0])}" if found else "0", anchor))
    return tuple(found)


# --- one watch against the law ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """How old a job is beside how long jobs take; all in per cent of the bar's length."""

    elapsed: float
    median: float
    p90: float
    next_look: float | None
    share: int
    """Per cent of jobs that have ended by this age."""


def progress(age: float, median: float, p90: float, share: float, next_age: float | None) -> Progress:
    """Ages in seconds. The bar reaches a fifth beyond the 90th percentile, or beyond the age where that is more."""
    longest = 1.2 * max(p90, age, 1.0)

    def percent(seconds: float) -> float:
        return round(100 * min(max(seconds, 0.0) / longest, 1.0), 2)

    following = None if next_age is None else percent(next_age)
    return Progress(percent(age), percent(median), percent(p90), following, round(100 * share))


def spread(spent: Iterable[tuple[Instant, int]], now: Instant, hours: int = 24) -> Bars:
    """Looks spent in each of the last hours; `spent` is (instant, looks)."""
    width, first = 60 * MINUTE, now - now % (60 * MINUTE) - (hours - 1) * 60 * MINUTE
    counts = [0] * hours
    for at, looks in spent:
        if first <= at <= now:
            counts[min((at - first) // width, hours - 1)] += looks
    highest, step = max(counts), WIDTH / hours
    bars = _plain_bars(counts, [f"{_hour(first + k * width)}: {n:,} looks" for k, n in enumerate(counts)], highest)
    ticks = tuple(Tick(k * step, _hour(first + k * width)) for k in range(0, hours, 4))
    rows = tuple((_hour(first + k * width), str(n)) for k, n in enumerate(counts) if n)
    return Bars(bars, ticks, highest, rows, sum(counts))
