"""The first page: what is being watched, what it costs, what went out, and what is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from relay import situation
from relay.arrivals import jobs_within, rates
from relay.model import DAY, MINUTE, Instant, WatchState
from relay.pace import read_arrivals, read_ledger
from relay.readiness import Check
from relay.service import Relay
from relay.situation import COUNTED, Situation
from relay.store import deliveries, paging, summaries, watches, workspaces
from relay.store.database import Tx
from relay.store.deliveries import Filter
from relay.web.dashboard import plots
from relay.web.dashboard.page import Visit, show
from relay.web.dashboard.plots import Bars, Gauge
from relay.web.dashboard.sending import sending
from relay.web.dashboard.watching import watching
from relay.web.dashboard.words import count

MOST_WATCHES = 12
MOST_TROUBLED = 8
MOST_LATEST = 8
MOST_DELAYS = 5_000


@dataclass(frozen=True, slots=True)
class Spending:
    """A workspace's budget."""

    situation: Situation
    looks: Bars
    used: int
    """Looks of the last 24 hours."""
    coming: int | None
    """Looks that the next 24 hours are expected to ask for; None before anything was learned."""
    gauge: Gauge


async def overview(visit: Visit) -> Response:
    """What a person wants to know first."""
    now, relay = visit.now, visit.relay

    def read(tx: Tx) -> dict[str, Any]:
        hours = summaries.by_hour(tx, now - DAY + 60 * MINUTE, now + 1)
        took = summaries.delays(tx, now - DAY, MOST_DELAYS)
        spending = [_spending(relay, tx, name, now) for name in relay.clients]
        active, _ = watches.page(tx, paging.Page(MOST_WATCHES), WatchState.ACTIVE)
        return {
            "watching": watching(relay, tx, active, now),
            "active": sum(situation.active(tx, name) for name in relay.clients),
            "known": bool(active) or bool(watches.page(tx, paging.Page(1))[0]),
            "hours": plots.hourly(hours),
            "latest": sending(tx, deliveries.page(tx, paging.Page(MOST_LATEST), Filter())[0]),
            "delivered": sum(hour.delivered for hour in hours),
            "failed": sum(hour.failed for hour in hours),
            "pending": deliveries.pending(tx, COUNTED),
            "delays": plots.histogram(took),
            "median": plots.quantile(took, 0.5),
            "p95": plots.quantile(took, 0.95),
            "spending": spending,
            "troubled": summaries.troubled(tx, MOST_TROUBLED),
        }

    found = await relay.store.read(read)
    checks = [check for check in (await relay.readiness()).checks if not check.ok]
    return show(visit, "overview.html", checks=checks, verdict=_verdict(checks, found), **found)


def _verdict(checks: Sequence[Check], found: Mapping[str, Any]) -> str:
    """All of it in one line."""
    if checks:
        return "The relay can't do all of its work"
    if found["troubled"]:
        return f"{count(len(found['troubled']), 'endpoint needs', 'endpoints need')} a look"
    if found["failed"]:
        return f"{count(found['failed'], 'message')} did not go out"
    return "All messages go out" if found["known"] else "Ready for the first job"


def _spending(relay: Relay, tx: Tx, name: str, now: Instant) -> Spending:
    state, each = workspaces.get(tx, name), summaries.usual_looks(tx, name)
    spent = [(index * 5 * MINUTE, looks) for index, looks in read_ledger(state.ledger).buckets]
    jobs = jobs_within(rates(read_arrivals(state.arrivals), now), now, DAY)
    coming = None if each is None else round(jobs * each)
    found = relay.situation(tx, name, now)
    used = max(found.allowance.day - found.left.day, 0)
    gauge = plots.gauge(used, coming, found.allowance.day)
    return Spending(found, plots.spread(spent, now), used, coming, gauge)
