"""Tables on the terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from relay.cli.table import format_rows, show_table, strip_control_chars

Row = tuple[str, str | None]


COLUMNS = {"id": lambda row: row[0], "name": lambda row: row[1]}


def test_rows_are_lines() -> None:
    """However long, a row is one line, its columns beneath each other by what characters take on a terminal."""
    rows: list[Row] = [("dlv_01", "x" * 300), ("dlv_0002", None), ("価格", "y")]
    assert format_rows(rows, COLUMNS) == ["id        name", "dlv_01    " + "x" * 300, "dlv_0002", "価格      y"]


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """No titles without rows."""
    none: list[Row] = []
    show_table(none, COLUMNS)
    assert capsys.readouterr().out == "nothing yet\n"


@given(st.text(), st.text())
def test_names_are_only_names(id: str, name: str) -> None:
    """Whatever a scenario is called, brackets, line breaks and escapes included, it is printed as text."""
    assert strip_control_chars(id).isprintable()
    assert len(strip_control_chars(name)) == len(name)
    _, line = format_rows([(id, name)], COLUMNS)
    plain_id = strip_control_chars(id)
    assert line == f"{plain_id}{' ' * max(2 - cell_len(plain_id), 0)}  {strip_control_chars(name)}".rstrip()
