"""Search: by job id, scenario name, endpoint, the id of a delivery, or a webhook-id."""

from typing import Any

from starlette.responses import Response

from relay.model import JOB_ID
from relay.store.engine.database import Tx
from relay.store.tables import dashboard_queries, deliveries, events
from relay.web.dashboard.job_rows import job_rows
from relay.web.dashboard.page import PageRequest, redirect_with_notice, render

MOST = 20
_LONGEST = 200


async def search(visit: PageRequest) -> Response:
    """What the text finds; the only job of that id is shown at once."""
    text = (visit.query("q") or "").strip()[:_LONGEST]

    def read(tx: Tx) -> dict[str, Any]:
        found = dashboard_queries.search_jobs(tx, text, MOST) if text else []
        return {
            "jobs": job_rows(visit.relay, tx, found, visit.now),
            "found": dashboard_queries.search_endpoints(tx, text, MOST) if text else [],
            "delivery": deliveries.get(tx, text) if text.startswith("dlv_") else None,
            "event": events.get(tx, text) if text.startswith("evt_") else None,
        }

    found = await visit.relay.store.read(read)
    if found["delivery"] is not None:
        return redirect_with_notice(f"/deliveries/{text}")
    if (event := found["event"]) is not None:
        return redirect_with_notice(f"/jobs/{event.workspace}/{event.job_id}")
    if [job.watch.job_id for job in found["jobs"]] == [text] and JOB_ID.fullmatch(text):
        return redirect_with_notice(f"/jobs/{found['jobs'][0].watch.workspace}/{text}")
    return render(visit, "search.html", text=text, **found)
