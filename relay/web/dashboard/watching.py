"""Jobs beside the law of how long jobs take."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from relay import durations, planner
from relay.law import Law
from relay.model import SECOND, Instant, Watch, WatchState
from relay.pace import read_durations
from relay.service import Relay
from relay.store import workspaces
from relay.store.database import Tx
from relay.store.summaries import name_of
from relay.web.dashboard import plots
from relay.web.dashboard.plots import Progress


@dataclass(frozen=True, slots=True)
class Watching:
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


def watching(relay: Relay, tx: Tx, found: Iterable[Watch], now: Instant) -> list[Watching]:
    """The jobs, those that go on beside the law that their workspace has learned."""
    law_of = cache(lambda workspace: _law(relay, tx, workspace))
    return [
        _beside(watch, *law_of(watch.workspace), now)
        if watch.state is WatchState.ACTIVE and watch.workspace in relay.clients
        else Watching(watch, name_of(watch), None, None)
        for watch in found
    ]


def _law(relay: Relay, tx: Tx, workspace: str) -> tuple[Law, float]:
    """The law that looks are planned by, and the seconds that jobs are usually queued; before the first plan, made."""
    if (pace := relay.watcher.pace_of(workspace)) is not None:
        return pace.law, pace.wait
    known = read_durations(workspaces.get(tx, workspace).durations)
    return durations.law(known), durations.usual_wait(known)


def _beside(watch: Watch, law: Law, wait: float, now: Instant) -> Watching:
    age = planner.age_of(planner.sight_of(watch), now, wait)
    following = None if watch.next_look_at is None else age + (watch.next_look_at - now) / SECOND
    bar = plots.progress(age, law.median, law.p90, law.cdf(max(age, 0.0)), following)
    return Watching(watch, name_of(watch), round(max(age, 0.0) * SECOND), bar)
