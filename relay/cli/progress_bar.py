"""A bar that says how far a long piece of work has come; on a terminal only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yields what is to be told how much of how much is done."""
    columns, console = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()), Console(stderr=True)
    with Progress(TextColumn(what), *columns, console=console, disable=not console.is_terminal) as progress:
        row = progress.add_task("", total=None)
        yield lambda done, of: progress.update(row, completed=done, total=of)
