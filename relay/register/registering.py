"""Registering: one job × one endpoint, and its withdrawal, inside the caller's transaction."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from relay import planner, traces
from relay.errors import NotFound, Refused
from relay.model import (
    ENDINGS,
    Endpoint,
    Event,
    EventType,
    Instant,
    Registration,
    RegistrationStatus,
    Watch,
    WatchState,
    new_id,
)
from relay.register.requests import Asked, Checked
from relay.register.subscribers import Subscriber, subscribers
from relay.store import events, outbox, registrations, watches
from relay.store.database import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What became of a request. `secret` is told only where the endpoint was made by it."""

    registration: Registration
    endpoint: Endpoint | None
    is_new: bool
    secret: str | None = field(default=None, repr=False)


def register(tx: Tx, request: Checked, now: Instant) -> Registered:
    """Registers a job for an endpoint: the same job and endpoint again give the registration that is there.

    A job that already ended is told at once. Raises Invalid for an endpoint that is not there.
    """
    [done] = register_all(tx, [(request, now)])
    return granted(done)


def granted(done: Registered | Refused) -> Registered:
    """What was made of a request. Raises why nothing was."""
    if isinstance(done, Refused):
        raise done
    return done


def register_all(tx: Tx, asked: Sequence[Asked]) -> list[Registered | Refused]:
    """What `register` would make of each, one after the other, and what it would raise; none spoils the others.

    Jobs that nobody watched before, as nearly all are, cost little more together than one.
    """
    heard_by = subscribers(tx, asked)
    first: dict[tuple[str, str], int] = {}
    for place, (request, _) in enumerate(asked):
        if not isinstance(heard_by[place], Refused):
            first.setdefault((request.workspace, request.job_id), place)
    traced = [request.trace or traces.begun(secrets.token_bytes(16)) for request, _ in asked]
    added = watches.add_all(tx, [_fresh(*asked[place], traced[place]) for place in first.values()])
    new = {place for job, place in first.items() if job in added}
    done: list[Registered | Refused] = [
        subscriber if isinstance(subscriber, Refused) else _registered(asking, subscriber, trace)
        for asking, subscriber, trace in zip(asked, heard_by, traced, strict=True)
    ]
    made = [one for place, one in enumerate(done) if place in new and isinstance(one, Registered)]
    registrations.add_all(tx, [one.registration for one in made])
    watches.lock(tx, first.keys() - added)
    for place, one in enumerate(done):
        if isinstance(one, Registered) and place not in new:
            done[place] = _register_known(tx, asked[place], one)
    return done


def _registered(asked: Asked, subscriber: Subscriber, trace: str) -> Registered:
    """The registration of a job of which nothing else is known."""
    (request, now), (endpoint, secret) = asked, subscriber
    registration = Registration(
        id=new_id("reg", now),
        workspace=request.workspace,
        job_id=request.job_id,
        endpoint_id=endpoint.id if endpoint else None,
        status=RegistrationStatus.ACTIVE,
        events=request.events or (endpoint.events if endpoint else ENDINGS),
        metadata=request.metadata,
        created_at=now,
        trace=trace,
    )
    return Registered(registration=registration, endpoint=endpoint, is_new=True, secret=secret)


def _register_known(tx: Tx, asked: Asked, new: Registered) -> Registered:
    """Registers a job that is watched, or was: `new`, or what is there in its place."""
    request, now = asked
    watch, is_new = _watch(tx, request, now, new.registration.trace)
    found = None
    if not is_new:
        found = registrations.standing_of(tx, request.workspace, request.job_id, new.registration.endpoint_id)
    waits = watch.state is WatchState.ACTIVE
    status = RegistrationStatus.ACTIVE if waits else RegistrationStatus.SETTLED
    registration = replace(found or new.registration, status=status)
    if found is None:
        registrations.add(tx, registration)
        if not is_new:
            _tell_what_happened(tx, watch, new.endpoint, registration, now)
    elif found.status is not status:
        registrations.save(tx, registration)
    return replace(new, registration=registration, is_new=found is None)


def withdraw(tx: Tx, id: str, now: Instant) -> Registration:
    """Withdraws a registration: its pending deliveries are cancelled, a job nobody waits for is no longer looked at.

    Raises NotFound. Withdrawing twice does no harm.
    """
    if (found := registrations.get(tx, id)) is not None:
        watches.lock(tx, [job := (found.workspace, found.job_id)])
        found = registrations.get(tx, id)
    if found is None:
        raise NotFound("registration_not_found", "there is no registration with this id")
    if found.status is RegistrationStatus.WITHDRAWN:
        return found
    registrations.withdraw(tx, [id])
    if found.endpoint_id:
        outbox.cancel(tx, found.endpoint_id, job, now, "the registration was withdrawn")
    watches.rest(tx, [job], now)
    return replace(found, status=RegistrationStatus.WITHDRAWN)


def _fresh(request: Checked, now: Instant, trace: str | None) -> Watch:
    """The watch of a job that nobody watches."""
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
    if not request.exec_callback:
        return fresh
    plan = planner.safety_plan(planner.sight_of(fresh), now)
    return replace(fresh, next_look_at=plan.at, next_look_why=plan.why)


def _watch(tx: Tx, request: Checked, now: Instant, trace: str | None) -> tuple[Watch, bool]:
    """The watch that was there, and whether it is there no more and was made anew; one that was given up or withdrawn
    is taken up again."""
    fresh = _fresh(request, now, trace)
    while (watch := watches.get(tx, request.workspace, request.job_id)) is None:
        if watches.add(tx, fresh):  # the old one was deleted by another relay's janitor meanwhile
            return fresh, True
    if watch.state is WatchState.ACTIVE:
        relies = watch.exec_callback or request.exec_callback
        return watches.mark(tx, watch, exec_callback=relies, unconfirmed_since=None), False
    if watch.state is WatchState.SETTLED:
        return watch, False
    # What the job was before belongs to that watching: that it has started is told anew in this one.
    watch = replace(fresh, looks=watch.looks, last_look_at=watch.last_look_at)
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
        missed = [event for event in known if event.type is EventType.STARTED][-1:] if watch.job else []
    for event in missed:
        if event.type in registration.events:
            outbox.enqueue(tx, event, [(endpoint, registration)], now, first_delay=0)
