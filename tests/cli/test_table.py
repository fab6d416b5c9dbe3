"""Tables: fit_to_width to a terminal, whole in a pipe."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from relay.cli import deliveries, jobs
from relay.cli.output import strip_control_chars
from relay.cli.table import Column, fit_to_width, relative_time, show_table, tab_separated
from relay.model import DAY, HOUR, MINUTE, SECOND, to_rfc3339
from tests.make import NOON

Row = tuple[str, str | None]

COLUMNS: dict[str, Column[Row]] = {"id": Column(lambda row: row[0]), "name": Column(lambda row: row[1], flexible=True)}


def test_rows_are_lines() -> None:
    """The columns are aligned by the width of their characters on a terminal."""
    rows: list[Row] = [("dlv_01", "x" * 30), ("dlv_0002", None), ("価格", "y")]
    lines = fit_to_width(rows, COLUMNS, 80, NOON)
    assert lines == ["id        name", "dlv_01    " + "x" * 30, "dlv_0002", "価格      y"]


def test_long_names_are_shortened_and_ids_are_not() -> None:
    """Also if ids alone are wider than the terminal."""
    rows: list[Row] = [("dlv_01", "x" * 300)]
    assert fit_to_width(rows, COLUMNS, 20, NOON)[1] == "dlv_01  " + "x" * 11 + "…"
    assert fit_to_width([("i" * 50, "x" * 300)], COLUMNS, 20, NOON)[1] == "i" * 50 + "  " + "x" * 11 + "…"


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error: a program that reads the output gets no rows."""
    none: list[Row] = []
    show_table(none, COLUMNS)
    assert capsys.readouterr() == ("", "nothing yet\n")


def test_piped_rows_are_whole_and_separated_by_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    """However long, with a tab in a cell replaced, so that each line splits into the same columns."""
    show_table([("a\tb", "x" * 300), ("c", None)], COLUMNS)
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines == [["id", "name"], ["a·b", "x" * 300], ["c", ""]]


@given(st.text(), st.text(), st.integers(0, 200))
def test_cells_never_control_the_terminal(id: str, name: str, width: int) -> None:
    """Whatever a scenario is called: brackets, line breaks, escapes, C1, DEL and bidirectional marks."""
    for lines in (fit_to_width([(id, name)], COLUMNS, width, NOON), tab_separated([(id, name)], COLUMNS)):
        assert len(lines) == 2
        assert all(line.replace("\t", "").isprintable() for line in lines)
    assert strip_control_chars(id) in tab_separated([(id, name)], COLUMNS)[1]


@pytest.mark.parametrize(
    "character", ["\x1b", "\x7f", "\x80", "\x9b", "\u202e", "\u2066", "\u200b", "\n", "\r", "\ud800"]
)
def test_invisible_characters_are_shown_as_a_dot(character: str) -> None:
    """Nothing raw reaches a terminal."""
    assert strip_control_chars(f"a{character}b") == "a·b"


JOB = {
    "job_id": "j1o2b3i4d5x6",
    "state": "active",
    "job": {"status": "processing", "scenario": {"name": "A discovery call with a very sceptical IT director " * 3}},
    "polls": 123,
    "next_poll_at": to_rfc3339(NOON + 42 * SECOND),
    "next_poll_reason": "the job takes longer than nine of ten jobs, so that it is polled less often",
    "last_error": None,
}
DELIVERY = {
    "id": "dlv_01JC4ZJ5QX0000000000000000",
    "job_id": "j1o2b3i4d5x6",
    "status": "delivered",
    "created_at": to_rfc3339(NOON - 12 * MINUTE),
    "event_type": "job.completed",
    "endpoint": {"name": "the-sales-enablement-channel-of-the-northern-region", "url": "https://hooks.slack.com/…"},
    "attempts": 3,
    "next_attempt_at": to_rfc3339(NOON + 5 * MINUTE),
    "reason": "answered 503: the service is overloaded, please come back later and try this again " * 2,
}


@pytest.mark.parametrize("width", [80, 100, 130, 160])
@pytest.mark.parametrize(
    ("rows", "columns", "kept"),
    [
        ([JOB], jobs._COLUMNS, ["j1o2b3i4d5x6", "active", "processing", "in 42 s", "A discov"]),
        (
            [DELIVERY],
            deliveries._COLUMNS,
            ["dlv_01JC4ZJ5QX0000000000000000", "j1o2b3i4d5x6", "delivered", "12 m ago", "job.completed"],
        ),
    ],
)
def test_lists_fit_the_terminal(width: int, rows: list[Any], columns: dict[str, Column[Any]], kept: list[str]) -> None:
    """Ids, statuses and times are whole; names and reasons use what is left."""
    titles, line = fit_to_width(rows, columns, width, NOON)
    assert max(cell_len(titles), cell_len(line)) <= width
    for text in kept:
        assert text in line
    if width == 160:
        assert set(columns) <= set(titles.replace("  ", "\n").replace("\n ", "\n").split("\n"))


@pytest.mark.parametrize(
    ("distance", "text"),
    [(0, "now"), (-999, "now"), (5 * SECOND, "in 5 s"), (-90 * MINUTE, "1 h ago"), (3 * DAY + HOUR, "in 3 d")],
)
def test_times_are_relative(distance: int, text: str) -> None:
    """To one unit."""
    assert relative_time(NOON + distance, NOON) == text
