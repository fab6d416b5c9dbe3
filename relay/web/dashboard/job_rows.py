"""Jobs beside the law of how long jobs take."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from relay.model import SECOND, Instant, Watch, WatchState
from relay.polling.schedule import job_durations, next_poll
from relay.polling.schedule.duration_distribution import DurationDistribution
from relay.service import Relay
from relay.store.engine.database import Tx
from relay.store.tables import workspaces
from relay.store.tables.dashboard_queries import name_of
from relay.web.dashboard import charts
from relay.web.dashboard.charts import Progress


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job, and how far it is."""

    watch: Watch
    name: str
    """The scenario's name; "" before Exec tells it."""
    age: int | None
    """Milliseconds since it started, or was registered; None once it ended."""
    progress: Progress | None

    @property
    def status(self) -> str:
        """Exec's word for a job that goes on, or was seen to end; the relay's own where Exec said nothing."""
        watch = self.watch
        if watch.state in (WatchState.ACTIVE, WatchState.SETTLED):
            return watch.job.status if watch.job else "not seen yet"
        return watch.state.value.replace("_", " ")


def job_rows(relay: Relay, tx: Tx, found: Iterable[Watch], now: Instant) -> list[JobRow]:
    """The jobs, those that go on beside the law that their workspace has learned."""
    law_of = cache(lambda workspace: _distribution(relay, tx, workspace))
    return [
        _with_progress(watch, *law_of(watch.workspace), now)
        if watch.state is WatchState.ACTIVE and watch.workspace in relay.clients
        else JobRow(watch, name_of(watch), None, None)
        for watch in found
    ]


def _distribution(relay: Relay, tx: Tx, workspace: str) -> tuple[DurationDistribution, float]:
    """The law that polls are planned by, and the seconds that jobs are usually queued; before the first plan, made."""
    if (policy := relay.poller.policy_for(workspace)) is not None:
        return policy.law, policy.wait
    known = workspaces.get(tx, workspace).durations
    return job_durations.fit_distribution(known), job_durations.median_queue_time(known)


def _with_progress(watch: Watch, law: DurationDistribution, wait: float, now: Instant) -> JobRow:
    age = next_poll.age_of(next_poll.poll_state_of(watch), now, wait)
    following = None if watch.next_poll_at is None else age + (watch.next_poll_at - now) / SECOND
    bar = charts.progress(age, law.median, law.p90, law.cdf(max(age, 0.0)), following)
    return JobRow(watch, name_of(watch), round(max(age, 0.0) * SECOND), bar)
