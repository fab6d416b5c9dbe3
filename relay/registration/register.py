"""Registering: one job × one endpoint, and its withdrawal, inside the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from relay.delivery import enqueue
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
)
from relay.polling.schedule import next_poll
from relay.registration.request import TimedRequest, ValidatedRegistration
from relay.registration.resolve_endpoints import Subscriber, resolve_endpoints
from relay.store.engine.database import Tx, new_row_id, random_bytes
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
    """Registers a job for an endpoint. The same job and endpoint again return the existing registration.

    If the job has ended, its event is enqueued at once. Raises RequestError, for instance for an unknown endpoint.
    """
    [result] = register_batch(tx, [(request, now)])
    return raise_if_refused(result)


def raise_if_refused(result: RegistrationResult | RequestError) -> RegistrationResult:
    """The result, unless it is an error. Raises that error."""
    if isinstance(result, RequestError):
        raise result
    return result


@dataclass(slots=True)
class _Item:
    """One request of a batch whose endpoint is resolved, and its result so far."""

    request: ValidatedRegistration
    now: Instant
    result: RegistrationResult

    @property
    def job(self) -> tuple[str, str]:
        return self.request.workspace, self.request.job_id


def register_batch(tx: Tx, requests: Sequence[TimedRequest]) -> list[RegistrationResult | RequestError]:
    """Registers each request as `register` does, in order; returns the error of one that is refused.

    Most jobs are new: all of their watches and registrations are inserted together. Locks the watches of the others.
    """
    resolved = zip(requests, resolve_endpoints(tx, requests), strict=True)
    items = [
        recipient if isinstance(recipient, RequestError) else _Item(*timed, _new_registration(tx, timed, recipient))
        for timed, recipient in resolved
    ]
    accepted = [item for item in items if isinstance(item, _Item)]
    first_of_job = {item.job: item for item in reversed(accepted)}
    first = [item for item in accepted if first_of_job[item.job] is item]
    added = watches.add_all(tx, [_new_watch(item.request, item.now, item.result.registration.trace) for item in first])
    registrations.add_all(tx, [item.result.registration for item in first if item.job in added])
    watches.lock(tx, first_of_job.keys() - added)
    for item in accepted:
        if item.job not in added or first_of_job[item.job] is not item:
            item.result = _register_known(tx, item)
    return [item.result if isinstance(item, _Item) else item for item in items]


def _new_registration(tx: Tx, timed: TimedRequest, recipient: Subscriber) -> RegistrationResult:
    """The registration of a job that has no watch yet."""
    (request, now), (endpoint, secret) = timed, recipient
    registration = Registration(
        id=new_row_id(tx, "reg", now),
        workspace=request.workspace,
        job_id=request.job_id,
        endpoint_id=endpoint.id if endpoint else None,
        status=RegistrationStatus.ACTIVE,
        events=request.events or (endpoint.events if endpoint else ()) or FINAL_EVENTS,
        metadata=request.metadata,
        created_at=now,
        trace=request.trace or trace_context.new_trace_id(random_bytes(tx, 16)),
        owner=request.owner,
        requested_by=request.requested_by,
        prompt=request.prompt,
    )
    return RegistrationResult(registration=registration, endpoint=endpoint, is_new=True, secret=secret)


def _register_known(tx: Tx, item: _Item) -> RegistrationResult:
    """The result for a job that has, or had, a watch: the existing registration, or the new one."""
    request, new = item.request, item.result
    watch, is_new = _reactivate_watch(tx, request, item.now, new.registration.trace)
    existing = None
    if not is_new:
        existing = registrations.find_active(tx, request.workspace, request.job_id, new.registration.endpoint_id)
    status = RegistrationStatus.ACTIVE if watch.state is WatchState.ACTIVE else RegistrationStatus.SETTLED
    registration = replace(existing or new.registration, status=status)
    if existing is None:
        registrations.add(tx, registration)
        if not is_new:
            _enqueue_missed_events(tx, watch, new.endpoint, registration, item.now)
    elif existing.status is not status:
        registrations.save(tx, registration)
    return replace(new, registration=registration, is_new=existing is None)


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
        owner=request.owner,
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
        known = watches.update_fields(tx, watch, exec_callback=relies, unconfirmed_since=None)
        if watch.is_unconfirmed and request.owner not in (None, watch.owner):
            # The other key's jobs may wait for confirmation; this key's registration does not wait with them.
            known = watches.update_fields(tx, known, owner=request.owner)
            watches.resume_one(tx, known, now)
        return known, False
    if watch.state is WatchState.SETTLED:
        return watch, False
    # What the job was before belongs to that watching: that it has started is told anew in this one.
    given_up = events.final_event(tx, watch.workspace, watch.job_id)
    watch = replace(
        fresh,
        polls=watch.polls,
        last_poll_at=watch.last_poll_at,
        given_up_event_id=given_up.id if given_up else None,
    )
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
