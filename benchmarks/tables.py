"""The results of a benchmark: tables and checks, as text for a terminal and as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """Rows under a head, the first column left-aligned, all others right-aligned."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """As Markdown, its columns aligned."""
        cells = [list(self.head), *(list(row) for row in self.rows)]
        wide = [max(3, *(len(row[k]) for row in cells)) for k in range(len(self.head))]
        lines = [
            _line(cell.ljust(wide[k]) if not k else cell.rjust(wide[k]) for k, cell in enumerate(r)) for r in cells
        ]
        rule = _line("-" * width if not k else "-" * (width - 1) + ":" for k, width in enumerate(wide))
        return "\n".join([f"**{self.title}**", "", lines[0], rule, *lines[1:]])


@dataclass(frozen=True)
class Check:
    """One limit of the relay, and what was measured; `why` is the known reason if it fails."""

    what: str
    held_to: str
    measured: str
    passed: bool
    why: str = ""


@dataclass(frozen=True)
class Report:
    """The results of one part of the benchmark: `bound` is the title of the column of limits, `plot` is an SVG."""

    tables: Sequence[Table]
    checks: Sequence[Check] = field(default_factory=tuple)
    notes: Sequence[str] = field(default_factory=tuple)
    bound: str = "at most"
    plot: str | None = None

    def text(self) -> str:
        """Notes, all tables, then the checks, each with pass or FAIL."""
        rows = [[one.what, one.held_to, one.measured, "pass" if one.passed else "FAIL"] for one in self.checks]
        held = [Table("Held to", ("what", self.bound, "measured", "pass?"), rows)] if rows else []
        reasons = [f"FAIL, {one.what}: {one.why}" for one in self.checks if not one.passed and one.why]
        return "\n\n".join([*self.notes, *(table.text() for table in (*self.tables, *held)), *reasons])


def rewritten(page: str, reports: Mapping[str, Report]) -> str:
    """The page with the text of each report between its marks, such as `<!-- days -->` and `<!-- end of days -->`."""
    for name, report in reports.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"the page has no place for {name}: it needs the lines {begin} and {end}")
        page = f"{before}{begin}\n\n{report.text()}\n\n{end}{after}"
    return page


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
