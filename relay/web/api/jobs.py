"""Jobs as the relay knows them. These calls cost no request to Exec."""

import asyncio
from functools import partial
from typing import Any, NamedTuple

from pydantic import Field
from starlette.responses import Response

from relay.model import Instant, Watch, WatchState
from relay.service import Relay
from relay.store import Tx
from relay.store.tables import watches
from relay.store.tables.job_history import find_watch, load_job_history
from relay.waiting import Outcome, SharedReads
from relay.web.core import path_params
from relay.web.core.open_request import PREFER_HEADER, GrantedWait, OpenRequest, ParkedResponse, granted_wait
from relay.web.core.route import RequestContext, api_route, json_response
from relay.web.schemas import presenters, workspaces
from relay.web.schemas.queries import JobQuery, JobsQuery
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

    wait: int = Field(default=0, description="only with `wait`: the seconds that were granted, at most 300")
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
    """List jobs, newest first.

    No page takes long: with `workspace`, `event_type`, `endpoint`, `http_status` or `metadata` a page reads the next
    5,000 jobs at most, so it may have fewer rows than `limit`, or none. Go on until `next_cursor` is null.
    """
    path_params.workspace_from_query(query.workspace, call.relay.clients)

    def work(tx: Tx) -> JobList:
        endpoint_id = path_params.endpoint_id(tx, query.endpoint)
        rows, cursor = watches.page(tx, query.page, query.job_filter(endpoint_id))
        return JobList(data=[presenters.job(watch) for watch in rows], next_cursor=cursor)

    return json_response(200, await call.relay.store.read(work))


@api_route(
    "GET",
    "/v1/jobs/{job_id}",
    scope="read",
    tag="jobs",
    answers={200: JobDetail},
    refusals=(400, 404),
    headers=PREFER_HEADER,
)
async def get_job(call: RequestContext, job_id: str, query: JobQuery) -> Response:
    """Show one job, now or as soon as it has ended.

    Exec's job as last polled, polls made and planned, registrations and deliveries. With `wait`, the answer comes when
    the job has ended or the time is over, always with status 200: `ended` says which, and a client that still waits
    calls again. It costs Exec nothing. Ask for 25 seconds or less if a proxy may cut longer requests.
    """
    id = path_params.job_id(job_id)
    workspace = path_params.workspace_from_query(query.workspace, call.relay.clients)
    granted = granted_wait(call.request.headers, query.wait)
    job_read = JobRead(call.relay, id, workspace, call.caller.is_admin, granted)
    if not granted.seconds:
        return job_read.response(await call.relay.store.read(job_read.read))
    waiting = OpenRequest(call, "job", id, granted.seconds)
    reads: SharedReads[ShownJob] = call.request.app.state.job_reads
    return ParkedResponse(partial(_wait_for_end, job_read, waiting, reads))


class ShownJob(NamedTuple):
    """A job as the answer shows it."""

    body: bytes
    ended_at: Instant | None


class JobRead(NamedTuple):
    """The job that a request asks for, and who asks."""

    relay: Relay
    job_id: str
    workspace: str | None
    is_admin: bool
    granted: GrantedWait

    def has_ended(self, tx: Tx) -> bool:
        """Whether it is polled no more. Raises NotFound."""
        return find_watch(tx, self.job_id, self.workspace).state is not WatchState.ACTIVE

    def read(self, tx: Tx) -> ShownJob:
        """The job with everything that belongs to it. Raises NotFound."""
        history = load_job_history(tx, self.job_id, self.workspace)
        rows, endpoints = history.deliveries, history.endpoints
        fields = presenters.job_fields(history.watch) | ({"wait": self.granted.seconds} if self.granted.seconds else {})
        detail = JobDetail(
            **fields,
            **_next_poll_outlook(self.relay, tx, history.watch),
            registrations=[presenters.registration(item, endpoints) for item in history.registrations],
            deliveries=[presenters.delivery(item, endpoints, self.is_admin) for item in rows],
            history=[PollResponse(**poll) for poll in history.polls],
        )
        return ShownJob(detail.model_dump_json(exclude_unset=True).encode(), history.watch.ended_at)

    def response(self, shown_job: ShownJob) -> Response:
        """The answer."""
        return Response(shown_job.body, headers=self.granted.headers, media_type="application/json")


async def _wait_for_end(job_read: JobRead, waiting: OpenRequest, reads: SharedReads[ShownJob]) -> Response:
    deadline = asyncio.get_running_loop().time() + job_read.granted.answered_within
    store, clock = job_read.relay.store, job_read.relay.clock
    with waiting:
        await job_read.relay.feed.catch_up()
        if await store.read(job_read.has_ended):
            return job_read.response(await store.read(job_read.read))
        while True:
            outcome = await waiting.wait(deadline)
            if outcome is Outcome.GONE:
                return Response(status_code=400)  # nobody reads it
            # Ten thousand that wait for one job are woken by the same wake, and answered by the same read.
            key = (waiting.wakes, *job_read[1:4], job_read.granted.seconds)
            shown_job = await reads.read(key, lambda: store.read(job_read.read))
            if shown_job.ended_at is not None:
                job_read.relay.telemetry.wait_answered("job", clock() - shown_job.ended_at)
            if shown_job.ended_at is not None or (outcome is not Outcome.NEWS and not waiting.has_news):
                return job_read.response(shown_job)


def _next_poll_outlook(relay: Relay, tx: Tx, watch: Watch) -> dict[str, Any]:
    """Budget and durations of the workspace, and until when and why it holds the next poll."""
    if watch.workspace not in relay.clients:
        return {"held_until": None, "hold_reason": None, "budget": None, "durations": None}
    now = relay.clock()
    status = relay.workspace_status(tx, watch.workspace, now)
    is_held = watch.next_poll_at is not None and status.opens_at > max(now, watch.next_poll_at)
    reason = status.pause_reason or "the workspace's requests are used up until then"
    return {
        "held_until": status.opens_at if is_held else None,
        "hold_reason": reason if is_held else None,
        "budget": workspaces.budget_of(status),
        "durations": workspaces.durations_of(status),
    }


OPERATIONS = (list_jobs, get_job)
