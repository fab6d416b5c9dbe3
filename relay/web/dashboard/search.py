"""Search: by job id, scenario name, metadata, requester, prompt, request id, endpoint, delivery id or webhook-id."""

from typing import Any

from starlette.responses import Response

from relay.model import JOB_ID
from relay.store import Tx
from relay.store.tables import dashboard_queries, deliveries, events
from relay.web.dashboard.job_rows import job_rows
from relay.web.dashboard.page import PageRequest, redirect_with_notice, render

MAX_RESULTS = 20
_MAX_LENGTH = 200


async def search(page: PageRequest) -> Response:
    """The search results; a single exact match redirects to its page."""
    text = (page.query("q") or "").strip()[:_MAX_LENGTH]

    def read(tx: Tx) -> dict[str, Any]:
        watches = dashboard_queries.search_jobs(tx, text, MAX_RESULTS) if text else []
        return {
            "jobs": job_rows(page.relay, tx, watches, page.now),
            "endpoints": dashboard_queries.search_endpoints(tx, text, MAX_RESULTS) if text else [],
            "delivery": deliveries.get(tx, text) if text.startswith("dlv_") else None,
            "event": events.get(tx, text) if text.startswith("evt_") else None,
        }

    results = await page.relay.store.read(read)
    if results["delivery"] is not None:
        return redirect_with_notice(page, f"/deliveries/{text}")
    if (event := results["event"]) is not None:
        return redirect_with_notice(page, f"/jobs/{event.workspace}/{event.job_id}")
    if [job.watch.job_id for job in results["jobs"]] == [text] and JOB_ID.fullmatch(text):
        return redirect_with_notice(page, f"/jobs/{results['jobs'][0].watch.workspace}/{text}")
    return render(page, "search.html", text=text, **results)
