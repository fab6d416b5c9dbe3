"""Jobs: the list, and one job with its timeline."""

from typing import Any

from starlette.responses import Response

from relay.model import RegistrationStatus, WatchState
from relay.polling.event_context import context_of
from relay.store import Tx
from relay.store.engine import paging
from relay.store.tables import deliveries, endpoints, events, watches
from relay.store.tables.job_history import load_job_history
from relay.web.core import path_params
from relay.web.dashboard import job_timeline, list_filters
from relay.web.dashboard.delivery_rows import delivery_rows
from relay.web.dashboard.job_rows import job_rows
from relay.web.dashboard.page import PageRequest, redirect_with_notice, render

PER_PAGE = 50


async def list_jobs(page: PageRequest) -> Response:
    """Jobs, newest first."""
    query = page.request.query_params
    filters = list_filters.parse(list_filters.JOBS, query, page.zone)
    if (url := list_filters.absolute_url(filters, query)) is not None:
        return redirect_with_notice(page, url)
    window = paging.Page(PER_PAGE, page.query("cursor"))

    def read(tx: Tx) -> dict[str, Any]:
        rows, cursor = watches.page(tx, window, filters.of_jobs(tx))
        names = endpoints.standing_names(tx, list_filters.MAX_NAMES)
        return {"jobs": job_rows(page.relay, tx, rows, page.now), "cursor": cursor, "endpoint_names": names}

    states = [(state.value, state.value.replace("_", " ")) for state in WatchState]
    values = await page.relay.store.read(read)
    return render(page, "jobs.html", states=states, **list_filters.page_values(page, filters), **values)


async def show_job(page: PageRequest, workspace: str, job_id: str) -> Response:
    """One job: Exec's answers, every poll, every attempt."""
    id = path_params.job_id(job_id)

    def read(tx: Tx) -> dict[str, Any]:
        history = load_job_history(tx, id, workspace)
        attempts = {delivery.id: deliveries.attempts_of(tx, delivery.id) for delivery in history.deliveries}
        rows = job_timeline.timeline_rows(history, events.for_job(tx, workspace, id), attempts, page.now)
        active = [row for row in history.registrations[::-1] if row.status is not RegistrationStatus.WITHDRAWN]
        [job] = job_rows(page.relay, tx, [history.watch], page.now)
        return {
            "job": job,
            "timeline_table": job_timeline.as_table(rows),
            "deliveries": delivery_rows(tx, history.deliveries, page.now),
            "context": context_of(active),
            "registrations": history.registrations,
            "endpoints": history.endpoints,
            "timeline": job_timeline.layout(rows, page.now),
        }

    return render(page, "job.html", **await page.relay.store.read(read))
