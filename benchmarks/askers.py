"""Ways to decide when to look: what people do, and what the relay does."""

import math
from collections.abc import Sequence

from benchmarks.virtual_days import Job
from relay import durations as learning
from relay.arrivals import Arrivals, arrived
from relay.budget import Allowance, Ledger, granted, left, limited, spend
from relay.durations import Durations
from relay.model import SECOND, Instant
from relay.pace import FRESH, Load, Pace, make_pace


class Plain:
    """Each job asked for on its own, whatever that adds up to; a 429 is waited out."""

    name = ""

    def choose(self, due: list[Job], now: Instant) -> list[Job]:
        return due

    def saw(self, job: Job, now: Instant) -> Instant:
        raise NotImplementedError

    def ended(self, job: Job, now: Instant) -> None:
        """Nothing is learned."""

    def refused(self, job: Job, retry_after: int, now: Instant) -> Instant:
        return now + retry_after


class Every(Plain):
    """A fixed interval."""

    def __init__(self, seconds: int) -> None:
        self.name, self._interval = f"every {seconds} s", seconds * SECOND

    def saw(self, job: Job, now: Instant) -> Instant:
        return now + self._interval


class Backoff(Plain):
    """Exponential backoff from 5 s, by half each time, ten minutes at most."""

    name = "backoff × 1.5"

    def saw(self, job: Job, now: Instant) -> Instant:
        return now + min(round(5 * SECOND * math.pow(1.5, job.sight.looks - 1)), 600 * SECOND)


class MedianThenEvery(Plain):
    """Waits for the documented five minutes, then asks every 15 s."""

    name = "5 min, then every 15 s"

    def saw(self, job: Job, now: Instant) -> Instant:
        return max(job.sight.registered_at + 300 * SECOND, now + 15 * SECOND)


class Relay:
    """The relay's own code: budget, law, price, timetable; priced anew every half minute in which a look is due."""

    name = "the relay"

    def __init__(self, share: float = 0.8) -> None:
        self._allowance = Allowance(60, 1_000, share)
        self._ledger, self._durations, self._arrivals = Ledger(), Durations(), Arrivals()
        self._active: dict[int, Job] = {}
        self._pace: Pace | None = None

    def choose(self, due: list[Job], now: Instant) -> list[Job]:
        """As `Watcher.tick`: those whose look is still worth its price, as many as the budget grants, by their gain."""
        self._active.update((job.id, job) for job in due)
        pace = self._fresh(now)
        kept = []
        for job in due:
            if (later := pace.put_off(job.sight, now)) is None:
                kept.append(job)
            else:
                job.planned_at = later.at
        number = granted(self._ledger, self._allowance, now, len(kept))
        if number < len(kept):
            kept = sorted(kept, key=lambda job: pace.gain(job.sight, now), reverse=True)
        self._ledger = spend(self._ledger, number, now)
        return kept[:number]

    def saw(self, job: Job, now: Instant) -> Instant:
        self._counted(job, now)
        return self._fresh(now).plan(job.sight, now).at

    def ended(self, job: Job, now: Instant) -> None:
        self._counted(job, now)
        del self._active[job.id]
        if job.ends_at is None or job.seen_at is None:
            self._durations = learning.observe_never(self._durations, now)
            return
        wait, took = (job.started_at - job.created_at) / 1_000, (job.ends_at - job.started_at) / 1_000
        known = learning.observe_ready(self._durations, job.ends_at <= job.sight.registered_at)
        self._durations = learning.observe(learning.observe_wait(known, wait), took, now)

    def refused(self, job: Job, retry_after: int, now: Instant) -> Instant:
        self._ledger = limited(self._ledger, self._allowance, retry_after, now)
        return self._ledger.paused_until

    def _counted(self, job: Job, now: Instant) -> None:
        if job.sight.looks == 1:
            self._arrivals = arrived(self._arrivals, 1, now)

    def _fresh(self, now: Instant) -> Pace:
        if self._pace is None or now - self._pace.made_at >= FRESH:
            sights = [job.sight for job in self._active.values()]
            free = left(self._ledger, self._allowance, now)
            load = Load(self._durations, sights, len(sights), free, self._arrivals)
            self._pace = make_pace(load, now, self._pace)
        return self._pace


PLAIN: Sequence[type[Plain] | int] = (5, 10, 15, 30, 60, Backoff, MedianThenEvery)
