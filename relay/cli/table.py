"""Tables on the terminal: each row a line, as long as it is, so that ids can be copied and lines be searched."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import click
from rich.cells import cell_len, set_cell_size

Row = TypeVar("Row")


def show_table(rows: Sequence[Row], columns: Mapping[str, Callable[[Row], object]]) -> None:
    """Prints a row of cells for each row; a cell that is None stays empty."""
    if not rows:
        click.echo("nothing yet")
        return
    titles, *lines = format_rows(rows, columns)
    click.echo("\n".join([click.style(titles, bold=True), *lines]))


def format_rows(rows: Sequence[Row], columns: Mapping[str, Callable[[Row], object]]) -> list[str]:
    """The titles and the rows, their columns beneath each other."""
    lines = [list(columns), *([_cell(read(row)) for read in columns.values()] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(set_cell_size, line, widths)).rstrip() for line in lines]


def _cell(value: object) -> str:
    return "" if value is None else strip_control_chars(str(value))


def strip_control_chars(text: str) -> str:
    """Without what would move a terminal's cursor or turn its text around."""
    return "".join(one if one.isprintable() else "·" for one in text)
