"""Jobs as the relay knows them. These calls cost no request to Exec."""

from typing import Any

from pydantic import Field
from starlette.responses import Response

from relay.model import Watch
from relay.store import Tx
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
    """A job with its registrations, deliveries and latest polls, and the polls left for it."""

    held_until: Time | None = Field(description="the next poll is due, and waits until this time")
    hold_reason: str | None
    budget: BudgetResponse | None = Field(
        description="polls left in the workspace; null if the workspace is no longer configured"
    )
    durations: DurationsResponse | None
    registrations: list[RegistrationResponse]
    deliveries: list[DeliveryResponse]
    history: list[PollResponse]


@api_route("GET", "/v1/jobs", scope="read", tag="jobs", answers={200: JobList}, refusals=(400,))
async def list_jobs(call: RequestContext, query: JobsQuery) -> Response:
    """List jobs, newest first."""
    workspace = path_params.workspace_from_query(query.workspace, call.relay.clients)

    def work(tx: Tx) -> JobList:
        rows, cursor = watches.page(tx, query.page, query.state, workspace)
        return JobList(data=[presenters.job(watch) for watch in rows], next_cursor=cursor)

    return json_response(200, await call.relay.store.read(work))


@api_route("GET", "/v1/jobs/{job_id}", scope="read", tag="jobs", answers={200: JobDetail}, refusals=(400, 404))
async def get_job(call: RequestContext, job_id: str, query: WorkspaceQuery) -> Response:
    """Show one job.

    Exec's job as last polled, polls made and planned, registrations and deliveries.
    """
    id = path_params.job_id(job_id)
    workspace = path_params.workspace_from_query(query.workspace, call.relay.clients)

    def work(tx: Tx) -> JobDetail:
        history = load_job_history(tx, id, workspace)
        return JobDetail(
            **presenters.job_fields(history.watch),
            **_next_poll_outlook(call, tx, history.watch),
            registrations=[presenters.registration(item, history.endpoints) for item in history.registrations],
            deliveries=[
                presenters.delivery(item, history.endpoints, call.caller.is_admin) for item in history.deliveries
            ],
            history=[PollResponse(**poll) for poll in history.polls],
        )

    return json_response(200, await call.relay.store.read(work))


def _next_poll_outlook(call: RequestContext, tx: Tx, watch: Watch) -> dict[str, Any]:
    """Budget and durations of the workspace, and until when and why it holds the next poll."""
    if watch.workspace not in call.relay.clients:
        return {"held_until": None, "hold_reason": None, "budget": None, "durations": None}
    status = call.relay.workspace_status(tx, watch.workspace, call.now)
    held = watch.next_poll_at is not None and status.opens_at > max(call.now, watch.next_poll_at)
    reason = status.pause_reason or "the workspace's requests are used up until then"
    return {
        "held_until": status.opens_at if held else None,
        "hold_reason": reason if held else None,
        "budget": workspaces.budget_of(status),
        "durations": workspaces.durations_of(status),
    }


OPERATIONS = (list_jobs, get_job)
