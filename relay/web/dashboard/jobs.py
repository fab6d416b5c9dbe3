"""Jobs: the list, and one job's life as a picture."""

from typing import Any

from starlette.responses import Response

from relay.model import WatchState
from relay.store import deliveries, events, paging, watches
from relay.store.database import Tx
from relay.web import references
from relay.web.dashboard import life
from relay.web.dashboard.page import Visit, choice, show
from relay.web.dashboard.sending import sending
from relay.web.dashboard.watching import watching
from relay.web.jobs import record

PER_PAGE = 50


async def list_jobs(visit: Visit) -> Response:
    """Jobs, newest first."""
    state, workspace = choice(WatchState, visit.query("state"), "state"), visit.query("workspace")
    asked = paging.Page(PER_PAGE, visit.query("cursor"))

    def read(tx: Tx) -> dict[str, Any]:
        found, cursor = watches.page(tx, asked, state, workspace)
        return {"jobs": watching(visit.relay, tx, found, visit.now), "cursor": cursor}

    names = [(name, name) for name in visit.relay.clients]
    states = [(one.value, one.value.replace("_", " ")) for one in WatchState]
    found = await visit.relay.store.read(read)
    return show(visit, "jobs.html", state=state, workspace=workspace, states=states, names=names, **found)


async def show_job(visit: Visit, workspace: str, job_id: str) -> Response:
    """One job: what Exec said, every look, every attempt."""
    named = references.job_id(job_id)

    def read(tx: Tx) -> dict[str, Any]:
        found = record(tx, named, workspace)
        tried = {one.id: deliveries.attempts_of(tx, one.id) for one in found.deliveries}
        lanes = life.lanes(found, events.of_job(tx, workspace, named), tried, visit.now)
        [drawn] = watching(visit.relay, tx, [found.watch], visit.now)
        return {
            "job": drawn,
            "moments": life.in_order(lanes),
            "sent": sending(tx, found.deliveries),
            "registrations": found.registrations,
            "endpoints": found.endpoints,
            "life": life.drawn(lanes, visit.now),
        }

    return show(visit, "job.html", **await visit.relay.store.read(read))
