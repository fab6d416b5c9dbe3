"""Jobs: the list, and one job's life as a picture."""

from typing import Any

from starlette.responses import Response

from relay.model import WatchState
from relay.store.engine import paging
from relay.store.engine.database import Tx
from relay.store.tables import deliveries, events, watches
from relay.store.tables.job_history import load_job_history
from relay.web.core import path_params
from relay.web.dashboard import job_timeline
from relay.web.dashboard.delivery_rows import delivery_rows
from relay.web.dashboard.job_rows import job_rows
from relay.web.dashboard.page import PageRequest, parse_enum, render

PER_PAGE = 50


async def list_jobs(visit: PageRequest) -> Response:
    """Jobs, newest first."""
    state, workspace = parse_enum(WatchState, visit.query("state"), "state"), visit.query("workspace")
    asked = paging.Page(PER_PAGE, visit.query("cursor"))

    def read(tx: Tx) -> dict[str, Any]:
        found, cursor = watches.page(tx, asked, state, workspace)
        return {"jobs": job_rows(visit.relay, tx, found, visit.now), "cursor": cursor}

    names = [(name, name) for name in visit.relay.clients]
    states = [(one.value, one.value.replace("_", " ")) for one in WatchState]
    found = await visit.relay.store.read(read)
    return render(visit, "jobs.html", state=state, workspace=workspace, states=states, names=names, **found)


async def show_job(visit: PageRequest, workspace: str, job_id: str) -> Response:
    """One job: what Exec said, every poll, every attempt."""
    named = path_params.job_id(job_id)

    def read(tx: Tx) -> dict[str, Any]:
        found = load_job_history(tx, named, workspace)
        tried = {one.id: deliveries.attempts_of(tx, one.id) for one in found.deliveries}
        lanes = job_timeline.lanes(found, events.for_job(tx, workspace, named), tried, visit.now)
        [drawn] = job_rows(visit.relay, tx, [found.watch], visit.now)
        return {
            "job": drawn,
            "moments": job_timeline.as_table(lanes),
            "sent": delivery_rows(tx, found.deliveries),
            "registrations": found.registrations,
            "endpoints": found.endpoints,
            "life": job_timeline.layout(lanes, visit.now),
        }

    return render(visit, "job.html", **await visit.relay.store.read(read))
