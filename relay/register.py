"""Registering: one job × one endpoint, and its withdrawal.

`check` judges a request without the store; `register` and `withdraw` work inside the caller's transaction, so that a
batch, or an answer kept for `Idempotency-Key`, is one with what it answers.
"""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from relay import looking, planner, signing, subscribing, traces
from relay.addresses import EgressRules
from relay.errors import Invalid, NotFound
from relay.model import (
    DAY,
    JOB_ID,
    Endpoint,
    EndpointKind,
    Event,
    EventType,
    Instant,
    Registration,
    RegistrationStatus,
    Watch,
    WatchState,
    new_id,
)
from relay.store import endpoints, events, outbox, registrations, watches
from relay.store.database import Tx

DEFAULT_WORKSPACE = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A registration as somebody asks for it: with `callback`, with `endpoint` (an id or a name), or with neither."""

    job_id: str
    workspace: str | None = None
    """None: the only workspace there is, or the one named `default`."""
    callback: subscribing.Wanted | None = field(default=None, repr=False)
    endpoint: str | None = None
    events: tuple[EventType, ...] | None = None
    """None: what the endpoint hears of."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    exec_callback: bool = False
    """Exec was given the relay's callback with this job."""
    trace: str | None = None
    """What the request is part of, as `relay.traces` has it; None: a trace begins here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A request found fit."""

    job_id: str
    workspace: str
    callback: subscribing.Checked | None = None
    endpoint: str | None = None
    events: tuple[EventType, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    exec_callback: bool = False
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What became of a request. `secret` is told only where the endpoint was made by it."""

    registration: Registration
    endpoint: Endpoint | None
    is_new: bool
    secret: str | None = field(default=None, repr=False)


def check(request: Request, rules: EgressRules, workspaces: Collection[str]) -> Checked:
    """Judges a request before anything is stored. Raises Invalid, naming the field."""
    if not JOB_ID.fullmatch(request.job_id):
        raise Invalid("invalid_job_id", "a job id is 1 to 128 letters, digits, - or _, as Exec gave it", "job_id")
    if request.callback is not None and request.endpoint is not None:
        raise Invalid("two_endpoints", "give callback_url or endpoint, not both", "endpoint")
    workspace = request.workspace or (next(iter(workspaces)) if len(workspaces) == 1 else DEFAULT_WORKSPACE)
    if workspace not in workspaces:
        known = ", ".join(sorted(workspaces))
        raise Invalid("unknown_workspace", f"there is no such workspace; this relay knows {known}", "workspace")
    return Checked(
        job_id=request.job_id,
        workspace=workspace,
        callback=subscribing.check(request.callback, rules) if request.callback else None,
        endpoint=request.endpoint,
        events=request.events,
        metadata=request.metadata,
        exec_callback=request.exec_callback,
        trace=request.trace,
    )


def register(tx: Tx, request: Checked, now: Instant) -> Registered:
    """Registers a job for an endpoint: the same job and endpoint again give the registration that is there.

    A job that already ended is told at once. Raises Invalid for an endpoint that is not there.
    """
    endpoint, secret = _endpoint(tx, request, now)
    trace = request.trace or traces.begun(secrets.token_bytes(16))
    watch, is_new = _watch(tx, request, trace, now)
    found = None  # as of a job that was not known there is nothing else, neither registrations nor events
    if not is_new:
        found = registrations.standing_of(tx, request.workspace, request.job_id, endpoint.id if endpoint else None)
    registration = found or Registration(
        id=new_id("reg", now),
        workspace=request.workspace,
        job_id=request.job_id,
        endpoint_id=endpoint.id if endpoint else None,
        status=RegistrationStatus.ACTIVE,
        events=request.events or (endpoint.events if endpoint else subscribing.Wanted("").events),
        metadata=request.metadata,
        created_at=now,
        trace=trace,
    )
    waits = watch.state is WatchState.ACTIVE
    registration = replace(registration, status=RegistrationStatus.ACTIVE if waits else RegistrationStatus.SETTLED)
    if found is None:
        registrations.add(tx, registration)
        if not is_new:
            _tell_what_happened(tx, watch, endpoint, registration, now)
    elif found.status is not registration.status:
        registrations.save(tx, registration)
    return Registered(registration=registration, endpoint=endpoint, is_new=found is None, secret=secret)


class Hint(StrEnum):
    """What becomes of a hint. The names are those of a metric's label."""

    HEEDED = "heeded"  # a look will be made
    KNOWN = "known"  # nothing is left to learn, or a look is on its way already
    TOO_MANY = "too_many"  # too many hints named jobs that Exec does not know


HINTS_UNCONFIRMED = 50
"""Jobs of a workspace that hints may name in a day without that Exec knows them: each costs one look."""


def hint(tx: Tx, workspace: str, job_id: str, now: Instant) -> Hint:
    """Exec's callback says that a job ended, which only a look can tell.

    A job that nobody registered, or that was given up, is registered for the standing endpoints; while Exec has not
    confirmed more than 50 such in a day, no further ones are taken, so that whoever has the token can fill neither the
    store nor the day.
    """
    watch = watches.get(tx, workspace, job_id)
    if watch is None or watch.state in (WatchState.EXPIRED, WatchState.NOT_FOUND):
        return _hint_of_unknown(tx, workspace, job_id, watch, now)
    if watch.state is not WatchState.ACTIVE or watch.is_hinted:
        return Hint.KNOWN
    watches.hint(tx, watch, looking.heeded_at(watch, now), looking.HINTED)
    return Hint.HEEDED


def _hint_of_unknown(tx: Tx, workspace: str, job_id: str, given_up: Watch | None, now: Instant) -> Hint:
    since = now - DAY
    if given_up is not None and (given_up.unconfirmed_since or 0) > since:
        return Hint.KNOWN
    if watches.unconfirmed(tx, workspace, since, HINTS_UNCONFIRMED) >= HINTS_UNCONFIRMED:
        return Hint.TOO_MANY
    register(tx, Checked(job_id=job_id, workspace=workspace), now)
    watch = watches.get(tx, workspace, job_id)
    if watch is not None:
        watches.mark(tx, watch, hinted_at=now, unconfirmed_since=now, next_look_why=looking.HINTED)
    return Hint.HEEDED


def withdraw(tx: Tx, id: str, now: Instant) -> Registration:
    """Withdraws a registration: its pending deliveries are cancelled, a job nobody waits for is no longer looked at.

    Raises NotFound. Withdrawing twice does no harm.
    """
    registration = registrations.get(tx, id)
    if registration is None:
        raise NotFound("registration_not_found", "there is no registration with this id")
    if registration.status is RegistrationStatus.WITHDRAWN:
        return registration
    registration = replace(registration, status=RegistrationStatus.WITHDRAWN)
    registrations.save(tx, registration)
    if registration.endpoint_id:
        job = (registration.workspace, registration.job_id)
        outbox.cancel(tx, registration.endpoint_id, job, now, "the registration was withdrawn")
    watches.rest(tx, registration.workspace, registration.job_id, now)
    return registration


def _endpoint(tx: Tx, request: Checked, now: Instant) -> tuple[Endpoint | None, str | None]:
    """The endpoint that the request means, made if need be; and its secret where it was made."""
    if request.endpoint is not None:
        found = endpoints.get(tx, request.endpoint) or endpoints.by_name(tx, request.endpoint)
        if found is None:
            raise Invalid("unknown_endpoint", "there is no endpoint with this id or name", "endpoint")
        return found, None
    if request.callback is None:
        return None, None
    wanted = request.callback
    marks = endpoints.fingerprints(tx, wanted.target.url, wanted.format, wanted.headers, wanted.own_secret)
    if (found := endpoints.by_fingerprint(tx, marks)) is not None:
        return found, None
    random_bytes = secrets.token_bytes(subscribing.SECRET_BYTES)
    made = subscribing.make(wanted, kind=EndpointKind.AD_HOC, now=now, random_bytes=random_bytes)
    if endpoints.add(tx, made, marks[0]):
        return made, signing.told(made.secrets[0].value)
    return endpoints.by_fingerprint(tx, marks), None


def _watch(tx: Tx, request: Checked, trace: str, now: Instant) -> tuple[Watch, bool]:
    """The job's watch, and whether it was made now; one that was given up or withdrawn is taken up again."""
    fresh = Watch(
        workspace=request.workspace,
        job_id=request.job_id,
        state=WatchState.ACTIVE,
        created_at=now,
        next_look_at=now,
        next_look_why="just registered",
        exec_callback=request.exec_callback,
        trace=trace,
    )
    if request.exec_callback:
        plan = planner.safety_plan(planner.sight_of(fresh), now)
        fresh = replace(fresh, next_look_at=plan.at, next_look_why=plan.why)
    if watches.add(tx, fresh):
        return fresh, True
    watch = watches.get(tx, request.workspace, request.job_id)
    if watch is None:  # deleted by another relay's janitor meanwhile
        return fresh, watches.add(tx, fresh)
    if watch.state is WatchState.ACTIVE:
        relies = watch.exec_callback or request.exec_callback
        return watches.mark(tx, watch, exec_callback=relies, unconfirmed_since=None), False
    if watch.state is WatchState.SETTLED:
        return watch, False
    watch = replace(fresh, job=watch.job, looks=watch.looks, last_look_at=watch.last_look_at)
    watches.save(tx, watch)
    return watch, False


def _tell_what_happened(
    tx: Tx, watch: Watch, endpoint: Endpoint | None, registration: Registration, now: Instant
) -> None:
    """Enqueues what a late registration missed: the ending of a settled job, or that a live one has started."""
    if endpoint is None:
        return
    if watch.state is WatchState.SETTLED:
        ending = events.ending(tx, watch.workspace, watch.job_id)
        missed: list[Event] = [ending] if ending else []
    else:
        known = events.of_job(tx, watch.workspace, watch.job_id)
        missed = [event for event in known if event.type is EventType.STARTED]
    for event in missed:
        if event.type in registration.events:
            outbox.enqueue(tx, event, [(endpoint, registration)], now, first_delay=0)
