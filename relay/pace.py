"""How closely a workspace's jobs are looked at for now: the learned law and the price of a look, and what follows.

Made anew every half minute from what the store knows; between that, a look's plan is a search in a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay import durations as learning
from relay import planner
from relay.arrivals import Arrivals
from relay.budget import Ledger, Left
from relay.durations import Durations
from relay.law import Law
from relay.model import SECOND, Instant, Watch, WatchState
from relay.planner import Plan, Sight, Timetable

FRESH = 30 * SECOND
"""How long a pace is good for, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What decides the looks of a workspace until it is made anew."""

    law: Law
    wait: float
    """Seconds that jobs are usually queued."""
    price: float
    """Seconds of delay that a look has to save."""
    table: Timetable
    made_at: Instant

    def plan(self, sight: Sight, now: Instant) -> Plan:
        """The next look of a watch."""
        return planner.adaptive_plan(sight, self.table, now, self.wait)

    def put_off(self, sight: Sight, now: Instant) -> Plan | None:
        """Another plan for a look that is due, where the price has risen since it was planned; None: it is made now.

        Only what this law planned is put off: not a look after a failed one, and none that Exec's callback asked for.
        """
        if sight.failures or sight.awaits_callback:
            return None
        plan = self.plan(sight, now)
        return plan if plan.at >= now + SECOND else None

    def gain(self, sight: Sight, now: Instant) -> float:
        """Seconds of delay that a look now is expected to save."""
        return planner.gain(sight, self.law, now, self.wait)


@dataclass(frozen=True, slots=True)
class Load:
    """What a workspace has to carry, and what it may spend on that."""

    durations: Durations
    sights: Sequence[Sight]
    """Of the active watches that are looked at soonest."""
    number: int
    """How many active watches there are."""
    left: Left
    arrivals: Arrivals


def make_pace(load: Load, now: Instant, before: Pace | None = None) -> Pace:
    """The pace that the budget allows. `before` is the last pace, near which the search for the price begins."""
    durations, sights = load.durations, load.sights
    wait = learning.usual_wait(durations)
    law = learning.law(durations, [seen for sight in sights if (seen := planner.going(sight, wait)) is not None])
    ages = [planner.age_of(sight, now, wait) for sight in sights]
    share = len(sights) / load.number if load.number > len(sights) else 1.0
    scaled = replace(load.left, within=tuple((ahead, int(looks * share)) for ahead, looks in load.left.within))
    price = planner.price(ages, law, scaled, load.arrivals, now, durations.ready, before.price if before else None)
    return Pace(law, wait, price, planner.make_timetable(law, price, durations.ready), now)


def learned(durations: Durations, watch: Watch) -> Durations:
    """What is known of durations after a watch left `active`: by when it did, old jobs are told from new ones."""
    if watch.state is WatchState.EXPIRED:
        return learning.observe_never(durations, watch.ended_at)
    if watch.state is WatchState.SETTLED and watch.job is not None:
        return learning.observe_job(durations, watch.job, watch.ended_at, watch.created_at)
    return durations


def read_durations(text: str | None) -> Durations:
    """As stored. A row that can't be read counts as nothing learned yet: the law is learned again."""
    try:
        return Durations.from_json(text) if text else Durations()
    except ValueError:
        return Durations()


def read_ledger(text: str | None) -> Ledger:
    """As stored. A row that can't be read counts as nothing spent yet: the budget learns from 429s again."""
    try:
        return Ledger.from_json(text) if text else Ledger()
    except ValueError:
        return Ledger()


def read_arrivals(text: str | None) -> Arrivals:
    """As stored. A row that can't be read counts as nothing seen yet."""
    try:
        return Arrivals.from_json(text) if text else Arrivals()
    except ValueError:
        return Arrivals()
