"""Registering: one job × one endpoint, and its withdrawal, inside the caller's transaction."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from relay.delivery.enqueue import enqueue
from relay.errors import NotFound, RequestError
from relay.model import (
    FINAL_EVENTS,
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
from relay.polling.schedule import next_poll
from relay.registration.request import TimedRequest, ValidatedRegistration
from relay.registration.resolve_endpoints import Subscriber, resolve_endpoints
from relay.store.engine.database import Tx
from relay.store.tables import events, outbox, registrations, watches
from relay.telemetry import trace_context


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationResult:
    """What became of a request. `secret` is told only where the endpoint was made by it."""

    registration: Registration
    endpoint: Endpoint | None
    is_new: bool
    secret: str | None = field(default=None, repr=False)


def register(tx: Tx, request: ValidatedRegistration, now: Instant) -> RegistrationResult:
    """Registers a job for an endpoint: the same job and endpoint again give the registration that is there.

    A job that already ended is told at once. Raises Invalid for an endpoint that is not there.
    """
    [done] = register_batch(tx, [(request, now)])
    return raise_if_refused(done)


def raise_if_refused(done: RegistrationResult | RequestError) -> RegistrationResult:
    """What was made of a request. Raises why nothing was."""
    if isinstance(done, RequestError):
        raise done
    return done


def register_batch(tx: Tx, asked: Sequence[TimedRequest]) -> list[RegistrationResult | RequestError]:
    """What `register` would make of each, one after the other, and what it would raise; none spoils the others.

    Jobs that nobody watched before, as nearly all are, cost little more together than one.
    """
    heard_by = resolve_endpoints(tx, asked)
    first: dict[tuple[str, str], int] = {}
    for place, (request, _) in enumerate(asked):
        if not isinstance(heard_by[place], RequestError):
            first.setdefault((request.workspace, request.job_id), place)
    traced = [request.trace or trace_context.new_trace_id(secrets.token_bytes(16)) for request, _ in asked]
    added = watches.add_all(tx, [_new_watch(*asked[place], traced[place]) for place in first.values()])
    new = {place for job, place in first.items() if job in added}
    done: list[RegistrationResult | RequestError] = [
        subscriber if isinstance(subscriber, RequestError) else _registered(asking, subscriber, trace)
        for asking, subscriber, trace in zip(asked, heard_by, traced, strict=True)
    ]
    made = [one for place, one in enumerate(done) if place in new and isinstance(one, RegistrationResult)]
    registrations.add_all(tx, [one.registration for one in made])
    watches.lock(tx, first.keys() - added)
    for place, one in enumerate(done):
        if isinstance(one, RegistrationResult) and place not in new:
            done[place] = _register_known(tx, asked[place], one)
    return done


def _registered(asked: TimedRequest, subscriber: Subscriber, trace: str) -> RegistrationResult:
    """The registration of a job of which nothing else is known."""
    (request, now), (endpoint, secret) = asked, subscriber
    registration = Registration(
        id=new_id("reg", now),
        workspace=request.workspace,
        job_id=request.job_id,
        endpoint_id=endpoint.id if endpoint else None,
        status=RegistrationStatus.ACTIVE,
        events=request.events or (endpoint.events if endpoint else FINAL_EVENTS),
        metadata=request.metadata,
        created_at=now,
        trace=trace,
        owner=request.owner,
    )
    return RegistrationResult(registration=registration, endpoint=endpoint, is_new=True, secret=secret)


def _register_known(tx: Tx, asked: TimedRequest, new: RegistrationResult) -> RegistrationResult:
    """Registers a job that is watched, or was: `new`, or what is there in its place."""
    request, now = asked
    watch, is_new = _reactivate_watch(tx, request, now, new.registration.trace)
    found = None
    if not is_new:
        found = registrations.find_active(tx, request.workspace, request.job_id, new.registration.endpoint_id)
    waits = watch.state is WatchState.ACTIVE
    status = RegistrationStatus.ACTIVE if waits else RegistrationStatus.SETTLED
    registration = replace(found or new.registration, status=status)
    if found is None:
        registrations.add(tx, registration)
        if not is_new:
            _enqueue_missed_events(tx, watch, new.endpoint, registration, now)
    elif found.status is not status:
        registrations.save(tx, registration)
    return replace(new, registration=registration, is_new=found is None)


def withdraw(tx: Tx, id: str, now: Instant, owner: str | None = None) -> Registration:
    """Withdraws a registration: its pending deliveries are cancelled, a job nobody waits for is no longer polled.

    With `owner`, the name of an API key, another key's registration is as good as missing. Raises NotFound.
    Withdrawing twice does no harm.
    """
    if (found := registrations.get(tx, id)) is not None:
        watches.lock(tx, [job := (found.workspace, found.job_id)])
        found = registrations.get(tx, id)
    if found is None or owner not in (None, found.owner):  # guard: own-registrations
        raise NotFound("registration_not_found", "there is no registration with this id")
    if found.status is RegistrationStatus.WITHDRAWN:
        return found
    registrations.withdraw(tx, [id])
    if found.endpoint_id:
        outbox.cancel(tx, found.endpoint_id, job, now, "the registration was withdrawn")
    watches.withdraw_if_unwatched(tx, [job], now)
    return replace(found, status=RegistrationStatus.WITHDRAWN)


def _new_watch(request: ValidatedRegistration, now: Instant, trace: str | None) -> Watch:
    """The watch of a job that nobody watches."""
    fresh = Watch(
        workspace=request.workspace,
        job_id=request.job_id,
        state=WatchState.ACTIVE,
        created_at=now,
        next_poll_at=now,
        next_poll_reason="just registered",
        exec_callback=request.exec_callback,
        trace=trace,
    )
    if not request.exec_callback:
        return fresh
    plan = next_poll.fallback_poll(next_poll.poll_state_of(fresh), now)
    return replace(fresh, next_poll_at=plan.at, next_poll_reason=plan.reason)


def _reactivate_watch(tx: Tx, request: ValidatedRegistration, now: Instant, trace: str | None) -> tuple[Watch, bool]:
    """The watch that was there, and whether it is there no more and was made anew; one that was given up or withdrawn
    is taken up again."""
    fresh = _new_watch(request, now, trace)
    while (watch := watches.get_for_update(tx, request.workspace, request.job_id)) is None:
        if watches.add(tx, fresh):  # the old one was deleted by another relay's janitor meanwhile
            return fresh, True
    if watch.state is WatchState.ACTIVE:
        relies = watch.exec_callback or request.exec_callback
        return watches.update_fields(tx, watch, exec_callback=relies, unconfirmed_since=None), False
    if watch.state is WatchState.SETTLED:
        return watch, False
    # What the job was before belongs to that watching: that it has started is told anew in this one.
    watch = replace(fresh, polls=watch.polls, last_poll_at=watch.last_poll_at)
    watches.save(tx, watch)
    return watch, False


def _enqueue_missed_events(
    tx: Tx, watch: Watch, endpoint: Endpoint | None, registration: Registration, now: Instant
) -> None:
    """Enqueues what a late registration missed: the ending of a settled job, or that a live one has started."""
    if endpoint is None:
        return
    if watch.state is WatchState.SETTLED:
        ending = events.final_event(tx, watch.workspace, watch.job_id)
        missed: list[Event] = [ending] if ending else []
    else:
        known = events.for_job(tx, watch.workspace, watch.job_id)
        missed = [event for event in known if event.type is EventType.STARTED][-1:] if watch.job else []
    for event in missed:
        if event.type in registration.events:
            enqueue(tx, event, [(endpoint, registration)], now, first_delay=0)
