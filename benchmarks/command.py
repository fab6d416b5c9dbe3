"""A benchmark as a command: its parts measured one after the other, printed, and written into a page of the docs."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.tables import Report, rewritten

DOCS = Path(__file__).parent.parent / "docs"

Part = Callable[[bool], Report]
"""Measures; given True, a small part of it."""


def command(
    module: str, about: str, page: Path, parts: Mapping[str, Part], arguments: Sequence[str] | None = None
) -> int:
    """Runs the selected parts. Returns the exit code: 1 if something fails and no reason is known."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small part of it, in seconds")
    parser.add_argument("--only", choices=parts, nargs="+", help="some of the parts")
    parser.add_argument("--write-docs", action="store_true", help=f"write what was found into docs/{page.name}")
    asked = parser.parse_args(arguments)
    if asked.quick and asked.write_docs:
        parser.error("--quick measures too little to be written down; leave one of the two out")
    reports = {}
    for name in asked.only or parts:
        began = time.monotonic()
        reports[name] = report = parts[name](asked.quick)
        print(f"\n{report.text()}\n\n({name}: {time.monotonic() - began:.0f} s)", flush=True)
        if asked.write_docs:
            page.write_text(rewritten(page.read_text("utf-8"), {name: report}), "utf-8")
            if report.plot is not None:
                page.with_suffix(".svg").write_text(report.plot, "utf-8")
    failed = [check for report in reports.values() for check in report.checks if not check.passed]
    print(f"\n{len(failed)} of {sum(len(one.checks) for one in reports.values())} checks failed")
    return 1 if any(not check.why for check in failed) else 0
