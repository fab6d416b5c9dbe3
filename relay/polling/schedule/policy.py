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
from relay.polling.schedule.next_poll import NextPoll, OptimalSchedule, PollState

POLICY_TTL = 30 * SECOND
"""How long a policy is used, in milliseconds."""


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """Plans the polls of a workspace until the next policy is built."""

    law: DurationDistribution
    known: DurationHistory
    price: float
    """Seconds of delay that a poll has to save."""
    table: OptimalSchedule
    number: int
    """Active watches that it was made for."""
    made_at: Instant

    @property
    def first_age(self) -> float:
        """Seconds from a job's registration to its first poll, where that is not made at once."""
        return self.table.poll_ages[0]

    def plan(self, poll_state: PollState, now: Instant) -> NextPoll:
        """The next poll of a watch."""
        return next_poll.adaptive_poll(aligned(poll_state, self.known, now), self.table, now)

    def first_plan(self, poll_state: PollState, now: Instant) -> NextPoll:
        """The first poll of a watch that is not polled at once."""
        return next_poll.first_plan(poll_state, self.table, now)

    def postpone(self, poll_state: PollState, now: Instant) -> NextPoll | None:
        """Another plan for a poll that is due, where the price has risen since it was planned; None: it is made now.

        Only what this law planned is put off: not a poll after a failed one, and none that Exec's callback asked for.
        """
        if poll_state.failures or poll_state.awaits_callback:
            return None
        plan = self.plan(poll_state, now)
        return plan if plan.at >= now + SECOND else None

    def expected_delay_saved(self, poll_state: PollState, now: Instant, ready: float = 0.0) -> float:
        """Seconds of delay that a poll now is expected to save. `ready` is the share of jobs that have ended when they
        are registered."""
        return next_poll.expected_delay_saved(aligned(poll_state, self.known, now), self.law, now, ready)


def aligned(poll_state: PollState, known: DurationHistory, now: Instant) -> PollState:
    """What is known of a watch, by the relay's clock, and with the seconds for which the job is queued."""
    created = None if poll_state.created_at is None else poll_state.created_at - known.ahead
    started = None if poll_state.started_at is None else poll_state.started_at - known.ahead
    begun = poll_state.registered_at if created is None else created
    seen = poll_state.last_poll_at if poll_state.status == "queued" and poll_state.last_poll_at is not None else begun
    wait = learning.median_queue_time(known, max(min(seen, now) - begun, 0) / 1_000)
    return replace(poll_state, created_at=created, started_at=started, wait=wait)


@dataclass(frozen=True, slots=True)
class Workload:
    """The jobs of a workspace and the budget for polling them."""

    durations: DurationHistory
    poll_states: Sequence[PollState]
    """Of the active watches that are polled soonest."""
    number: int
    """How many active watches there are."""
    left: Remaining
    arrivals: ArrivalHistory


def build_policy(load: Workload, now: Instant, before: PollPolicy | None = None) -> PollPolicy:
    """Builds the policy that the budget allows. The search for the price begins at the price of `before`."""
    known, poll_states = load.durations, [aligned(poll_state, load.durations, now) for poll_state in load.poll_states]
    law = learning.fit_distribution(
        known, [seen for poll_state in poll_states if (seen := next_poll.censored_observation(poll_state)) is not None]
    )
    ages = [next_poll.age_of(poll_state, now) for poll_state in poll_states if poll_state.polls]
    new = len(poll_states) - len(ages)
    share = len(poll_states) / load.number if load.number > len(poll_states) else 1.0
    scaled = replace(load.left, within=tuple((ahead, int(polls * share)) for ahead, polls in load.left.within))
    arrivals = load.arrivals
    for poll_state in poll_states:
        if not poll_state.polls and not poll_state.awaits_callback:
            arrivals = record_arrivals(arrivals, 1, poll_state.registered_at)
    ready = learning.may_have_ended(known, plenty=2 * load.left.day >= load.left.within[-1][1])
    near, ended = before.price if before else None, learning.ended_share(known)
    price = next_poll.poll_price(ages, law, scaled, arrivals, now, ready, near, ended, new)
    return PollPolicy(law, known, price, next_poll.optimal_schedule(law, price, ready), load.number, now)


def update_history(durations: DurationHistory, watch: Watch) -> DurationHistory:
    """What is known of durations after a watch left `active`: by when it did, old jobs are told from new ones."""
    if watch.state is WatchState.EXPIRED:
        return learning.observe_unfinished(durations, watch.ended_at)
    if watch.state is WatchState.SETTLED and watch.job is not None:
        return learning.observe_job(durations, watch.job, watch.ended_at)
    return durations


def learned_by(durations: DurationHistory, before: Watch, after: Watch, poll: Poll) -> DurationHistory:
    """What is known once `poll` has made the watch `after` of the watch `before`."""
    if isinstance(poll.result, JobFound):
        if (date := _believed(poll.result)) is not None:
            durations = learning.observe_clock(durations, date, poll.started_at + poll.duration_ms // 2)
        if before.polls == 0 or before.job is None:
            durations = first_answer(durations, before.created_at, poll.result.job)
    return durations if after.state is WatchState.ACTIVE else update_history(durations, after)


def _believed(seen: JobFound) -> Instant | None:
    """Exec's clock when it answered; None if the header tells of a time before what the answer itself tells of, as one
    that a cache or a proxy wrote."""
    told = [at for at in (seen.job.created_at_ms, seen.job.started_at_ms, seen.job.ended_at_ms) if at is not None]
    return seen.date if seen.date is not None and seen.date + SECOND >= max(told, default=0) else None


def first_answer(durations: DurationHistory, registered_at: Instant, job: ScenarioJob) -> DurationHistory:
    """What the first good poll of a job teaches: whether it had ended when it was registered."""
    return learning.observe_already_ended(
        durations, job.ended_at_ms is not None and job.ended_at_ms - durations.ahead <= registered_at
    )
