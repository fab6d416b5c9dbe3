"""Whole days within Exec's limits: what becomes of jobs with each way of asking, and what the relay is held to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from benchmarks import askers, virtual_days
from benchmarks.distributions import TrueDistribution
from benchmarks.optimum import Optimum
from benchmarks.schedules import at_polls, fixed
from benchmarks.tables import Check, Report, Table
from benchmarks.virtual_days import WORKLOADS, Asker, Outcome, Workload

QUICK = (WORKLOADS[2],)
SHORT = "while polls are short, a gap is as long as the price of a poll, if that is more"
FEWEST, MOST = 0.5, 30.0
"""Polls a job between which the optimum is known."""


@dataclass(frozen=True)
class Row:
    """One way of asking through one workload."""

    workload: Workload
    asker: str
    outcome: Outcome

    def cells(self) -> list[str]:
        """Polls a job, mean, median, 95%, 99%, 429s."""
        delays, jobs = self.outcome.delays, len(self.outcome.jobs)
        marks = [delays[min(int(share * len(delays)), len(delays) - 1)] for share in (0.5, 0.95, 0.99)]
        shown = [self.outcome.polls / jobs, sum(delays) / len(delays), *marks]
        return [self.asker, *(f"{value:,.1f}" for value in shown), f"{self.outcome.refused:,}"]

    @property
    def mean(self) -> float:
        delays = self.outcome.delays
        return sum(delays) / len(delays)


def report(quick: bool = False) -> Report:
    """Every workload with every asker; `quick`: two workloads, the relay and one fixed interval."""
    print("Whole days, each workload with its own seeds, which are its name and 1, 2, ...", flush=True)
    rows = [row for workload in (QUICK if quick else WORKLOADS) for row in _rows(workload, quick)]
    return Report(list(_tables(rows)), list(_checks([row for row in rows if row.asker == askers.Relay.name])))


def _rows(workload: Workload, quick: bool) -> Iterator[Row]:
    for make in _askers(quick):
        yield Row(workload, make().name, virtual_days.run(workload, make))


def _askers(quick: bool) -> Sequence[Callable[[], Asker]]:
    intervals = [15] if quick else [5, 10, 15, 30, 60]
    plain: list[Callable[[], Asker]] = [lambda n=n: askers.Every(n) for n in intervals]  # type: ignore[misc]
    return [*plain, askers.Backoff, askers.MedianThenEvery, askers.Relay] if not quick else [*plain, askers.Relay]


def _tables(rows: Sequence[Row]) -> Iterator[Table]:
    head = ("", "polls a job", "mean delay, s", "median", "95%", "99%", "429s")
    for workload in dict.fromkeys(row.workload for row in rows):
        cells = [row.cells() for row in rows if row.workload is workload]
        best = _optimum(rows, workload)
        if best is not None:
            cells.append(best)
        yield Table(workload.name, head, cells)


def _optimum(rows: Sequence[Row], workload: Workload) -> list[str] | None:
    """The best possible delay for the relay's number of polls, if all jobs have one known distribution."""
    [ours] = [row for row in rows if row.workload is workload and row.asker == askers.Relay.name]
    polls = ours.outcome.polls_after_the_first
    if workload.common_distribution is None or not FEWEST <= polls <= MOST:
        return None
    total = ours.outcome.polls / len(ours.outcome.jobs)
    delay = _judge(workload.common_distribution).delay(polls)
    return ["the optimum, all known in advance", f"{total:,.1f}", f"{delay:,.1f}", "", "", "", ""]


@cache
def _judge(distribution: TrueDistribution) -> Optimum:
    return Optimum(distribution, (FEWEST, MOST))


def _checks(ours: Sequence[Row]) -> Iterator[Check]:
    for row in ours:
        name, outcome = row.workload.name, row.outcome
        if row.workload.others:
            # Each is noticed only by a 429; a day's worth of them would mean that nothing was learned.
            yield Check(f"429s, one of them a pause: {name}", "20", str(outcome.refused), outcome.refused <= 20)
        else:
            yield Check(f"429s of our own doing: {name}", "0", str(outcome.refused), outcome.refused == 0)
        if row.workload.others:
            continue  # paused for as long as Exec asks, it promises nothing
        late = outcome.late
        yield Check(f"longest gap, in parts of what is promised: {name}", "1.1", f"{late:.2f}", late <= 1.1, SHORT)
        polls, distribution = outcome.polls_after_the_first, row.workload.common_distribution
        if distribution is not None and polls >= FEWEST:
            same = at_polls(distribution, fixed, polls)
            if same is not None:
                ratio = row.mean / same
                what = f"mean delay, against a fixed interval with as many polls and no limit: {name}"
                yield Check(what, "1.00", f"{ratio:.2f}", ratio <= 1.0)
