"""Whole days of polling jobs on a virtual clock: an Exec that counts requests, and whoever asks it.

A beat is one second. A poll takes no time and sees the job as it is. Exec holds to 60 requests a minute and 1,000 a
day, each both as a rolling and as a fixed window; what exceeds any of them gets a 429 and costs nothing.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.distributions import DISTRIBUTIONS, MAX_AGE, TrueDistribution
from relay.model import DAY, MINUTE, SECOND, Instant
from relay.polling.schedule.next_poll import PollState
from relay.polling.schedule.optimal_schedule import MAX_GAP, MAX_GROWTH

START: Instant = 1_709_510_400_000
"""Monday 2024-03-04T00:00:00Z."""
LOGNORMAL, HEAVY, STUCK, SLOWER = DISTRIBUTIONS[1], DISTRIBUTIONS[6], DISTRIBUTIONS[7], DISTRIBUTIONS[1].slower(2.0)


@dataclass(slots=True)
class Job:
    """A job as it truly is; `sight` is what is known of it."""

    id: int
    created_at: Instant
    started_at: Instant
    ends_at: Instant | None
    distribution: TrueDistribution
    poll_state: PollState
    planned_at: Instant
    ahead: int = 0
    """Milliseconds that Exec's clock is ahead of the relay's."""
    seen_at: Instant | None = None
    gaps: list[tuple[Instant, Instant]] = field(default_factory=list)
    """(before, after) of each poll's last time."""

    def status(self, now: Instant) -> str:
        if self.ends_at is not None and self.ends_at <= now:
            return "completed"
        return "processing" if self.started_at <= now else "queued"


@dataclass(frozen=True)
class Workload:
    name: str
    arrivals: Callable[[random.Random], list[float]]
    """Seconds from midnight at which jobs are registered."""
    distribution: Callable[[float], TrueDistribution]
    """By the second at which a job is registered."""
    late: Callable[[float], float] = lambda second: 0.0
    """Seconds for which a job existed before it was registered, by the second at which it was."""
    common_distribution: TrueDistribution | None = None
    """The distribution, if all jobs have the same and are registered when they are created."""
    others: float = 0.0
    """Requests a day that the user's other tools spend of the same allowance, evenly."""
    runs: int = 1
    """How often it is run, with seeds 1, 2, ...; the results are of all jobs together."""
    queued: Callable[[random.Random], float] = lambda rng: rng.uniform(2, 8)
    """Seconds from a job's creation to its start."""
    ahead: float = 0.0
    """Seconds that Exec's clock is ahead of the relay's."""


class Asker(Protocol):
    """Whoever decides when to poll."""

    name: str

    def choose(self, due: list[Job], now: Instant) -> list[Job]:
        """Those of the due jobs that are polled now; others come again, at their `planned_at` if that was moved."""

    def saw(self, job: Job, now: Instant) -> Instant:
        """After a poll that found the job going on: when to poll next."""

    def ended(self, job: Job, now: Instant) -> None:
        """After a poll that found the job ended, or too old to be watched."""

    def refused(self, job: Job, retry_after: int, now: Instant) -> Instant:
        """After a 429: when to poll next."""


class Exec:
    """Counts requests as strictly as the words '60 a minute and 1,000 a day' can be read."""

    def __init__(self) -> None:
        self._windows = [(MINUTE, 60, deque[Instant]()), (DAY, 1_000, deque[Instant]())]
        self._fixed: dict[tuple[int, int], int] = {}
        self.refused = 0

    def ask(self, now: Instant, ours: bool = True) -> int | None:
        """None, or the milliseconds to wait that a 429 gives."""
        wait = 0
        for length, limit, spent in self._windows:
            while spent and spent[0] <= now - length:
                spent.popleft()
            if len(spent) >= limit:
                wait = max(wait, spent[len(spent) - limit] + length - now)
            if self._fixed.get((length, now // length), 0) >= limit:
                wait = max(wait, (now // length + 1) * length - now)
        if wait:
            self.refused += ours
            return wait
        for length, _, spent in self._windows:
            spent.append(now)
            self._fixed[length, now // length] = self._fixed.get((length, now // length), 0) + 1
        return None


@dataclass
class Outcome:
    """What came of a workload with one asker."""

    jobs: list[Job] = field(default_factory=list)
    refused: int = 0
    polls: int = 0
    polled: list[int] = field(default_factory=list)
    """The seconds of all polls, in order."""

    @property
    def delays(self) -> list[float]:
        """Seconds from the end of a job, or its registration if that came later, to the poll that saw it, sorted.
        Jobs that never end have none."""
        seen = ((job, job.ends_at, job.seen_at) for job in self.jobs)
        return sorted(
            (saw - max(ended, job.poll_state.registered_at)) / 1_000
            for job, ended, saw in seen
            if ended is not None and saw is not None
        )

    @property
    def late(self) -> float:
        """The longest gap without a poll, in parts of what the relay promises: ten minutes, or eight times the time
        watched if that is more."""
        longest = 0.0
        for job in self.jobs:
            for before, after in job.gaps:
                bound = max(MAX_GAP * 1_000, MAX_GROWTH * (before - job.poll_state.registered_at))
                longest = max(longest, (after - before) / bound)
        return longest

    @property
    def polls_after_the_first(self) -> float:
        """Polls a job, those at its registration not counted: the ones that a schedule decides."""
        at_once = sum(1 for job in self.jobs if job.gaps and job.gaps[0][1] - job.gaps[0][0] < 5_000)
        return (self.polls - self.refused - at_once) / len(self.jobs)


def run(workload: Workload, asker: Callable[[], Asker]) -> Outcome:
    """All runs of a workload, each with a new asker."""
    outcome = Outcome()
    for seed in range(1, workload.runs + 1):
        exec_, jobs = Exec(), list(jobs_of(workload, random.Random(f"{workload.name} {seed}")))
        outcome.polled += play(jobs, exec_, asker(), workload.others)
        outcome.polls = len(outcome.polled)
        outcome.jobs += jobs
        outcome.refused += exec_.refused
    return outcome


def jobs_of(workload: Workload, rng: random.Random) -> Iterator[Job]:
    for number, second in enumerate(sorted(workload.arrivals(rng))):
        distribution = workload.distribution(second)
        registered = START + round(second * 1_000)
        created = registered - round(1_000 * (rng.uniform(0.2, 1.5) + workload.late(second)))
        started = created + round(1_000 * workload.queued(rng))
        took = distribution.sample(rng)
        ends = None if took is None else started + round(took * 1_000)
        yield Job(
            number,
            created,
            started,
            ends,
            distribution,
            PollState(registered_at=registered),
            registered,
            round(workload.ahead * 1_000),
        )


def play(jobs: Sequence[Job], exec_: Exec, asker: Asker, others: float = 0.0) -> list[int]:
    """Lets `asker` poll the jobs until all have ended or are given up. Returns the seconds of its polls."""
    queue = [(math.ceil(job.planned_at / SECOND), job.id) for job in jobs]
    heapq.heapify(queue)
    polled, other = list[int](), START
    while queue:
        second = queue[0][0]
        while others and other <= second * SECOND:
            exec_.ask(other, ours=False)
            other += round(DAY / others)
        now, due = second * SECOND, list[Job]()
        while queue and queue[0][0] <= second:
            due.append(jobs[heapq.heappop(queue)[1]])
        chosen = asker.choose(due, now)
        taken = {job.id for job in chosen}
        for job in due:
            if job.id not in taken:
                heapq.heappush(queue, (max(math.ceil(job.planned_at / SECOND), second + 1), job.id))
        for job in chosen:
            retry_after = exec_.ask(now)
            polled.append(second)
            at = asker.refused(job, retry_after, now) if retry_after is not None else _poll(job, asker, now)
            if at is not None:
                heapq.heappush(queue, (max(math.ceil(at / SECOND), second + 1), job.id))
    return polled


def _poll(job: Job, asker: Asker, now: Instant) -> Instant | None:
    """One good poll. None if it was the last."""
    last, seen = job.poll_state.last_poll_at, job.status(now)
    job.gaps.append((job.poll_state.registered_at if last is None else last, now))
    started = None if seen == "queued" else job.started_at + job.ahead
    job.poll_state = PollState(
        registered_at=job.poll_state.registered_at,
        created_at=job.created_at + job.ahead,
        started_at=started,
        status=seen,
        last_poll_at=now,
        polls=job.poll_state.polls + 1,
    )
    deadline = job.poll_state.registered_at + round(MAX_AGE * 1_000)
    if seen == "completed" or now >= deadline:
        job.seen_at = now if seen == "completed" else None
        asker.ended(job, now)
        return None
    job.planned_at = min(asker.saw(job, now), deadline)
    return job.planned_at


# --- workloads -------------------------------------------------------------------------------------------------

_HOUR = 3_600.0


def poisson(
    a_day: float, begin: float = 0.0, end: float = 24.0, days: int = 1
) -> Callable[[random.Random], list[float]]:
    def arrivals(rng: random.Random) -> list[float]:
        found = []
        for day in range(days):
            at = day * 86_400 + begin * _HOUR
            while (at := at + rng.expovariate(a_day / ((end - begin) * _HOUR))) < day * 86_400 + end * _HOUR:
                found.append(at)
        return found

    return arrivals


def _bursts(rng: random.Random) -> list[float]:
    """Ten within a minute, twelve times a day, for two days."""
    return [
        day * 86_400 + hour * 2 * _HOUR + rng.uniform(0, 60)
        for day in range(2)
        for hour in range(12)
        for _ in range(10)
    ]


WORKLOADS = (
    Workload("sparse: 10 jobs a day", poisson(10, days=2), lambda _: LOGNORMAL, common_distribution=LOGNORMAL, runs=4),
    Workload(
        "business hours: 200 jobs, 9 to 17",
        poisson(200, 9, 17, days=2),
        lambda _: LOGNORMAL,
        common_distribution=LOGNORMAL,
    ),
    Workload("bursts: 10 in a minute, 12 times a day", _bursts, lambda _: LOGNORMAL, common_distribution=LOGNORMAL),
    Workload("300 jobs a day", poisson(300, days=2), lambda _: LOGNORMAL, common_distribution=LOGNORMAL),
    Workload("heavy tail, 100 jobs a day", poisson(100, days=2), lambda _: HEAVY, common_distribution=HEAVY),
    Workload("5% stuck, 100 jobs a day", poisson(100, days=2), lambda _: STUCK, common_distribution=STUCK),
    Workload(
        "twice as slow from noon, 150 jobs a day",
        poisson(150, days=2),
        lambda at: SLOWER if at >= 43_200 else LOGNORMAL,
    ),
    Workload("150 jobs a day, other tools spend 500 requests", poisson(150, days=6), lambda _: LOGNORMAL, others=500),
    Workload(
        "one single job",
        lambda rng: [rng.uniform(0, 86_400)],
        lambda _: LOGNORMAL,
        common_distribution=LOGNORMAL,
        runs=100,
    ),
    Workload(
        "200 jobs, made 10 a minute, registered at once",
        lambda rng: [36_000 + number * 0.01 for number in range(200)],
        lambda _: LOGNORMAL,
        late=lambda second: 600.0 * (second - 36_000),
        runs=3,
    ),
)
