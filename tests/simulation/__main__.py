"""`python -m tests.simulation` (`make simulate`): runs seeds, and says of one that fails how to run it again.

The same seed gives the same history, byte for byte: Python's own order of sets is part of it, so the program starts
itself with a fixed PYTHONHASHSEED.
"""

import argparse
import os
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.simulation.ablations import ABLATIONS
from tests.simulation.machine import Workshop
from tests.simulation.plan import Plan, draw
from tests.simulation.run import Outcome, simulate, workshop
from tests.simulation.shrink import shrink

_LAST_LINES = 40


def main(arguments: list[str]) -> int:
    """Exit code 1 if a seed fails; with an ablation, if none of the seeds does."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many seeds; 1,000 if left out")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="this seed alone, with its history")
    parser.add_argument("--acts", help="with --seed: only the acts with these numbers, such as 0,3; 'none' for no act")
    parser.add_argument("--jobs", type=int, help="with --seed: so many jobs")
    parser.add_argument("--ablation", action="append", choices=[one.name for one in ABLATIONS], default=[])
    parser.add_argument("--digests", action="store_true", help="print what came of each seed, as one number")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first seed that fails")
    given = parser.parse_args(arguments)
    with ExitStack() as stack:
        shop = stack.enter_context(workshop())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for one in ABLATIONS:
            if one.name in given.ablation:
                one.apply(patch)
        if given.seed is not None:
            return _one(_plan(given), shop)
        failed = _many(range(given.start, given.start + given.seeds), shop, given)
    return int(failed != bool(given.ablation))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _plan(given: argparse.Namespace) -> Plan:
    plan = draw(given.seed)
    if given.acts is not None:
        plan = plan.only([] if given.acts == "none" else [int(number) for number in given.acts.split(",")])
    return plan if given.jobs is None else plan.with_jobs(given.jobs)


def _one(plan: Plan, shop: Workshop) -> int:
    outcome = simulate(plan, shop, verbose=True)
    _say("\n".join(outcome.history))
    _show(outcome)
    return int(bool(outcome.wrong))


def _many(seeds: range, shop: Workshop, given: argparse.Namespace) -> bool:
    totals, failed = Totals(), False
    stopped = _stopped()
    for seed in seeds:
        if stopped.is_set():
            break
        outcome = simulate(draw(seed), shop)
        totals.add(outcome)
        if given.digests:
            _say(f"seed {seed}, digest {outcome.digest}")
        if outcome.wrong:
            failed = True
            _report(outcome, shop, given.ablation)
            if not given.keep_going:
                break
        if totals.seeds % 500 == 0:
            _say(f"{totals.counts()}, the last one {seed}")
    _say(f"{totals.text()}; {'FAILED' if failed else 'all rules hold'}")
    return failed


def _stopped() -> threading.Event:
    """Set by SIGTERM or Ctrl+C: the run ends after the seed at hand, and says what it came to."""
    event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: event.set())
    return event


class Totals:
    """What all seeds of a run came to."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.seeds = self._receipts = 0
        self._virtual = 0.0
        self._acts, self._faults = Counter[str](), Counter[str]()

    def add(self, outcome: Outcome) -> None:
        """One more seed."""
        self.seeds, self._receipts = self.seeds + 1, self._receipts + outcome.receipts
        self._virtual += outcome.seconds
        self._acts.update(act.kind for act in outcome.plan.acts)
        self._faults.update(outcome.faults)

    def took(self) -> float:
        """Seconds since the first one began."""
        return time.monotonic() - self._began

    def counts(self) -> str:
        """Seeds, faults and acts."""
        return (
            f"{self.seeds:,} seeds with {self._faults.total():,} faults and {self._acts.total():,} acts in "
            f"{self.took():.0f} s"
        )

    def text(self) -> str:
        """The counts, faults and acts by kind too."""
        faults, acts = (
            ", ".join(f"{number:,} {kind}" for kind, number in sorted(counted.items()))
            for counted in (self._faults, self._acts)
        )
        return (
            f"faults: {faults}\nacts: {acts}\n"
            f"{self.counts()}: {self._virtual / 3_600:,.0f} hours of relays, {self._receipts:,} requests to receivers"
        )


def _report(outcome: Outcome, shop: Workshop, ablations: list[str]) -> None:
    """What went wrong, the shortest plan for it, and the command that runs that."""
    plan, names = outcome.plan, outcome.names
    _show(outcome)
    found = shrink(plan, lambda smaller: bool(simulate(smaller, shop).names & names))
    numbers = ",".join(map(str, found.acts)) or "none"
    broken = "".join(f" --ablation {name}" for name in ablations)
    arguments = f"--seed {plan.seed} --acts {numbers} --jobs {found.jobs}{broken}"
    _say(f"again, shrunk: make simulate ARGS='{arguments}'")
    smallest = replace(plan.only(found.acts), jobs=found.jobs)
    for act in smallest.acts:
        _say(f"  {act.text()}")
    for line in simulate(smallest, shop, verbose=True).history[-_LAST_LINES:]:
        _say(f"  {line}")


def _show(outcome: Outcome) -> None:
    _say(f"seed {outcome.plan.seed}, digest {outcome.digest}: {len(outcome.wrong)} findings")
    for text in outcome.wrong[:10]:
        _say(f"  {text}")


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(  # noqa: S606 (this very program)
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    raise SystemExit(main(sys.argv[1:]))
