"""`python -m tests.torture [--rounds N] [NAME ...]` (`make torture`): every torture in its long form, with its verdict.

Takes an hour or more; with names, those alone. Exit code 1 where a verdict is broken.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.torture.tortures import TORTURES, Torture


def main(arguments: list[str]) -> int:
    """Exit code 1 if a verdict is broken; a torture that can't run here is named and breaks nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--rounds", type=int, help="how often each hurts; left out: as many as its long form has")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(one.name for one in TORTURES))
    given = parser.parse_args(arguments)
    logging.getLogger().addHandler(logging.NullHandler())  # what servers and relays say of their troubles is no news
    if unknown := set(given.names) - {one.name for one in TORTURES}:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    chosen = [one for one in TORTURES if not given.names or one.name in given.names]
    held = [run(one, given.rounds or one.long) for one in chosen]
    return 0 if all(held) else 1


def run(torture: Torture, rounds: int) -> bool:
    """Whether the verdict holds, or nothing could run."""
    if (missing := torture.needs()) is not None:
        print(f"{torture.what}: NOT TRIED: {missing}", flush=True)
        return True
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="relay-torture-") as folder:
        verdict = asyncio.run(torture.run(Path(folder), rounds))
    print(verdict.text(f"{torture.what}, {rounds} rounds in {time.monotonic() - began:.0f} s"), flush=True)
    return verdict.holds


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
