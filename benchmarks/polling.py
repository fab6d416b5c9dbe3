"""How soon the relay hears of the end, and for how many looks: `python -m benchmarks.polling`.

Two parts, on the relay's own planner and a virtual clock, seeds fixed: one job at a time against the best that any can
do (laws), and whole days within Exec's limits (days). `--quick` is a small part of it, in seconds; `--write-docs`
writes what was found into docs/polling.md and the plot beside it. Ends with 1 where something does not hold and no
reason is known.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import days, held
from benchmarks.plot import plot
from benchmarks.ratios import SEEDS
from benchmarks.tables import Report, rewritten

PAGE = Path(__file__).parent.parent / "docs" / "polling.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for. Returns how the program ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.polling", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small part of it, in seconds")
    parser.add_argument("--only", choices=PARTS, help="one of the parts")
    parser.add_argument("--write-docs", action="store_true", help="write what was found into docs/polling.md")
    asked = parser.parse_args(arguments)
    if asked.quick and asked.write_docs:
        parser.error("--quick measures too little to be written down; leave one of the two out")
    reports = {}
    for name in [asked.only] if asked.only else PARTS:
        began = time.monotonic()
        reports[name] = report = PARTS[name](asked.quick, asked.write_docs)
        print(f"\n{report.text()}\n\n({name}: {time.monotonic() - began:.0f} s)", flush=True)
    if asked.write_docs:
        PAGE.write_text(rewritten(PAGE.read_text("utf-8"), reports), "utf-8")
    failed = [check for report in reports.values() for check in report.checks if not check.passed]
    print(f"\n{len(failed)} of {sum(len(one.checks) for one in reports.values())} checks failed")
    return 1 if any(not check.why for check in failed) else 0


def _laws(quick: bool, write: bool) -> Report:
    print("One job at a time, seeds", *(SEEDS[:2] if quick else SEEDS))
    found = held.measure(quick)
    if write:
        PAGE.with_suffix(".svg").write_text(drawn(found), "utf-8")
    return held.report(found)


def drawn(found: held.Found) -> str:
    """The plot, as SVG."""
    return plot(
        "How late the end is heard of, by looks a job",
        "Jobs of five minutes in the median, lognormal with σ 0.35. The relay's curve lies on the optimum's from 2 to "
        "30 looks a job; a fixed interval is about twice as late, the median and then a fixed interval the later the "
        "more looks there are, and exponential backoff the latest of all.",
        ("looks a job", "mean delay, seconds"),
        held.curves(found),
    )


def _days(quick: bool, write: bool) -> Report:
    return days.report(quick)


PARTS: dict[str, Callable[[bool, bool], Report]] = {"laws": _laws, "days": _days}

if __name__ == "__main__":
    sys.exit(main())
