"""Ways to decide when to poll: what people do, and what the relay does."""

import math
from collections.abc import Sequence

from benchmarks.virtual_days import Job
from relay.model import SECOND, Instant
from relay.model.arrival_history import ArrivalHistory
from relay.model.duration_history import DurationHistory
from relay.model.usage_ledger import UsageLedger
from relay.polling.request_budget import RateLimit, after_429, allowed_now, remaining, spend
from relay.polling.schedule import job_durations as learning
from relay.polling.schedule.arrival_forecast import record_arrivals
from relay.polling.schedule.policy import POLICY_TTL, PollPolicy, Workload, build_policy


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
        return now + min(round(5 * SECOND * math.pow(1.5, job.poll_state.polls - 1)), 600 * SECOND)


class MedianThenEvery(Plain):
    """Waits for the documented five minutes, then asks every 15 s."""

    name = "5 min, then every 15 s"

    def saw(self, job: Job, now: Instant) -> Instant:
        return max(job.poll_state.registered_at + 300 * SECOND, now + 15 * SECOND)


class Relay:
    """The relay's own code: budget, law, price, timetable; priced anew every half minute in which a poll is due."""

    name = "the relay"

    def __init__(self, share: float = 0.8) -> None:
        self._allowance = RateLimit(60, 1_000, share)
        self._ledger, self._durations, self._arrivals = UsageLedger(), DurationHistory(), ArrivalHistory()
        self._active: dict[int, Job] = {}
        self._pace: PollPolicy | None = None

    def choose(self, due: list[Job], now: Instant) -> list[Job]:
        """As `Watcher.tick`: those whose poll is still worth its price, as many as the budget grants, by their gain."""
        self._active.update((job.id, job) for job in due)
        policy = self._fresh(now)
        kept = []
        for job in due:
            if (later := policy.postpone(job.poll_state, now)) is None:
                kept.append(job)
            else:
                job.planned_at = later.at
        number = allowed_now(self._ledger, self._allowance, now, len(kept))
        if number < len(kept):
            kept = sorted(kept, key=lambda job: policy.expected_delay_saved(job.poll_state, now), reverse=True)
        self._ledger = spend(self._ledger, number, now)
        return kept[:number]

    def saw(self, job: Job, now: Instant) -> Instant:
        self._counted(job, now)
        return self._fresh(now).plan(job.poll_state, now).at

    def ended(self, job: Job, now: Instant) -> None:
        self._counted(job, now)
        del self._active[job.id]
        if job.ends_at is None or job.seen_at is None:
            self._durations = learning.observe_unfinished(self._durations, now)
            return
        wait, took = (job.started_at - job.created_at) / 1_000, (job.ends_at - job.started_at) / 1_000
        known = learning.observe_already_ended(self._durations, job.ends_at <= job.poll_state.registered_at)
        self._durations = learning.observe(learning.observe_wait(known, wait), took, now)

    def refused(self, job: Job, retry_after: int, now: Instant) -> Instant:
        self._ledger = after_429(self._ledger, self._allowance, retry_after, now)
        return self._ledger.paused_until

    def _counted(self, job: Job, now: Instant) -> None:
        if job.poll_state.polls == 1:
            self._arrivals = record_arrivals(self._arrivals, 1, now)

    def _fresh(self, now: Instant) -> PollPolicy:
        if self._pace is None or now - self._pace.made_at >= POLICY_TTL:
            poll_states = [job.poll_state for job in self._active.values()]
            free = remaining(self._ledger, self._allowance, now)
            load = Workload(self._durations, poll_states, len(poll_states), free, self._arrivals)
            self._pace = build_policy(load, now, self._pace)
        return self._pace


PLAIN: Sequence[type[Plain] | int] = (5, 10, 15, 30, 60, Backoff, MedianThenEvery)
