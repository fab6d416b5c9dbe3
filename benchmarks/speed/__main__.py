"""How near the relay comes to what two cores can do: `python -m benchmarks.speed`.

Everything is measured side by side and in turns: what is measured in processes of their own on one core, the receiver,
the database's server and whoever asks on the other. `--only deliveries polls` measures some of the parts; `--quick` a
small part of each, in seconds, which says that all of it works and no more; `--write-docs` writes what was found into
docs/performance.md. Ends with 1 where something does not hold.
"""

import sys
from collections.abc import Sequence

from benchmarks.command import DOCS, Part, command
from benchmarks.speed import deliveries, endings, machine, polls, registrations, watches

PAGE = DOCS / "performance.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for. Returns how the program ends."""
    return command("benchmarks.speed", __doc__, PAGE, PARTS, arguments)


PARTS: dict[str, Part] = {
    "machine": machine.report,
    "deliveries": lambda quick: deliveries.report(deliveries.measure(quick)),
    "registrations": lambda quick: registrations.report(registrations.measure(quick)),
    "polls": lambda quick: polls.report(polls.measure(quick)),
    "endings": lambda quick: endings.report(endings.measure(quick)),
    "watches": lambda quick: watches.report(*watches.measure(quick)),
}

if __name__ == "__main__":
    sys.exit(main())
