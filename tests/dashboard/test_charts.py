"""The geometry of the charts, and how durations are written."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from relay.model import DAY, HOUR, MINUTE, SECOND
from relay.store.tables.dashboard_queries import HourlyCounts
from relay.web.dashboard import charts, job_timeline, template_filters
from relay.web.dashboard.charts import HEIGHT, Bars
from relay.web.dashboard.job_timeline import TimelineEvent, TimelineRow

counts = st.integers(0, 10**6)


def fits(drawn: Bars) -> bool:
    """Whether columns are side by side, and bars between the top and the bottom."""
    ends = [0.0, *(column.x + column.width for column in drawn.columns)]
    apart = all(column.x >= end for column, end in zip(drawn.columns, ends, strict=False))
    bars = [bar for column in drawn.columns for bar in column.bars]
    return apart and ends[-1] <= 100 and all(bar.y >= 0 and bar.y + bar.height <= HEIGHT + 0.2 for bar in bars)


@given(st.lists(st.tuples(counts, counts, counts), min_size=1, max_size=48))
def test_stacked_bars_fit_and_lose_nothing(given: list[tuple[int, int, int]]) -> None:
    """No bar leaves the chart, the table has every count, and every count above 0 is visible."""
    drawn = charts.deliveries_per_hour([HourlyCounts(HOUR * k, *three) for k, three in enumerate(given)])
    assert fits(drawn)
    assert drawn.total == sum(map(sum, given)) == sum(int(cell) for column in drawn.columns for cell in column.cells)
    assert [len(column.bars) for column in drawn.columns] == [sum(map(bool, three)) for three in given]
    assert all(bar.height >= 2 for column in drawn.columns for bar in column.bars)


@given(counts)
def test_scale_is_round_and_even(highest: int) -> None:
    """The upper edge is a round, even number, and the highest bar more than a third of it."""
    top = charts.deliveries_per_hour([HourlyCounts(0, highest, 0, 0)]).top
    assert top % 2 == 0
    assert highest <= top <= max(3 * highest, 2)
    assert str(top).rstrip("0") in ("1", "2", "4", "6", "8")


@given(st.lists(st.integers(0, DAY)))
def test_histogram_counts_each_once(delays: list[int]) -> None:
    """Every delay is in one bar, a delay on an edge in the bar "within"."""
    drawn = charts.histogram(delays)
    assert fits(drawn)
    assert drawn.total == len(delays) == sum(int(column.cells[0].replace(",", "")) for column in drawn.columns)
    fives = charts.histogram([5 * SECOND]).columns[2]
    assert (fives.label, fives.cells, fives.title) == ("5 s", ("1",), "1 delivery within 5 s")
    assert charts.histogram([HOUR]).columns[-1].title == "1 delivery took longer"


@given(st.lists(st.integers(0, 10**9), min_size=1), st.floats(0.01, 1))
def test_quantile_is_one_of_the_values(values: list[int], share: float) -> None:
    """At least `share` of the values are at most the quantile, and fewer below it."""
    found = charts.quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


@given(counts, st.none() | counts, st.integers(0, 10**6))
def test_gauge_keeps_proportions(used: int, expected: int | None, allowed: int) -> None:
    """The longest of the three fills the bar, and the others are in proportion."""
    drawn = charts.gauge(used, expected, allowed)
    longest = max(used, expected or 0, allowed, 1)
    for shown, number in ((drawn.used, used), (drawn.expected, expected or 0), (drawn.allowed, allowed)):
        assert abs(shown - 100 * number / longest) < 0.01
    assert drawn.scarce is (used >= 0.9 * allowed)


NOW = 1_700_000_000_000 + 15 * DAY
instants = st.integers(1_700_000_000_000, 1_700_000_000_000 + 30 * DAY)
kinds = st.sampled_from(["poll", "planned"])


@given(st.lists(st.lists(st.tuples(instants, st.none() | st.integers(0, DAY), kinds), max_size=20), max_size=5))
def test_timeline_keeps_the_order_of_time(given: list[list[tuple[int, int | None, str]]]) -> None:
    """Later events are never further left; every event is on the axis and in the table; now is marked only if
    something is scheduled, between the past and the future. Labels never overlap, on phones neither."""
    made = [
        TimelineRow(
            str(k),
            tuple(TimelineEvent(at, kind, str(at), lasts if lasts is None else at + lasts) for at, lasts, kind in row),
        )
        for k, row in enumerate(given)
    ]
    drawn = job_timeline.layout(made, NOW)
    every = [event for row in given for event in row]
    assert (drawn is None) == (not every)
    assert len(job_timeline.as_table(made)) == len(every)
    if drawn is None:
        return
    marks = sorted((int(mark.title), mark.x) for row in drawn.rows for mark in row.marks)
    assert [x for _, x in marks] == sorted(x for _, x in marks)
    assert all(mark.x >= 0 and mark.x + mark.width <= 100.01 for row in drawn.rows for mark in row.marks)
    assert (drawn.now is not None) == any(kind == "planned" for *_, kind in every)
    if drawn.now is not None:
        assert all(x <= drawn.now if at <= NOW else x >= drawn.now for at, x in marks)
    phone_ticks = [tick for tick in drawn.ticks if not tick.is_minor]
    for ticks, room in ((drawn.ticks, 15), (phone_ticks, 30)):
        assert all(after.x - before.x >= room for before, after in pairwise(ticks))


def test_long_waits_are_shortened() -> None:
    """Two hours take ten times, not a hundred times, the room of 72 seconds."""
    row = TimelineRow(
        "x", tuple(TimelineEvent(at, "poll", "") for at in (1, 1 + 72 * SECOND, 1 + 72 * SECOND + 2 * HOUR))
    )
    drawn = job_timeline.layout([row], NOW)
    assert drawn is not None
    first, second, third = (mark.x for mark in drawn.rows[0].marks)
    assert round((third - second) / (second - first)) == 10


@given(*[st.floats(0, 1e6)] * 3, st.floats(0, 1), st.none() | st.floats(-1e6, 1e6))
def test_progress_stays_on_the_bar(age: float, median: float, p90: float, share: float, next_age: float | None) -> None:
    """For any distribution and age, every mark is between 0 and 100 per cent."""
    drawn = charts.progress(age, median, p90, share, next_age)
    marks = [drawn.elapsed, drawn.median, drawn.p90, drawn.next_poll or 0]
    assert all(0 <= mark <= 100 for mark in marks)


def test_polls_of_the_last_day_by_hour() -> None:
    """Each poll is in its own hour; older polls and polls in the future are left out."""
    now = 100 * DAY + 30 * MINUTE
    drawn = charts.polls_per_hour([(now, 3), (now - HOUR, 2), (now - 25 * HOUR, 9), (now + HOUR, 9)], now)
    assert drawn.total == 5
    assert [(column.label, column.at, *column.cells) for column in drawn.columns if column.cells] == [
        ("23:00", 100 * DAY - HOUR, "2"),
        ("00:00", 100 * DAY, "3"),
    ]


def test_durations_in_words() -> None:
    """At most two units; short durations are exact."""
    spans = [0, 350, 4_200, 10 * SECOND, 59_600, 185 * SECOND, HOUR, 51 * HOUR, 2 * DAY]
    texts = ["0 ms", "350 ms", "4.2 s", "10 s", "1 min", "3 min 5 s", "1 h", "2 d 3 h", "2 d"]
    assert [template_filters.format_duration(ms) for ms in spans] == texts
    assert template_filters.relative_time(None, 0) == "never"
    assert template_filters.time_of_day(HOUR + 2 * MINUTE + 3_004) == "01:02:03.004"
    assert template_filters.relative_time(5_000, 10_000) == "5 s ago"
    assert template_filters.relative_time(10_000, 5_000) == "in 5 s"
    assert (template_filters.pluralize(1, "poll"), template_filters.pluralize(2_000, "poll")) == (
        "1 poll",
        "2,000 polls",
    )


def test_scopes_in_words() -> None:
    """The text says what a key allows and what not."""
    all_scopes = "It allows you to see everything, register jobs, change endpoints and resend."
    read_only = "It allows you to see everything, but not to register jobs, change endpoints or resend."
    assert template_filters.describe_scopes(["read", "register", "admin"]) == all_scopes
    assert template_filters.describe_scopes(["read"]) == f"{read_only} That needs another key."


def test_links_have_only_chosen_parameters() -> None:
    """Empty parameters are left out, special characters are encoded."""
    assert template_filters.url_with_query("/jobs", state="", workspace="") == "/jobs"
    assert (
        template_filters.url_with_query("/deliveries", status="failed", endpoint="a&b")
        == "/deliveries?status=failed&endpoint=a%26b"
    )
