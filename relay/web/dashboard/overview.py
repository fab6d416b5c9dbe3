"""The first page: what is being watched, what it costs, what went out, and what is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from relay.model import DAY, MINUTE, Instant, WatchState
from relay.operations.readiness import Check
from relay.polling import workspace_status
from relay.polling.schedule.arrival_forecast import expected_jobs, hourly_rates
from relay.polling.workspace_status import COUNTED, WorkspaceStatus
from relay.service import Relay
from relay.store.engine import paging
from relay.store.engine.database import Tx
from relay.store.tables import dashboard_queries, deliveries, watches, workspaces
from relay.store.tables.deliveries import DeliveryFilter
from relay.web.dashboard import charts
from relay.web.dashboard.charts import Bars, Gauge
from relay.web.dashboard.delivery_rows import delivery_rows
from relay.web.dashboard.job_rows import job_rows
from relay.web.dashboard.page import PageRequest, render
from relay.web.dashboard.template_filters import pluralize

MOST_WATCHES = 12
MOST_TROUBLED = 8
MOST_LATEST = 8
MOST_DELAYS = 5_000


@dataclass(frozen=True, slots=True)
class BudgetPanel:
    """A workspace's budget."""

    situation: WorkspaceStatus
    polls: Bars
    used: int
    """Polls of the last 24 hours."""
    coming: int | None
    """Polls that the next 24 hours are expected to ask for; None before anything was learned."""
    gauge: Gauge


async def overview(visit: PageRequest) -> Response:
    """What a person wants to know first."""
    now, relay = visit.now, visit.relay

    def read(tx: Tx) -> dict[str, Any]:
        hours = dashboard_queries.by_hour(tx, now - DAY + 60 * MINUTE, now + 1)
        took = dashboard_queries.delays(tx, now - DAY, MOST_DELAYS)
        spending = [_spending(relay, tx, name, now) for name in relay.clients]
        active, _ = watches.page(tx, paging.Page(MOST_WATCHES), WatchState.ACTIVE)
        return {
            "watching": job_rows(relay, tx, active, now),
            "active": sum(workspace_status.count_watched_jobs(tx, name) for name in relay.clients),
            "known": bool(active) or bool(watches.page(tx, paging.Page(1))[0]),
            "hours": charts.deliveries_per_hour(hours),
            "latest": delivery_rows(tx, deliveries.page(tx, paging.Page(MOST_LATEST), DeliveryFilter())[0]),
            "delivered": sum(hour.delivered for hour in hours),
            "failed": sum(hour.failed for hour in hours),
            "pending": deliveries.pending(tx, COUNTED),
            "delays": charts.histogram(took),
            "median": charts.quantile(took, 0.5),
            "p95": charts.quantile(took, 0.95),
            "spending": spending,
            "troubled": dashboard_queries.failing_endpoints(tx, MOST_TROUBLED),
        }

    found = await relay.store.read(read)
    checks = [check for check in (await relay.readiness()).checks if not check.ok]
    return render(visit, "overview.html", checks=checks, verdict=_headline(checks, found), **found)


def _headline(checks: Sequence[Check], found: Mapping[str, Any]) -> str:
    """All of it in one line."""
    if checks:
        return "The relay can't do all of its work"
    if found["troubled"]:
        return f"{pluralize(len(found['troubled']), 'endpoint needs', 'endpoints need')} a poll"
    if found["failed"]:
        return f"{pluralize(found['failed'], 'message')} did not go out"
    return "All messages go out" if found["known"] else "Ready for the first job"


def _spending(relay: Relay, tx: Tx, name: str, now: Instant) -> BudgetPanel:
    state, each = workspaces.get(tx, name), dashboard_queries.mean_polls_per_job(tx, name)
    spent = [(index * 5 * MINUTE, polls) for index, polls in state.ledger.buckets]
    jobs = expected_jobs(hourly_rates(state.arrivals, now), now, DAY)
    coming = None if each is None else round(jobs * each)
    found = relay.workspace_status(tx, name, now)
    used = max(found.allowance.day - found.left.day, 0)
    gauge = charts.gauge(used, coming, found.allowance.day)
    return BudgetPanel(found, charts.polls_per_hour(spent, now), used, coming, gauge)
