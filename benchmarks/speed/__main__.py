"""How near the relay comes to what two cores can do: `python -m benchmarks.speed`.

Everything is measured side by side and in turns: what is measured in processes of their own on one core, the receiver,
the database's server and whoever asks on the other. `--only deliveries polls` measures some of the parts; `--quick` a
small part of each, in seconds, which says that all of it works and no more; `--write-docs` writes what was found into
docs/performance.md and the plot beside it. Ends with 1 where something does not hold.
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace

from benchmarks import pages
from benchmarks.command import DOCS, Part, command
from benchmarks.plot import Axis, plot
from benchmarks.speed import budget, deliveries, endings, machine, polls, registrations, watches
from benchmarks.tables import Report

PAGE = DOCS / "performance.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for. Returns how the program ends."""
    return command("benchmarks.speed", __doc__, PAGE, PARTS, arguments)


def _deliveries(quick: bool) -> Report:
    found = deliveries.measure(quick)
    report = deliveries.report(found)
    return report if quick else replace(report, plot=drawn(found))


def drawn(found: deliveries.Found) -> str:
    """The plot, as SVG."""
    return plot(
        "Deliveries a second, by how many at a time",
        "To one receiver. The relay's two curves, which sign, store and remember every delivery, lie level beside that "
        "of httpx on aiohttp, which does none of it; httpx on its own transport is far below and falls, aiohttp alone "
        "is far above.",
        (
            Axis("requests at a time", (50, 100, 200, 500)),
            Axis("deliveries a second", (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)),
        ),
        deliveries.curves(found),
    )


def _pages(quick: bool) -> Report:
    many = 2 * pages.FEW if quick else pages.MANY
    return pages.report(asyncio.run(pages.measure(1 if quick else pages.ROUNDS, many)), many)


def _peers(quick: bool) -> Report:
    from benchmarks.speed import peers  # needs what only requirements/bench.txt has

    return peers.report(peers.measure(quick))


PARTS: dict[str, Part] = {
    "machine": machine.report,
    "deliveries": _deliveries,
    "budget": lambda quick: budget.report(budget.measure(quick)),
    "registrations": lambda quick: registrations.report(registrations.measure(quick)),
    "polls": lambda quick: polls.report(polls.measure(quick)),
    "endings": lambda quick: endings.report(endings.measure(quick)),
    "watches": lambda quick: watches.report(*watches.measure(quick)),
    "pages": _pages,
    "peers": _peers,
}

if __name__ == "__main__":
    sys.exit(main())
