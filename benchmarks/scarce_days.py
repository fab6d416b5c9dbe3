"""Days on which polls are short, or which change what the relay knows: the relay beside the best fixed interval.

The fixed interval goes through the same ledger as the relay and is chosen in hindsight: of all intervals that cost no
more polls, the one with the least mean delay; with a first poll at the registration or without, and with the poll that
is due longest first, or the job that was registered first.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from benchmarks.askers import Relay
from benchmarks.distributions import TrueDistribution
from benchmarks.optimum import Optimum
from benchmarks.scarce_loads import KEPT_BACK, LOADS, Load
from benchmarks.tables import Check, Report, Table
from benchmarks.virtual_days import START, Exec, Job, jobs_of, play
from relay.model import DAY, SECOND
from relay.model.duration_history import DurationHistory
from relay.polling.request_budget import RateLimit
from relay.polling.schedule import job_durations as learning

_DAY = 86_400.0
_BASE = START // SECOND
INTERVALS = tuple(sorted({round(8 * 1.1**k) for k in range(68)}))
QUICK = (LOADS[1], LOADS[3])
EVERY_DAY, FIRST_DAY, OPTIMUM = 1.05, 1.5, 1.25
WHY = {
    LOADS[3]: "eight of the first polls are a sample, and polls are kept for jobs that might still come",
    LOADS[7]: "the second morning teaches that hours differ; and long jobs are late by more than short ones",
    KEPT_BACK[5]: "until it is learned that a quarter of the jobs fail soon, they are polled at the age of the others",
    KEPT_BACK[6]: "the first quarter of an hour costs polls that are missing in the evening, and the backlog remains",
    KEPT_BACK[7]: "a burst that comes less than a day after the last has few polls: what that spent is not free yet",
    KEPT_BACK[8]: "that a day is three times as busy as the one before is known only after some hours of it",
    LOADS[9]: "a job of three hours is met too rarely for its hour to be known, and is polled until then",
}
"""What stands against it if a load is known to miss its limit."""


@dataclass(frozen=True)
class Result:
    """The result of some jobs: delays sorted, in seconds; polls over the time judged."""

    delays: Sequence[float]
    polls: int
    what: str = ""

    @property
    def mean(self) -> float:
        return sum(self.delays) / max(len(self.delays), 1)

    @property
    def p95(self) -> float:
        return self.delays[min(int(0.95 * len(self.delays)), len(self.delays) - 1)] if self.delays else 0.0


@dataclass
class Ledger:
    """The relay's ledger, fast: bins of a second and of five minutes, each counted a second longer than its window."""

    allowance: RateLimit
    minute: deque[tuple[int, int]] = field(default_factory=deque)
    day: deque[tuple[int, int]] = field(default_factory=deque)
    in_minute: int = 0
    in_day: int = 0

    def opens_at(self, second: int) -> int:
        """The second, this one or later, at which a poll is allowed."""
        for bins, name in ((self.minute, "in_minute"), (self.day, "in_day")):
            while bins and bins[0][0] <= second:
                setattr(self, name, getattr(self, name) - bins.popleft()[1])
        at = second
        if self.in_minute >= self.allowance.minute:
            at = max(at, self.minute[0][0])
        if self.in_day >= self.allowance.day:
            at = max(at, self.day[0][0])
        return at

    def spend(self, second: int) -> None:
        for bins, until in ((self.minute, second + 62), (self.day, (second // 300 + 1) * 300 + 86_401)):
            if bins and bins[-1][0] == until:
                bins[-1] = (until, bins[-1][1] + 1)
            else:
                bins.append((until, 1))
        self.in_minute += 1
        self.in_day += 1


def fixed(jobs: Sequence[Job], load: Load, interval: int, at_once: bool, oldest_first: bool = False) -> list[int]:
    """Polls every job each `interval` seconds through the ledger; what it refuses waits, the longest due first, or the
    job registered first. Sets `seen_at` of the jobs; returns the seconds of the polls."""
    base = START // SECOND
    ledger, polls = Ledger(load.allowance), list[int]()
    others = [base + int(second) for second in load.spent_at]
    other = 0
    waiting: list[tuple[int, int]] = []
    coming = []
    for job in jobs:
        registered = math.ceil(job.poll_state.registered_at / SECOND)
        coming.append((registered + (0 if at_once else interval), job.id))
    heapq.heapify(coming)
    now = base
    while coming or waiting:
        if not waiting:
            now = max(now, coming[0][0])
        while other < len(others) and others[other] <= now:
            ledger.opens_at(others[other])
            ledger.spend(others[other])
            other += 1
        while coming and coming[0][0] <= now:
            due, id = heapq.heappop(coming)
            heapq.heappush(waiting, (jobs[id].poll_state.registered_at if oldest_first else due, id))
        if (opens := ledger.opens_at(now)) > now:
            now = min(opens, coming[0][0]) if coming else opens
            if other < len(others):
                now = min(now, others[other])
            continue
        _, id = heapq.heappop(waiting)
        ledger.spend(now)
        polls.append(now)
        job = jobs[id]
        if job.ends_at is not None and job.ends_at <= now * SECOND:
            job.seen_at = now * SECOND
        elif now * SECOND < job.poll_state.registered_at + DAY:
            heapq.heappush(coming, (now + interval, id))
    return polls


def result(jobs: Sequence[Job], polls: Sequence[float], begin: float, end: float, what: str = "") -> Result:
    """Of the jobs registered from `begin` to `end` (seconds from START), and of the polls in that time."""
    low, high = START + begin * 1_000, START + end * 1_000
    delays = sorted(
        (job.seen_at - max(job.ends_at, job.poll_state.registered_at)) / 1_000
        for job in jobs
        if low <= job.poll_state.registered_at < high and job.ends_at is not None and job.seen_at is not None
    )
    return Result(delays, sum(1 for at in polls if low / 1_000 <= at < high / 1_000), what)


def best_fixed(load: Load, seed: int, spans: Sequence[tuple[float, float]], most: Sequence[int]) -> list[Result]:
    """For each span of seconds the best fixed interval that costs no more than so many polls in it."""
    tried: list[list[Result]] = [[] for _ in spans]
    for at_once in (False, True):
        for oldest in (False,) if at_once else (False, True):
            for interval in INTERVALS:
                jobs = list(jobs_of(load.workload, random.Random(f"{load.workload.name} {seed}")))
                polls = fixed(jobs, load, interval, at_once, oldest)
                for k, (begin, end) in enumerate(spans):
                    name = f"every {interval} s" + (", at once" if at_once else "") + (", oldest" if oldest else "")
                    tried[k].append(result(jobs, polls, begin, end, name))
    return [_best(of_span, limit) for of_span, limit in zip(tried, most, strict=True)]


def _best(tried: Sequence[Result], most: int) -> Result:
    """The least mean delay of those with no more polls; the fewest polls if none has so few."""
    affordable = [one for one in tried if one.polls <= most]
    return min(affordable, key=lambda one: one.mean) if affordable else min(tried, key=lambda one: one.polls)


def learned(load: Load) -> DurationHistory:
    """What the relay knows before the load."""
    rng, known = random.Random(f"warm {load.workload.name}"), DurationHistory()
    for k in range(load.warm):
        took = load.workload.distribution(0.0).sample(rng)
        known = learning.observe_queue_time(learning.observe_already_ended(known, False), 5.0)
        if took is not None:
            known = learning.observe(known, took, START - (load.warm - k) * 900 * SECOND)
    return known


def relay(load: Load, seed: int = 1) -> tuple[list[Job], list[int], int]:
    """The relay through the load: its jobs, the seconds of its polls, and how many were refused."""
    jobs = list(jobs_of(load.workload, random.Random(f"{load.workload.name} {seed}")))
    spent = [START + round(1_000 * second) for second in load.spent_at]
    exec_ = Exec()
    for at in spent:
        exec_.ask(at)
    return jobs, play(jobs, exec_, Relay(load.allowance, spent, learned(load))), exec_.refused


def longest_idle(jobs: Sequence[Job], polls: Sequence[int], load: Load) -> float:
    """The longest time in minutes without a poll while a job waited and the ledger was open."""
    ledger = Ledger(load.allowance)
    for second in load.spent_at:
        ledger.opens_at(_BASE + int(second))
        ledger.spend(_BASE + int(second))
    waits = [
        (job.poll_state.registered_at // SECOND, (job.seen_at or job.poll_state.registered_at + DAY) // SECOND)
        for job in jobs
    ]
    longest, last = 0, _BASE
    for at in polls:
        opens = max(ledger.opens_at(last), last)
        begun = [max(begin, opens) for begin, end in waits if begin < at <= end]
        longest = max([longest, *(at - begin for begin in begun)])
        ledger.opens_at(at)
        ledger.spend(at)
        last = at
    return longest / 60


# --- the report ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One span of one load. `optimum` is None if nobody asked for it, or if there is none: see `_optimum`."""

    load: Load
    span: str
    relay: Result
    fixed: Result
    optimum: float | None
    idle: float
    refused: int

    def cells(self) -> list[str]:
        """The relay's polls of those allowed, mean and 95%; the fixed interval's; and the ratios."""
        best = "" if self.optimum is None else f"{self.relay.mean / self.optimum:.2f}"
        ours, theirs = self.relay, self.fixed
        figures = [f"{one.mean:,.1f}, {one.p95:,.0f}" for one in (ours, theirs)]
        ratios = f"{ours.mean / max(theirs.mean, 0.1):.2f}, {ours.p95 / max(theirs.p95, 0.1):.2f}"
        return [self.span, f"{ours.polls:,}", *figures, f"{theirs.what}: {theirs.polls:,}", ratios, best]


def report(quick: bool = False) -> Report:
    """Every load; `quick`: two batches, without the optimum, which is no check of theirs and takes longest."""
    print("Days on which polls are short, seed 1", flush=True)
    loads = QUICK if quick else (*LOADS, *KEPT_BACK)
    rows = [row for load in loads for row in _rows(load, with_optimum=not quick)]
    head = ("", "polls", "relay: mean, 95%", "fixed: mean, 95%", "which", "ratios", "of the optimum")
    tables = [Table(load.workload.name, head, [row.cells() for row in rows if row.load is load]) for load in loads]
    return Report(tables, [check for row in rows for check in _checks(row)])


def _rows(load: Load, seed: int = 1, with_optimum: bool = True) -> Iterator[Row]:
    jobs, polls, refused = relay(load, seed)
    idle = longest_idle(jobs, polls, load)
    spans = [(day * _DAY, (day + 1) * _DAY) for day in range(load.days)]
    names = [f"day {day + 1}" for day in range(load.days)]
    if load.days > 1:
        spans, names = [*spans, (_DAY, load.days * _DAY)], [*names, "from day 2 on"]
    ours = [result(jobs, polls, begin, end) for begin, end in spans]
    fixed_ones = best_fixed(load, seed, spans, [round(1.005 * one.polls) for one in ours])
    for name, (begin, end), one, other in zip(names, spans, ours, fixed_ones, strict=True):
        optimum = _optimum(load, jobs, begin, end) if with_optimum else None
        yield Row(load, name, one, other, optimum, idle, refused)


def _optimum(load: Load, jobs: Sequence[Job], begin: float, end: float) -> float | None:
    """The least mean delay of a schedule with as many polls a job, those at the registration not counted; None if the
    distributions differ, or if one poll each is not enough."""
    distribution, low, high = load.workload.common_distribution, START + begin * 1_000, START + end * 1_000
    some = [job for job in jobs if low <= job.poll_state.registered_at < high]
    after = sum(len(job.gaps) - (job.gaps[0][1] - job.gaps[0][0] < 5_000) for job in some if job.gaps)
    if distribution is None or not some or after <= len(some):
        return None
    return _judge(distribution).delay(after / len(some))


@cache
def _judge(distribution: TrueDistribution) -> Optimum:
    return Optimum(distribution, (1.0, 40.0))


def _checks(row: Row) -> Iterator[Check]:
    name, why = f"{row.load.workload.name}, {row.span}", WHY.get(row.load, "")
    limit = FIRST_DAY if row.span == "day 1" and not row.load.warm else EVERY_DAY
    if row.span in ("day 1", "from day 2 on"):
        pairs = (("mean", row.relay.mean, row.fixed.mean), ("95%", row.relay.p95, row.fixed.p95))
        for what, ours, theirs in pairs:
            ratio = ours / max(theirs, 0.1)
            yield Check(f"{what} against the best fixed: {name}", f"{limit:.2f}", f"{ratio:.2f}", ratio <= limit, why)
    if row.span == "from day 2 on" and row.optimum is not None:
        ratio = row.relay.mean / row.optimum
        yield Check(f"mean against the optimum: {name}", f"{OPTIMUM:.2f}", f"{ratio:.2f}", ratio <= OPTIMUM, why)
    if row.span == "day 1":
        yield Check(f"429s of our own doing: {name}", "0", str(row.refused), row.refused == 0)
        yield Check(f"minutes without a poll: {name}", "15", f"{row.idle:.0f}", row.idle <= 15, why)
