"""Jobs: the list, and one job's life as a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from relay.model import Attempt, Delivery, Event, Instant, Watch, WatchState
from relay.store import deliveries, events, paging, watches
from relay.store.database import Tx
from relay.web import references
from relay.web.dashboard import plots
from relay.web.dashboard.page import Visit, choice, show
from relay.web.dashboard.plots import Lane, Moment
from relay.web.dashboard.watching import watching
from relay.web.dashboard.words import span
from relay.web.jobs import Record, record

PER_PAGE = 50


async def list_jobs(visit: Visit) -> Response:
    """Jobs, newest first."""
    state, workspace = choice(WatchState, visit.query("state"), "state"), visit.query("workspace")
    asked = paging.Page(PER_PAGE, visit.query("cursor"))

    def read(tx: Tx) -> dict[str, Any]:
        found, cursor = watches.page(tx, asked, state, workspace)
        return {"jobs": watching(visit.relay, tx, found, visit.now), "cursor": cursor}

    names = list(visit.relay.clients)
    found = await visit.relay.store.read(read)
    return show(visit, "jobs.html", state=state, workspace=workspace, states=list(WatchState), names=names, **found)


async def show_job(visit: Visit, workspace: str, job_id: str) -> Response:
    """One job: what Exec said, every look, every attempt."""
    named = references.job_id(job_id)

    def read(tx: Tx) -> dict[str, Any]:
        found = record(tx, named, workspace)
        tried = {one.id: deliveries.attempts_of(tx, one.id) for one in found.deliveries}
        lanes = _lanes(found, events.of_job(tx, workspace, named), tried, visit.now)
        [drawn] = watching(visit.relay, tx, [found.watch], visit.now)
        return {
            "job": drawn,
            "moments": plots.moments(lanes),
            "deliveries": found.deliveries,
            "registrations": found.registrations,
            "endpoints": found.endpoints,
            "timeline": plots.timeline(lanes),
        }

    return show(visit, "job.html", **await visit.relay.store.read(read))


def _lanes(found: Record, facts: Sequence[Event], tried: Mapping[str, Sequence[Attempt]], now: Instant) -> list[Lane]:
    lanes = [Lane("Exec", _at_exec(found.watch, now)), Lane("Relay", _at_relay(found.watch, facts))]
    lanes.append(Lane("Looks", tuple(map(_look, found.looks))))
    for one in found.deliveries:
        endpoint = found.endpoints.get(one.endpoint_id)
        name = (endpoint.name or endpoint.host.removesuffix(":443")) if endpoint else "removed"
        lanes.append(Lane(name[:18], tuple(map(_attempt, tried[one.id])) or (_waits(one),), f"/deliveries/{one.id}"))
    return [lane for lane in lanes if lane.moments]


def _at_exec(watch: Watch, now: Instant) -> tuple[Moment, ...]:
    job = watch.job
    if job is None or job.created is None:
        return ()
    started, end = job.started, job.ended or watch.ended_at or now
    queued_until = started or end
    moments = [Moment(job.created, "queued", f"queued for {span(queued_until - job.created)}", queued_until)]
    if started is not None:
        moments.append(Moment(started, "running", f"worked on for {span(end - started)}", max(end, started)))
    if job.ended is not None:
        kind = "good" if job.status == "completed" else "bad"
        moments.append(Moment(job.ended, kind, f"{job.status}, Exec says"))
    return tuple(moments)


def _at_relay(watch: Watch, facts: Sequence[Event]) -> tuple[Moment, ...]:
    known = (Moment(fact.created_at, "event", f"the relay knew: {fact.type.value}") for fact in facts)
    return (Moment(watch.created_at, "event", "registered"), *known)


def _look(look: Mapping[str, Any]) -> Moment:
    fine = look["outcome"] in ("seen", "ended")
    text = f"look: {look['detail'] or look['outcome']}, {look['duration_ms']} ms"
    return Moment(look["at"], "look" if fine else "bad", text)


def _attempt(attempt: Attempt) -> Moment:
    good = attempt.outcome == "delivered"
    text = f"attempt {attempt.number}: {attempt.error or attempt.outcome}, {attempt.duration_ms} ms"
    return Moment(attempt.started_at, "good" if good else "bad", text, attempt.started_at + attempt.duration_ms)


def _waits(delivery: Delivery) -> Moment:
    return Moment(delivery.created_at, "waiting", f"{delivery.status.value}, no attempt yet")
