"""A workspace's poll policy: the learned duration distribution, the price of a poll and the schedule for both.

It is built every half minute from the store. In between, planning a poll is a search in a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay.model import SECOND, Instant, ScenarioJob, Watch, WatchState
from relay.model.arrival_history import ArrivalHistory
from relay.model.duration_history import DurationHistory
from relay.model.poll_result import JobFound, Poll
from relay.polling.request_budget import Remaining
from relay.polling.schedule import job_durations as learning
from relay.polling.schedule import next_poll
from relay.polling.schedule.arrival_forecast import record_arrivals
from relay.polling.schedule.duration_distribution import DurationDistribution
from relay.polling.schedule.next_poll import NextPoll, PollState
from relay.polling.schedule.optimal_schedule import OptimalSchedule
from relay.polling.schedule.poll_price import affordable_schedule

POLICY_TTL = 30 * SECOND
"""How long a policy is used, in milliseconds."""


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """Plans the polls of a workspace until the next policy is built."""

    distribution: DurationDistribution
    durations: DurationHistory
    price: float
    """Seconds of delay that a poll has to save."""
    table: OptimalSchedule
    number: int
    """The number of active watches when it was built."""
    made_at: Instant
    new: int = 0
    """The number of active watches without a poll when it was built."""

    @property
    def first_age(self) -> float:
        """Seconds from a job's registration to its first poll, if it is not polled at once."""
        return self.table.poll_ages[0]

    def plan(self, poll_state: PollState, now: Instant) -> NextPoll:
        """The next poll of a watch."""
        return next_poll.adaptive_poll(aligned(poll_state, self.durations, now), self.table, now)

    def first_plan(self, poll_state: PollState, now: Instant) -> NextPoll:
        """The first poll of a watch that is not polled at once."""
        return next_poll.first_plan(poll_state, self.table, now)

    def postpone(self, poll_state: PollState, now: Instant) -> NextPoll | None:
        """A later plan for a due poll if the price has risen since it was planned; None if it is made now.

        Only polls that a policy planned are postponed: not one after a failed poll, nor one for Exec's callback.
        """
        if poll_state.failures or poll_state.awaits_callback:
            return None
        plan = self.plan(poll_state, now)
        return plan if plan.at >= now + SECOND else None

    def expected_delay_saved(self, poll_state: PollState, now: Instant, already_ended: float = 0.0) -> float:
        """Seconds of delay that a poll now is expected to save. `already_ended` is the share of jobs that have ended
        when they are registered."""
        aligned_state = aligned(poll_state, self.durations, now)
        return next_poll.expected_delay_saved(aligned_state, self.distribution, now, already_ended)


def aligned(poll_state: PollState, durations: DurationHistory, now: Instant) -> PollState:
    """The state with Exec's times converted to the relay's clock, and with the seconds for which the job is queued."""
    created = None if poll_state.created_at is None else poll_state.created_at - durations.ahead
    started = None if poll_state.started_at is None else poll_state.started_at - durations.ahead
    queued_since = poll_state.registered_at if created is None else created
    queued_until = (
        poll_state.last_poll_at
        if poll_state.status == "queued" and poll_state.last_poll_at is not None
        else queued_since
    )
    wait = learning.median_queue_time(durations, max(min(queued_until, now) - queued_since, 0) / 1_000)
    return replace(poll_state, created_at=created, started_at=started, wait=wait)


@dataclass(frozen=True, slots=True)
class Workload:
    """The jobs of a workspace and the budget for polling them."""

    durations: DurationHistory
    poll_states: Sequence[PollState]
    """Those of the active watches that are polled soonest."""
    number: int
    """The number of active watches."""
    remaining: Remaining
    arrivals: ArrivalHistory


def build_policy(load: Workload, now: Instant, before: PollPolicy | None = None) -> PollPolicy:
    """Builds the policy that the budget allows. The search for the price begins at the price of `before`."""
    durations, poll_states = load.durations, [aligned(state, load.durations, now) for state in load.poll_states]
    running = [next_poll.censored_observation(state) for state in poll_states]
    distribution = learning.fit_distribution(durations, [observation for observation in running if observation], now)
    ages = [next_poll.age_of(state, now) for state in poll_states if state.polls]
    new = len(poll_states) - len(ages)
    share = len(poll_states) / load.number if load.number > len(poll_states) else 1.0
    scaled = replace(
        load.remaining, within=tuple((ahead, int(polls * share)) for ahead, polls in load.remaining.within)
    )
    arrivals = load.arrivals
    for state in poll_states:
        if not state.polls and not state.awaits_callback:
            arrivals = record_arrivals(arrivals, 1, state.registered_at)
    may_have_ended = learning.may_have_ended(durations, ample=2 * load.remaining.day >= load.remaining.within[-1][1])
    start_from, ended = before.price if before else None, learning.ended_share(durations)
    table = affordable_schedule(ages, distribution, scaled, arrivals, now, may_have_ended, start_from, ended, new)
    return PollPolicy(distribution, durations, table.price, table, load.number, now, round(new / share))


def update_history(durations: DurationHistory, watch: Watch) -> DurationHistory:
    """The history after a watch left `active`. The time at which it did decides whether an observation is old."""
    if watch.state is WatchState.EXPIRED:
        return learning.observe_unfinished(durations, watch.ended_at)
    if watch.state is WatchState.SETTLED and watch.job is not None:
        return learning.observe_job(durations, watch.job, watch.ended_at)
    return durations


def learned_by(durations: DurationHistory, before: Watch, after: Watch, poll: Poll) -> DurationHistory:
    """The history after `poll`, which changed the watch from `before` to `after`."""
    if isinstance(poll.result, JobFound):
        if (date := _exec_time(poll.result)) is not None:
            durations = learning.observe_clock(durations, date, poll.started_at + poll.duration_ms // 2)
        if before.polls == 0 or before.job is None:
            durations = first_answer(durations, before.created_at, poll.result.job)
    return durations if after.state is WatchState.ACTIVE else update_history(durations, after)


def _exec_time(found_job: JobFound) -> Instant | None:
    """Exec's clock when it answered. None if the header is older than a time in the answer: then a cache or a proxy
    wrote it."""
    times = [
        at
        for at in (found_job.job.created_at_ms, found_job.job.started_at_ms, found_job.job.ended_at_ms)
        if at is not None
    ]
    return found_job.date if found_job.date is not None and found_job.date + SECOND >= max(times, default=0) else None


def first_answer(durations: DurationHistory, registered_at: Instant, job: ScenarioJob) -> DurationHistory:
    """The history after the first good poll of a job, which shows whether the job had ended when it was registered."""
    return learning.observe_already_ended(
        durations, job.ended_at_ms is not None and job.ended_at_ms - durations.ahead <= registered_at
    )
