"""Jobs beside the law of how long jobs take."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relay import durations as learning
from relay import planner
from relay.model import SECOND, Instant, Watch, WatchState
from relay.pace import read_durations
from relay.store.summaries import name_of
from relay.store.workspaces import WorkspaceState
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


def watching(found: Iterable[Watch], states: Mapping[str, WorkspaceState], now: Instant) -> list[Watching]:
    """The jobs, those that go on beside the law that their workspace has learned."""
    known = {name: read_durations(state.durations) for name, state in states.items()}
    laws = {name: (learning.law(durations), learning.usual_wait(durations)) for name, durations in known.items()}
    drawn = []
    for watch in found:
        if watch.state is not WatchState.ACTIVE or watch.workspace not in laws:
            drawn.append(Watching(watch, name_of(watch), None, None))
            continue
        law, wait = laws[watch.workspace]
        age = planner.age_of(planner.sight_of(watch), now, wait)
        following = None if watch.next_look_at is None else age + (watch.next_look_at - now) / SECOND
        bar = plots.progress(age, law.median, law.p90, law.cdf(max(age, 0.0)), following)
        drawn.append(Watching(watch, name_of(watch), round(max(age, 0.0) * SECOND), bar))
    return drawn
