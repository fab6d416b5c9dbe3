"""The geometry of the plots, and how spans are written."""

from hypothesis import given
from hypothesis import strategies as st

from relay.model import DAY, HOUR, MINUTE, SECOND
from relay.store.summaries import Hour
from relay.web.dashboard import plots, words
from relay.web.dashboard.plots import HEIGHT, LEFT, WIDTH, Lane, Moment


@given(st.lists(st.tuples(*[st.integers(0, 10**6)] * 3), min_size=1, max_size=48))
def test_stacked_bars_fill_the_box_and_lose_nothing(counts: list[tuple[int, int, int]]) -> None:
    """The fullest hour is as high as the box, no bar leaves it, and the table has every count."""
    hours = [Hour(HOUR * k, *three) for k, three in enumerate(counts)]
    drawn = plots.hourly(hours)
    assert drawn.total == sum(map(sum, counts))
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH + 1e-6 for bar in drawn.bars)
    assert all(bar.y >= -1e-6 and bar.y + bar.height <= HEIGHT + 1e-6 for bar in drawn.bars)
    if drawn.highest:
        assert abs(sum(bar.height for bar in drawn.bars) - HEIGHT * drawn.total / drawn.highest) < 1e-3
    assert sum(int(cell) for row in drawn.rows for cell in row[1:]) == drawn.total


@given(st.lists(st.integers(0, DAY)))
def test_histogram_counts_each_once(delays: list[int]) -> None:
    """Every delay is in one bar, a delay on an edge in the bar that says "at most"."""
    drawn = plots.histogram(delays)
    assert drawn.total == len(delays) == sum(int(row[1].replace(",", "")) for row in drawn.rows)
    assert plots.histogram([5 * SECOND]).rows[2] == ("≤ 5 s", "1")
    assert plots.histogram([HOUR]).rows[-1] == ("> 15 min", "1")


@given(st.lists(st.integers(0, 10**9), min_size=1), st.floats(0.01, 1))
def test_quantile_is_one_of_the_values(values: list[int], share: float) -> None:
    """At least `share` of the values are at most the quantile, and fewer below it."""
    found = plots.quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


instants = st.integers(1_700_000_000_000, 1_700_000_000_000 + 30 * DAY)


@given(st.lists(st.lists(st.tuples(instants, st.none() | st.integers(0, DAY)), max_size=20), max_size=5))
def test_timeline_keeps_the_order_of_time(lanes: list[list[tuple[int, int | None]]]) -> None:
    """Later is never further left; everything is between the axis' ends; nothing is left out of the table."""
    made = [
        Lane(str(k), tuple(Moment(at, "look", str(at), None if lasts is None else at + lasts) for at, lasts in lane))
        for k, lane in enumerate(lanes)
    ]
    drawn = plots.timeline(made)
    moments = sum(len(lane) for lane in lanes)
    assert (drawn is None) == (moments == 0)
    assert len(plots.moments(made)) == moments
    if drawn is not None:
        spots = sorted((int(spot.title), spot.x) for lane in drawn.lanes for spot in lane.spots)
        assert [x for _, x in spots] == sorted(x for _, x in spots)
        assert all(LEFT <= x <= WIDTH for _, x in spots)


def test_long_waits_are_drawn_shorter() -> None:
    """Two hours take ten times, not a hundred times, the room of 72 seconds."""
    lane = Lane("x", tuple(Moment(at, "look", "") for at in (1, 1 + 72 * SECOND, 1 + 72 * SECOND + 2 * HOUR)))
    drawn = plots.timeline([lane])
    assert drawn is not None
    first, second, third = (spot.x for spot in drawn.lanes[0].spots)
    assert round((third - second) / (second - first)) == 10


@given(*[st.floats(0, 1e6)] * 3, st.floats(0, 1), st.none() | st.floats(-1e6, 1e6))
def test_progress_stays_on_the_bar(
    age: float, median: float, p90: float, share: float, following: float | None
) -> None:
    """Whatever the law and the age, every mark is between 0 and 100 per cent."""
    drawn = plots.progress(age, median, p90, share, following)
    marks = [drawn.elapsed, drawn.median, drawn.p90, drawn.next_look or 0]
    assert all(0 <= mark <= 100 for mark in marks)


def test_looks_of_the_last_day_by_hour() -> None:
    """Each look is in its own hour; older ones and those of a clock that was ahead are left out."""
    now = 100 * DAY + 30 * MINUTE
    drawn = plots.spread([(now, 3), (now - HOUR, 2), (now - 25 * HOUR, 9), (now + HOUR, 9)], now)
    assert drawn.total == 5
    assert drawn.rows == (("23:00", "2"), ("00:00", "3"))


def test_spans_in_words() -> None:
    """Two units at the most, the short ones exact."""
    spans = [0, 350, 4_200, 10 * SECOND, 59_600, 185 * SECOND, HOUR, 51 * HOUR, 2 * DAY]
    said = ["0 ms", "350 ms", "4.2 s", "10 s", "1 min", "3 min 5 s", "1 h", "2 d 3 h", "2 d"]
    assert [words.span(ms) for ms in spans] == said
    assert words.ago(None, 0) == "never"
    assert words.ago(5_000, 10_000) == "5 s ago"
    assert words.ago(10_000, 5_000) == "in 5 s"
    assert (words.count(1, "look"), words.count(2_000, "look")) == ("1 look", "2,000 looks")
