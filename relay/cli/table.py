"""Tables: fitted to the width of a terminal; whole, with tabs between cells, in a pipe or a file."""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import click
from rich.cells import cell_len, set_cell_size

from relay.cli.output import strip_control_chars
from relay.model import DAY, HOUR, MINUTE, SECOND, Instant, from_rfc3339
from relay.process import system_clock

Row = TypeVar("Row")

_GAP = 2
_MIN_FLEXIBLE = 12
_UNITS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s"))


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """How a column reads its cell, and how it gives way on a narrow terminal."""

    read: Callable[[Row], object]
    flexible: bool = False
    """Long cells are shortened. Ids and statuses never are."""
    optional: bool = False
    """Left out if there is no room; the last optional column goes first."""
    is_time: bool = False
    """An RFC 3339 text, shown on a terminal as `3 m ago` or `in 5 s`."""
    short: Callable[[str], str] | None = None
    """How a terminal shows the text, if not in full."""


def show_table(rows: Sequence[Row], columns: Mapping[str, Column[Row]]) -> None:
    """Prints a line for each row; None is an empty cell. Standard output stays empty if there are no rows."""
    if not rows:
        click.echo("nothing yet", err=True)
        return
    if not sys.stdout.isatty():
        click.echo("\n".join(tab_separated(rows, columns)))
        return
    titles, *lines = fit_to_width(rows, columns, shutil.get_terminal_size().columns, system_clock())
    click.echo("\n".join([click.style(titles, bold=True), *lines]))


def tab_separated(rows: Sequence[Row], columns: Mapping[str, Column[Row]]) -> list[str]:
    """The titles and the rows in full, for other programs."""
    cells = [[_text(column.read(row)) for column in columns.values()] for row in rows]
    return ["\t".join(line) for line in [list(columns), *cells]]


def fit_to_width(rows: Sequence[Row], columns: Mapping[str, Column[Row]], width: int, now: Instant) -> list[str]:
    """The titles and the rows, at most `width` cells wide unless ids and statuses alone are wider."""
    visible = dict(columns)
    while True:
        lines = [list(visible), *([_cell(column, row, now) for column in visible.values()] for row in rows)]
        widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]
        min_widths = [
            min(natural, max(_MIN_FLEXIBLE, cell_len(title))) if column.flexible else natural
            for (title, column), natural in zip(visible.items(), widths, strict=True)
        ]
        available = width - _GAP * (len(visible) - 1)
        dropped = next((title for title in reversed(visible) if visible[title].optional), None)
        if sum(min_widths) <= available or dropped is None:
            break
        del visible[dropped]
    return [_line(line, _shrink(widths, min_widths, available)) for line in lines]


def _shrink(widths: Sequence[int], min_widths: Sequence[int], available: int) -> list[int]:
    """The widths, the widest flexible columns narrowed until all fit into the room."""
    fitted_widths = list(widths)
    while sum(fitted_widths) > available:
        widest = max(
            range(len(fitted_widths)),
            key=lambda number: (fitted_widths[number] > min_widths[number], fitted_widths[number]),
        )
        if fitted_widths[widest] == min_widths[widest]:
            break
        fitted_widths[widest] -= 1
    return fitted_widths


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return (" " * _GAP).join(map(_sized, cells, widths)).rstrip()


def _sized(cell: str, width: int) -> str:
    return set_cell_size(cell, width) if cell_len(cell) <= width else f"{set_cell_size(cell, width - 1)}…"


def _cell(column: Column[Row], row: Row, now: Instant) -> str:
    text = _text(column.read(row))
    if column.short is not None:
        return column.short(text)
    at = from_rfc3339(text) if column.is_time else None
    return text if at is None else relative_time(at, now)


def _text(value: object) -> str:
    return "" if value is None else strip_control_chars(str(value))


def relative_time(at: Instant, now: Instant) -> str:
    """`3 m ago`, `in 5 s`, `now`."""
    distance = abs(at - now)
    for unit, name in _UNITS:
        if distance >= unit:
            amount = f"{distance // unit} {name}"
            return f"in {amount}" if at > now else f"{amount} ago"
    return "now"
