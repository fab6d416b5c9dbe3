"""How closely a workspace's jobs are polled for now: the learned law and the price of a poll, and what follows.

Made anew every half minute from what the store knows; between that, a poll's plan is a search in a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay.model import SECOND, Instant, Watch, WatchState
from relay.model.arrival_history import ArrivalHistory
from relay.model.duration_history import DurationHistory
from relay.polling.request_budget import Remaining
from relay.polling.schedule import job_durations as learning
from relay.polling.schedule import next_poll
from relay.polling.schedule.duration_distribution import DurationDistribution
from relay.polling.schedule.next_poll import NextPoll, OptimalSchedule, PollState

POLICY_TTL = 30 * SECOND
"""How long a pace is good for, in milliseconds."""


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """What decides the polls of a workspace until it is made anew."""

    law: DurationDistribution
    wait: float
    """Seconds that jobs are usually queued."""
    price: float
    """Seconds of delay that a poll has to save."""
    table: OptimalSchedule
    made_at: Instant

    def plan(self, poll_state: PollState, now: Instant) -> NextPoll:
        """The next poll of a watch."""
        return next_poll.adaptive_poll(poll_state, self.table, now, self.wait)

    def postpone(self, poll_state: PollState, now: Instant) -> NextPoll | None:
        """Another plan for a poll that is due, where the price has risen since it was planned; None: it is made now.

        Only what this law planned is put off: not a poll after a failed one, and none that Exec's callback asked for.
        """
        if poll_state.failures or poll_state.awaits_callback:
            return None
        plan = self.plan(poll_state, now)
        return plan if plan.at >= now + SECOND else None

    def expected_delay_saved(self, poll_state: PollState, now: Instant) -> float:
        """Seconds of delay that a poll now is expected to save."""
        return next_poll.expected_delay_saved(poll_state, self.law, now, self.wait)


@dataclass(frozen=True, slots=True)
class Workload:
    """What a workspace has to carry, and what it may spend on that."""

    durations: DurationHistory
    poll_states: Sequence[PollState]
    """Of the active watches that are polled soonest."""
    number: int
    """How many active watches there are."""
    left: Remaining
    arrivals: ArrivalHistory


def build_policy(load: Workload, now: Instant, before: PollPolicy | None = None) -> PollPolicy:
    """The pace that the budget allows. `before` is the last pace, near which the search for the price begins."""
    durations, poll_states = load.durations, load.poll_states
    wait = learning.median_queue_time(durations)
    law = learning.fit_distribution(
        durations,
        [seen for poll_state in poll_states if (seen := next_poll.censored_observation(poll_state, wait)) is not None],
    )
    ages = [next_poll.age_of(poll_state, now, wait) for poll_state in poll_states]
    share = len(poll_states) / load.number if load.number > len(poll_states) else 1.0
    scaled = replace(load.left, within=tuple((ahead, int(polls * share)) for ahead, polls in load.left.within))
    price = next_poll.poll_price(
        ages, law, scaled, load.arrivals, now, durations.share_already_ended, before.price if before else None
    )
    return PollPolicy(law, wait, price, next_poll.optimal_schedule(law, price, durations.share_already_ended), now)


def update_history(durations: DurationHistory, watch: Watch) -> DurationHistory:
    """What is known of durations after a watch left `active`: by when it did, old jobs are told from new ones."""
    if watch.state is WatchState.EXPIRED:
        return learning.observe_unfinished(durations, watch.ended_at)
    if watch.state is WatchState.SETTLED and watch.job is not None:
        return learning.observe_job(durations, watch.job, watch.ended_at, watch.created_at)
    return durations
