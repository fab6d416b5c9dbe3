"""The first page: watched jobs, the poll budget, deliveries, and problems."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from relay.model import DAY, MINUTE, Instant, WatchState
from relay.operations.readiness import Check
from relay.polling import WorkspaceStatus, count_watched_jobs
from relay.polling.schedule.arrival_forecast import expected_jobs, hourly_rates
from relay.polling.workspace_status import COUNTED
from relay.service import Relay
from relay.store import Tx
from relay.store.engine import paging
from relay.store.tables import dashboard_queries, deliveries, delivery_groups, endpoint_statistics, watches, workspaces
from relay.store.tables.filters import JobFilter
from relay.web.dashboard import charts
from relay.web.dashboard.charts import Bars, Gauge
from relay.web.dashboard.event_rows import event_rows
from relay.web.dashboard.first_steps import first_steps
from relay.web.dashboard.job_rows import job_rows
from relay.web.dashboard.page import PageRequest, render
from relay.web.dashboard.template_filters import pluralize

MAX_JOBS = 12
MAX_ENDPOINTS = 8
MAX_EVENTS = 8
"""Latest events whose deliveries are shown."""
MAX_DELIVERIES = 100
"""Deliveries among which these events are looked for."""
MAX_DELAYS = 5_000


@dataclass(frozen=True, slots=True)
class BudgetPanel:
    """A workspace's poll budget."""

    status: WorkspaceStatus
    polls: Bars
    used: int
    """Polls of the last 24 hours."""
    expected: int | None
    """Polls expected in the next 24 hours; None before anything is learned."""
    gauge: Gauge
    is_key_tried: bool
    """Whether Exec has answered a poll of the workspace, so that its key is known to work."""


async def overview(page: PageRequest) -> Response:
    """The state of the relay at a glance."""
    now, relay = page.now, page.relay

    def read(tx: Tx) -> dict[str, Any]:
        budgets = [_budget_panel(relay, tx, name, now) for name in relay.clients]
        hours = dashboard_queries.by_hour(tx, now - DAY + 60 * MINUTE, now + 1)
        delays = dashboard_queries.delays(tx, now - DAY, MAX_DELAYS)
        is_key_tried = any(budget.is_key_tried for budget in budgets)
        active, _ = watches.page(tx, paging.Page(MAX_JOBS), JobFilter(state=WatchState.ACTIVE))
        latest = delivery_groups.latest(tx, MAX_EVENTS, MAX_DELIVERIES)
        has_jobs = bool(active) or bool(watches.page(tx, paging.Page(1))[0])
        return {
            "steps": first_steps(tx, is_key_tried=is_key_tried, has_jobs=has_jobs),
            "active_jobs": job_rows(relay, tx, active, now),
            "active": sum(count_watched_jobs(tx, name) for name in relay.clients),
            "has_jobs": has_jobs,
            "hours": charts.deliveries_per_hour(hours),
            "latest": event_rows(tx, latest, now),
            "delivered": sum(hour.delivered for hour in hours),
            "failed": sum(hour.failed for hour in hours),
            "pending": deliveries.pending(tx, COUNTED),
            "delays": charts.histogram(delays),
            "median": charts.quantile(delays, 0.5),
            "p95": charts.quantile(delays, 0.95),
            "budgets": budgets,
            "attention": endpoint_statistics.needing_attention(tx, now, MAX_ENDPOINTS),
        }

    values = await relay.store.read(read)
    checks = [check for check in (await relay.readiness()).checks if not check.ok]
    return render(page, "overview.html", checks=checks, headline=_headline(checks, values), **values)


def _headline(checks: Sequence[Check], values: Mapping[str, Any]) -> str:
    """The state of the relay in one line."""
    if checks:
        return "The relay can't do all of its work"
    if values["attention"]:
        return f"{pluralize(len(values['attention']), 'endpoint needs', 'endpoints need')} attention"
    if values["failed"]:
        return f"{pluralize(values['failed'], 'delivery', 'deliveries')} failed"
    return "All deliveries succeed" if values["has_jobs"] else "Ready for the first job"


def _budget_panel(relay: Relay, tx: Tx, name: str, now: Instant) -> BudgetPanel:
    row, polls_per_job = workspaces.get(tx, name), dashboard_queries.mean_polls_per_job(tx, name)
    buckets = [(index * 5 * MINUTE, polls) for index, polls in row.ledger.buckets]
    jobs = expected_jobs(hourly_rates(row.arrivals, now), now, DAY)
    expected = None if polls_per_job is None else round(jobs * polls_per_job)
    status = relay.workspace_status(tx, name, now)
    used = max(status.rate_limit.day - status.remaining.day, 0)
    return BudgetPanel(
        status,
        charts.polls_per_hour(buckets, now),
        used,
        expected,
        charts.gauge(used, expected, status.rate_limit.day),
        status.sample_size > 0 or endpoint_statistics.has_exec_answered(tx, name),
    )
