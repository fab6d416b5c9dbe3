"""Jobs: what the relay knows of them. Asking costs Exec nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from starlette.responses import Response

from relay.errors import NotFound
from relay.model import Delivery, Endpoint, Registration, Watch
from relay.store import deliveries, endpoints, registrations, watches
from relay.store.database import Tx
from relay.web import references, showing, situation
from relay.web.answers import DeliveryAnswer, JobAnswer, JobList, LookAnswer, RegistrationAnswer, Time
from relay.web.operation import Call, operation, reply
from relay.web.queries import JobsQuery, WorkspaceQuery
from relay.web.situation import BudgetAnswer, DurationsAnswer

MOST = 200
"""Registrations, deliveries and looks of one job that are shown; the lists have them all."""


@dataclass(frozen=True, slots=True)
class Record:
    """One job with all that hangs on it, as the store has it."""

    watch: Watch
    registrations: Sequence[Registration]
    deliveries: Sequence[Delivery]
    endpoints: Mapping[str, Endpoint]
    """Of the registrations and deliveries, by id; those that were removed are missing."""
    looks: Sequence[Mapping[str, Any]]


def record(tx: Tx, job_id: str, workspace: str | None) -> Record:
    """Reads one job. Raises NotFound where the relay does not know it."""
    watch = watches.find(tx, job_id, workspace)
    if watch is None:
        text = "the relay does not know this job; register it first, or was it deleted after its time?"
        raise NotFound("job_not_found", text)
    waiting = registrations.of_job(tx, watch.workspace, job_id, MOST)
    sent = deliveries.of_job(tx, watch.workspace, job_id, MOST)
    ids = {item.endpoint_id for item in waiting if item.endpoint_id} | {item.endpoint_id for item in sent}
    return Record(watch, waiting, sent, endpoints.many(tx, ids), watches.history(tx, watch, MOST))


class JobDetail(JobAnswer):
    """A job with who waits for it, what was sent, its latest looks, and what is left for more."""

    held_until: Time | None = Field(description="the next look, though due by then, is not made before this")
    held_because: str | None
    budget: BudgetAnswer | None = Field(description="looks left in the workspace; null where it is no longer known")
    durations: DurationsAnswer | None
    registrations: list[RegistrationAnswer]
    deliveries: list[DeliveryAnswer]
    history: list[LookAnswer]


@operation("GET", "/v1/jobs", scope="read", tag="jobs", answers={200: JobList}, refusals=(400,))
async def list_jobs(call: Call, query: JobsQuery) -> Response:
    """List jobs, those watched last first."""
    workspace = references.workspace(query.workspace, call.relay.clients)

    def work(tx: Tx) -> JobList:
        found, cursor = watches.page(tx, query.page, query.state, workspace)
        return JobList(data=[showing.job(watch) for watch in found], next_cursor=cursor)

    return reply(200, await call.relay.store.read(work))


@operation("GET", "/v1/jobs/{job_id}", scope="read", tag="jobs", answers={200: JobDetail}, refusals=(400, 404))
async def get_job(call: Call, job_id: str, query: WorkspaceQuery) -> Response:
    """Show one job.

    Exec's job as last seen, the looks spent and planned, who waits for it, and what was sent.
    """
    named = references.job_id(job_id)
    workspace = references.workspace(query.workspace, call.relay.clients)

    def work(tx: Tx) -> JobDetail:
        found = record(tx, named, workspace)
        return JobDetail(
            **showing.job_fields(found.watch),
            **_prospects(call, tx, found.watch),
            registrations=[showing.registration(item, found.endpoints) for item in found.registrations],
            deliveries=[showing.delivery(item, found.endpoints) for item in found.deliveries],
            history=[LookAnswer(**look) for look in found.looks],
        )

    return reply(200, await call.relay.store.read(work))


def _prospects(call: Call, tx: Tx, watch: Watch) -> dict[str, Any]:
    """What the next look depends on, beside its plan."""
    if watch.workspace not in call.relay.clients:
        return {"held_until": None, "held_because": None, "budget": None, "durations": None}
    found = call.relay.situation(tx, watch.workspace, call.now)
    held = watch.next_look_at is not None and found.opens_at > max(call.now, watch.next_look_at)
    because = found.paused_because or "the workspace's requests are used up until then"
    return {
        "held_until": found.opens_at if held else None,
        "held_because": because if held else None,
        "budget": situation.budget_of(found),
        "durations": situation.durations_of(found),
    }


OPERATIONS = (list_jobs, get_job)
