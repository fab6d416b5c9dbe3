"""Jobs that ended before they were registered: how soon the relay tells of them, by the polls that the day has left.

Promised are 5 s while half of the day's polls are left, and a minute while any are. Of jobs registered together, the
minute's limit lets 48 be polled each minute, so each is promised a minute later than the 48th before it.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.scarce_days import Ledger, relay
from benchmarks.scarce_loads import TEN, USUAL, Load, flow
from benchmarks.tables import Check, Report, Table
from benchmarks.virtual_days import START, Workload
from relay.model import MINUTE, SECOND

AT_ONCE, SOON = 5, 60
"""Seconds, while half of the day's polls are left, and while any are."""
MOST_LATE = 0.05
_WINDOW = 62
"""Seconds for which a poll counts against the minute's limit, rounded up as the relay does."""
_TOO_MANY = "a first poll of each job is a poll more than the day has for it: it costs more than it may save"
_NONE_FOR_ALL = "50 polls are left for the 48 jobs that are expected; at the 100 jobs before, a first poll told nothing"


@dataclass(frozen=True)
class Case:
    """A load with jobs that have ended, and the reason if it misses what is promised."""

    load: Load
    why: str = ""


@dataclass(frozen=True)
class Row:
    """The jobs of one case that had ended: seconds until each was told, and the seconds promised for it."""

    case: Case
    half_left: Sequence[tuple[float, float]]
    some_left: Sequence[tuple[float, float]]

    def cells(self) -> list[str]:
        """Jobs, the share told in time, and the longest time, with half of the polls left and with fewer."""
        return [self.case.load.workload.name, *_cells(self.half_left), *_cells(self.some_left)]


def late_share(told: Sequence[tuple[float, float]]) -> float:
    """The share told later than promised."""
    return sum(seconds > promised for seconds, promised in told) / max(len(told), 1)


def _cells(told: Sequence[tuple[float, float]]) -> list[str]:
    if not told:
        return ["", "", ""]
    return [str(len(told)), f"{1 - late_share(told):.0%}", f"{max(seconds for seconds, _ in told):,.0f}"]


def single(left: int, warm: int) -> Load:
    """One job that ended an hour before it is registered, when so many polls are left."""
    name = f"one job, {left} polls left, {_known(warm)}"
    return Load(Workload(name, lambda _: [TEN + 5], lambda _: USUAL, late=lambda _: 5_400.0), 1, left=left, warm=warm)


def batch(left: int, warm: int) -> Load:
    """Two hundred of them, registered within two seconds."""
    arrivals = [TEN + 5 + k * 0.01 for k in range(200)]
    name = f"200 jobs together, {left} polls left, {_known(warm)}"
    return Load(Workload(name, lambda _: arrivals, lambda _: USUAL, late=lambda _: 5_400.0), 1, left=left, warm=warm)


def trickle(a_day: int, one_in: int, warm: int) -> Load:
    """So many jobs a day, for two days; one in so many had ended an hour before."""

    def late(second: float) -> float:
        return 5_400.0 if random.Random(f"{second:.3f}").random() < 1 / one_in else 0.0

    return Load(
        replace(flow(f"{a_day} jobs a day, 1 in {one_in}, {_known(warm)}", a_day, USUAL, 2), late=late), 2, warm=warm
    )


def _known(warm: int) -> str:
    return "warm" if warm else "cold"


CASES = (
    *(Case(single(left, warm)) for left in (500, 200) for warm in (0, 100)),
    Case(single(50, 0)),
    Case(single(50, 100), _NONE_FOR_ALL),
    *(Case(batch(left, warm)) for left in (790, 300) for warm in (0, 100)),
    Case(trickle(50, 15, 100)),
    Case(trickle(150, 15, 0)),
    Case(trickle(150, 15, 100)),
    Case(trickle(300, 15, 100), _TOO_MANY),
    Case(trickle(700, 15, 100), _TOO_MANY),
)
QUICK = (CASES[1], CASES[3], CASES[9])


def told(case: Case, seed: int = 1) -> Row:
    """Runs the relay through one case."""
    load, half, some = case.load, list[tuple[float, float]](), list[tuple[float, float]]()
    jobs, polls, _ = relay(load, seed)
    ledger, spent = Ledger(load.allowance), sorted([*(START // SECOND + int(at) for at in load.spent_at), *polls])
    ended = sorted(
        (job for job in jobs if job.ends_at is not None and job.ends_at <= job.poll_state.registered_at),
        key=lambda job: (job.poll_state.registered_at // MINUTE, job.seen_at or 0),
    )
    together = minute = next_spent = 0
    for job in ended:
        registered = job.poll_state.registered_at
        together, minute = together + 1 if registered // MINUTE == minute else 0, registered // MINUTE
        while next_spent < len(spent) and spent[next_spent] * SECOND < registered:
            ledger.opens_at(spent[next_spent])
            ledger.spend(spent[next_spent])
            next_spent += 1
        ledger.opens_at(registered // SECOND)
        left, later = load.allowance.day - ledger.in_day, _WINDOW * (together // load.allowance.minute)
        seconds = ((job.seen_at or registered + 86_400 * SECOND) // SECOND - registered // SECOND) * 1.0
        if 2 * left >= load.allowance.day:
            half.append((seconds, AT_ONCE + later))
        elif left > 0:
            some.append((seconds, SOON + later))
    return Row(case, half, some)


def report(quick: bool = False) -> Report:
    """Every case; `quick`: one job, and one batch."""
    print("Jobs that ended before they were registered, seed 1", flush=True)
    rows = [told(case) for case in (QUICK if quick else CASES)]
    head = ("", "half left: jobs", "in time", "latest, s", "fewer left: jobs", "in time", "latest, s")
    title = "Told within 5 s while half of the day's polls are left, and within a minute while any are"
    return Report(
        [Table(title, head, [row.cells() for row in rows])], [check for row in rows for check in _checks(row)]
    )


def _checks(row: Row) -> Iterator[Check]:
    for what, told_jobs in (("half of the polls left", row.half_left), ("some left", row.some_left)):
        if told_jobs:
            late, name = late_share(told_jobs), row.case.load.workload.name
            yield Check(
                f"share told late, {what}: {name}", f"{MOST_LATE:.2f}", f"{late:.2f}", late <= MOST_LATE, row.case.why
            )
