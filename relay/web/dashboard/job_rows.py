"""Jobs as lists show them: each active job with its age against the usual duration."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from relay.model import SECOND, Instant, Watch, WatchState
from relay.model.duration_history import DurationHistory
from relay.polling.schedule import job_durations, next_poll
from relay.polling.schedule.duration_distribution import DurationDistribution
from relay.polling.schedule.policy import aligned
from relay.service import Relay
from relay.store import Tx
from relay.store.tables import workspaces
from relay.store.tables.dashboard_queries import name_of
from relay.web.dashboard import charts
from relay.web.dashboard.charts import Progress
from relay.web.dashboard.template_filters import relative_time


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job and its progress."""

    watch: Watch
    name: str
    """The scenario's name; "" until Exec gives it."""
    age: int | None
    """Milliseconds since the job started or was registered; None once it ended."""
    progress: Progress | None

    @property
    def status(self) -> str:
        """Exec's status of a job that is active or ended; the relay's own state if Exec gave none."""
        watch = self.watch
        if watch.state in (WatchState.ACTIVE, WatchState.SETTLED):
            return watch.job.status if watch.job else "not seen yet"
        return watch.state.value.replace("_", " ")

    def status_age(self, now: Instant) -> str:
        """How old the status of an active job is: `as of the last poll, 5 s ago`; "" for other jobs."""
        if self.watch.state is not WatchState.ACTIVE or self.watch.job is None or self.watch.last_poll_at is None:
            return ""
        return f"as of the last poll, {relative_time(self.watch.last_poll_at, now)}"


def job_rows(relay: Relay, tx: Tx, watches: Iterable[Watch], now: Instant) -> list[JobRow]:
    """The jobs; active ones are compared with the durations that their workspace has learned."""
    distribution_of = cache(lambda workspace: _distribution(relay, tx, workspace))
    return [
        _with_progress(watch, *distribution_of(watch.workspace), now)
        if watch.state is WatchState.ACTIVE and watch.workspace in relay.clients
        else JobRow(watch, name_of(watch), None, None)
        for watch in watches
    ]


def _distribution(relay: Relay, tx: Tx, workspace: str) -> tuple[DurationDistribution, DurationHistory]:
    """The duration distribution that polls are planned by, and the history that it is fitted to.

    Before the first plan it is fitted here.
    """
    if (policy := relay.poller.policy_for(workspace)) is not None:
        return policy.distribution, policy.durations
    durations = workspaces.get(tx, workspace).durations
    return job_durations.fit_distribution(durations), durations


def _with_progress(
    watch: Watch, distribution: DurationDistribution, durations: DurationHistory, now: Instant
) -> JobRow:
    age = next_poll.age_of(aligned(next_poll.poll_state_of(watch), durations, now), now)
    next_age = None if watch.next_poll_at is None else age + (watch.next_poll_at - now) / SECOND
    share = distribution.cdf(max(age, 0.0))
    bar = charts.progress(age, distribution.median, distribution.p90, share, next_age)
    return JobRow(watch, name_of(watch), round(max(age, 0.0) * SECOND), bar)
