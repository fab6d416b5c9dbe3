"""The first page: what is being watched, what it costs, what went out, and what is wrong."""

from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from relay import budget
from relay.arrivals import jobs_within, rates
from relay.budget import Allowance, Left
from relay.model import DAY, MINUTE, WatchState
from relay.pace import read_arrivals, read_ledger
from relay.service import COUNTED
from relay.store import deliveries, paging, summaries, watches, workspaces
from relay.store.database import Tx
from relay.store.workspaces import WorkspaceState
from relay.web.dashboard import plots
from relay.web.dashboard.page import Visit, show
from relay.web.dashboard.plots import Bars
from relay.web.dashboard.watching import watching

MOST_WATCHES = 12
MOST_TROUBLED = 8
MOST_DELAYS = 5_000


@dataclass(frozen=True, slots=True)
class Spending:
    """A workspace's budget."""

    name: str
    left: Left
    allowance: Allowance
    looks: Bars
    pause: str | None
    coming: int | None
    """Looks that the next 24 hours are expected to ask for; None before anything was learned."""


async def overview(visit: Visit) -> Response:
    """What a person wants to know first."""
    now, relay = visit.now, visit.relay

    def read(tx: Tx) -> dict[str, Any]:
        hours = summaries.by_hour(tx, now - DAY + 60 * MINUTE, now + 1)
        took = summaries.delays(tx, now - DAY, MOST_DELAYS)
        states = {name: workspaces.get(tx, name) for name in relay.clients}
        active, _ = watches.page(tx, paging.Page(MOST_WATCHES), WatchState.ACTIVE)
        return {
            "watching": watching(active, states, now),
            "active": sum(watches.count_active(tx, name, COUNTED) for name in relay.clients),
            "known": bool(active) or bool(watches.page(tx, paging.Page(1))[0]),
            "hours": plots.hourly(hours),
            "delivered": sum(hour.delivered for hour in hours),
            "failed": sum(hour.failed for hour in hours),
            "pending": deliveries.pending(tx, COUNTED),
            "delays": plots.histogram(took),
            "median": plots.quantile(took, 0.5),
            "p95": plots.quantile(took, 0.95),
            "spending": [_spending(visit, state, summaries.usual_looks(tx, state.name)) for state in states.values()],
            "troubled": summaries.troubled(tx, MOST_TROUBLED),
        }

    found = await relay.store.read(read)
    ready = await relay.readiness()
    return show(visit, "overview.html", checks=[check for check in ready.checks if not check.ok], **found)


def _spending(visit: Visit, state: WorkspaceState, each: float | None) -> Spending:
    """`each`: how many looks a job usually takes."""
    ledger = read_ledger(state.ledger)
    allowance = visit.relay.watcher.allowances[state.name]
    waits = state.paused_until is not None and state.paused_until > visit.now
    spent = [(index * 5 * MINUTE, looks) for index, looks in ledger.buckets]
    arrivals = read_arrivals(state.arrivals)
    jobs = jobs_within(rates(arrivals, visit.now), visit.now, DAY)
    coming = None if each is None else round(jobs * each)
    return Spending(
        state.name,
        budget.left(ledger, allowance, visit.now),
        allowance,
        plots.spread(spent, visit.now),
        state.pause_reason if waits else None,
        coming,
    )
