"""Jobs: what the relay knows of them. Asking costs Exec nothing."""

from typing import Any

from pydantic import Field
from starlette.responses import Response

from relay.model import Watch
from relay.store.engine.database import Tx
from relay.store.tables import watches
from relay.store.tables.job_history import load_job_history
from relay.web.core import path_params
from relay.web.core.route import RequestContext, api_route, json_response
from relay.web.schemas import presenters, workspaces
from relay.web.schemas.queries import JobsQuery, WorkspaceQuery
from relay.web.schemas.responses import (
    DeliveryResponse,
    JobList,
    JobResponse,
    PollResponse,
    RegistrationResponse,
    Time,
)
from relay.web.schemas.workspaces import BudgetResponse, DurationsResponse


class JobDetail(JobResponse):
    """A job with who waits for it, what was sent, its latest polls, and what is left for more."""

    held_until: Time | None = Field(description="the next poll, though due by then, is not made before this")
    hold_reason: str | None
    budget: BudgetResponse | None = Field(description="polls left in the workspace; null where it is no longer known")
    durations: DurationsResponse | None
    registrations: list[RegistrationResponse]
    deliveries: list[DeliveryResponse]
    history: list[PollResponse]


@api_route("GET", "/v1/jobs", scope="read", tag="jobs", answers={200: JobList}, refusals=(400,))
async def list_jobs(call: RequestContext, query: JobsQuery) -> Response:
    """List jobs, those watched last first."""
    workspace = path_params.workspace_from_query(query.workspace, call.relay.clients)

    def work(tx: Tx) -> JobList:
        found, cursor = watches.page(tx, query.page, query.state, workspace)
        return JobList(data=[presenters.job(watch) for watch in found], next_cursor=cursor)

    return json_response(200, await call.relay.store.read(work))


@api_route("GET", "/v1/jobs/{job_id}", scope="read", tag="jobs", answers={200: JobDetail}, refusals=(400, 404))
async def get_job(call: RequestContext, job_id: str, query: WorkspaceQuery) -> Response:
    """Show one job.

    Exec's job as last seen, the polls spent and planned, who waits for it, and what was sent.
    """
    named = path_params.job_id(job_id)
    workspace = path_params.workspace_from_query(query.workspace, call.relay.clients)

    def work(tx: Tx) -> JobDetail:
        found = load_job_history(tx, named, workspace)
        return JobDetail(
            **presenters.job_fields(found.watch),
            **_next_poll_outlook(call, tx, found.watch),
            registrations=[presenters.registration(item, found.endpoints) for item in found.registrations],
            deliveries=[presenters.delivery(item, found.endpoints, call.caller.is_admin) for item in found.deliveries],
            history=[PollResponse(**poll) for poll in found.polls],
        )

    return json_response(200, await call.relay.store.read(work))


def _next_poll_outlook(call: RequestContext, tx: Tx, watch: Watch) -> dict[str, Any]:
    """What the next poll depends on, beside its plan."""
    if watch.workspace not in call.relay.clients:
        return {"held_until": None, "hold_reason": None, "budget": None, "durations": None}
    found = call.relay.workspace_status(tx, watch.workspace, call.now)
    held = watch.next_poll_at is not None and found.opens_at > max(call.now, watch.next_poll_at)
    because = found.pause_reason or "the workspace's requests are used up until then"
    return {
        "held_until": found.opens_at if held else None,
        "hold_reason": because if held else None,
        "budget": workspaces.budget_of(found),
        "durations": workspaces.durations_of(found),
    }


OPERATIONS = (list_jobs, get_job)
