"""Search: by job id, scenario name, endpoint, the id of a delivery, or a webhook-id."""

from typing import Any

from starlette.responses import Response

from relay.model import JOB_ID
from relay.store import deliveries, events, summaries
from relay.store.database import Tx
from relay.web.dashboard.page import Visit, seen, show
from relay.web.dashboard.watching import watching

MOST = 20
_LONGEST = 200


async def search(visit: Visit) -> Response:
    """What the text finds; the only job of that id is shown at once."""
    text = (visit.query("q") or "").strip()[:_LONGEST]

    def read(tx: Tx) -> dict[str, Any]:
        found = summaries.jobs_like(tx, text, MOST) if text else []
        return {
            "jobs": watching(visit.relay, tx, found, visit.now),
            "found": summaries.endpoints_like(tx, text, MOST) if text else [],
            "delivery": deliveries.get(tx, text) if text.startswith("dlv_") else None,
            "event": events.get(tx, text) if text.startswith("evt_") else None,
        }

    found = await visit.relay.store.read(read)
    if found["delivery"] is not None:
        return seen(f"/deliveries/{text}")
    if (event := found["event"]) is not None:
        return seen(f"/jobs/{event.workspace}/{event.job_id}")
    if [job.watch.job_id for job in found["jobs"]] == [text] and JOB_ID.fullmatch(text):
        return seen(f"/jobs/{found['jobs'][0].watch.workspace}/{text}")
    return show(visit, "search.html", text=text, **found)
