"""The demo's table."""

from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from relay.cli.demo import _table
from relay.sandbox.demo import Row
from tests.make import NOON

ROWS = [
    Row(job_id="j1o2b3i4d5x6", status="processing", polls=12),
    Row(
        job_id="j1o2b3i4d5x7",
        status="completed",
        polls=123,
        headline='Scenario "Executive briefing, with \x1b[31m brackets [bold] and a very long name" is ready' * 2,
        ended_at=NOON,
        received_at=NOON + 12_345,
        verified=True,
    ),
]


@pytest.mark.parametrize("width", [80, 100, 130, 160])
def test_the_table_fits_the_terminal(width: int) -> None:
    """One line for each job; ids, statuses, delays and verdicts are whole, and the message is shortened."""
    output = StringIO()
    Console(file=output, width=width, force_terminal=True, color_system=None).print(_table(ROWS))
    lines = output.getvalue().splitlines()
    assert len(lines) == 1 + len(ROWS)
    assert max(map(cell_len, lines)) <= width
    for text in ("j1o2b3i4d5x7", "completed", "123", "12.35 s", "✓ verified", "Scenario", "…"):
        assert text in lines[2]
    assert "\x1b" not in lines[2]
