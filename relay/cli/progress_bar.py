"""A progress bar for long work; only on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Yields a function to call with the amount done and the total."""
    columns, console = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()), Console(stderr=True)
    with Progress(TextColumn(title), *columns, console=console, disable=not console.is_terminal) as progress:
        row = progress.add_task("", total=None)
        yield lambda completed, total: progress.update(row, completed=completed, total=total)
