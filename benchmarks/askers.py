"""Ways to decide when to poll: what people do, and what the relay does."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

from benchmarks.virtual_days import Job
from relay.model import MINUTE, SECOND, Instant
from relay.model.arrival_history import ArrivalHistory
from relay.model.duration_history import DurationHistory
from relay.model.usage_ledger import UsageLedger
from relay.polling.request_budget import RateLimit, after_429, allowed_now, day_left, remaining, spend
from relay.polling.request_budget import next_allowed_at as opens
from relay.polling.schedule import job_durations as learning
from relay.polling.schedule.arrival_forecast import record_arrivals
from relay.polling.schedule.policy import POLICY_TTL, PollPolicy, Workload, build_policy
from relay.polling.schedule.poll_selection import Due, Moment, select

_EXEC, _NOTHING = RateLimit(60, 1_000, 0.8), DurationHistory()


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
    """The relay's own code: budget, distribution, price, schedule. The price is computed every half minute."""

    name = "the relay"

    def __init__(
        self, allowance: RateLimit = _EXEC, spent: Sequence[Instant] = (), known: DurationHistory = _NOTHING
    ) -> None:
        """`spent` are when the relay spends a request on something else; `known` was learned before."""
        self._allowance, self._others = allowance, deque(spent)
        self._ledger, self._durations, self._arrivals = UsageLedger(), known, ArrivalHistory()
        self._active: dict[int, Job] = {}
        self._pace: PollPolicy | None = None
        self._tested_at: Instant | None = None

    def choose(self, due: list[Job], now: Instant) -> list[Job]:
        """As `Watcher.tick`: those whose poll is still worth its price, as many as the budget grants, by their gain."""
        while self._others and self._others[0] <= now:
            self._ledger = spend(self._ledger, 1, self._others.popleft())
        self._active.update((job.id, job) for job in due)
        policy = self._fresh(now)
        moment = Moment(
            now=now,
            day_left=day_left(self._ledger, self._allowance, now),
            day=self._allowance.day,
            minute=self._allowance.minute,
            tested_at=self._tested_at,
        )
        chosen = select(
            [Due(job.poll_state, crc32(str(job.id).encode())) for job in due], policy, self._durations, moment
        )
        if chosen.policy_is_outgrown:
            self._pace = None
        if chosen.tests:
            self._tested_at = now
        for k, plan in chosen.later:
            due[k].planned_at = plan.at
        number = allowed_now(self._ledger, self._allowance, now, len(chosen.now))
        opens_at = now if number else min(opens(self._ledger, self._allowance, now), now + MINUTE)
        for k in chosen.now[number:]:
            due[k].planned_at = max(due[k].planned_at, opens_at)
        self._ledger = spend(self._ledger, number, now)
        return [due[k] for k in chosen.now[:number]]

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
        self._durations = learning.observe(learning.observe_queue_time(self._durations, wait), took, now)

    def refused(self, job: Job, retry_after: int, now: Instant) -> Instant:
        self._ledger = after_429(self._ledger, self._allowance, retry_after, now)
        return self._ledger.paused_until

    def _counted(self, job: Job, now: Instant) -> None:
        if job.poll_state.polls == 1:
            self._arrivals = record_arrivals(self._arrivals, 1, job.poll_state.registered_at)
            ready = job.ends_at is not None and job.ends_at <= job.poll_state.registered_at
            self._durations = replace(learning.observe_already_ended(self._durations, ready), ahead=job.ahead)

    def _fresh(self, now: Instant) -> PollPolicy:
        if self._pace is None or now - self._pace.made_at >= POLICY_TTL:
            poll_states = [job.poll_state for job in self._active.values()]
            free = remaining(self._ledger, self._allowance, now)
            load = Workload(self._durations, poll_states, len(poll_states), free, self._arrivals)
            self._pace = build_policy(load, now, self._pace)
        return self._pace


PLAIN: Sequence[type[Plain] | int] = (5, 10, 15, 30, 60, Backoff, MedianThenEvery)
