"""How soon the relay hears of the end, and for how many polls: `python -m benchmarks.polling`.

Four parts measure the relay's own planner on a virtual clock, with fixed seeds: one job at a time against the best
possible schedule (distributions), whole days within Exec's limits (days), days that are short of polls (scarce), and
jobs that ended before they were registered (ended).
`--quick` runs a small part in seconds; `--write-docs` writes the results and the plot into docs/polling.md. Ends with 1
if something does not hold and no reason is known.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

from benchmarks import already_ended, days, held, scarce_days
from benchmarks.command import DOCS, Part, command
from benchmarks.plot import Axis, plot
from benchmarks.ratios import SEEDS
from benchmarks.tables import Report

PAGE = DOCS / "polling.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for. Returns how the program ends."""
    return command("benchmarks.polling", __doc__, PAGE, PARTS, arguments)


def _distributions(quick: bool) -> Report:
    print("One job at a time, seeds", *(SEEDS[:2] if quick else SEEDS))
    found = held.measure(quick)
    return replace(held.report(found), plot=drawn(found))


def drawn(found: held.Found) -> str:
    """The plot, as SVG."""
    return plot(
        "How late the end is heard of, by polls a job",
        "Jobs of five minutes in the median, lognormal with σ 0.35. The relay's curve lies on the optimum's from 2 to "
        "30 polls a job; a fixed interval is about twice as late, the median and then a fixed interval the later the "
        "more polls there are, and exponential backoff the latest of all.",
        (
            Axis("polls a job", (2, 3, 5, 10, 20, 30)),
            Axis("mean delay, seconds", (1, 2, 5, 10, 20, 50, 100, 200, 500)),
        ),
        held.curves(found),
    )


PARTS: dict[str, Part] = {
    "distributions": _distributions,
    "days": days.report,
    "scarce": scarce_days.report,
    "ended": already_ended.report,
}

if __name__ == "__main__":
    sys.exit(main())
