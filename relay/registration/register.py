"""Registers one job for one endpoint, and withdraws registrations, inside the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from relay.delivery import enqueue
from relay.errors import NotFound, RequestError
from relay.model import (
    FINAL_EVENTS,
    THE_RELAY,
    Actor,
    AuditAction,
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
from relay.store import Tx
from relay.store.engine.database import new_row_id, random_bytes
from relay.store.tables import audit, events, outbox, registrations, watches
from relay.telemetry import trace_context


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationResult:
    """The result of a request. `secret` is set only if the request created the endpoint and verifies with a secret."""

    registration: Registration
    endpoint: Endpoint | None
    is_new: bool
    secret: str | None = field(default=None, repr=False)


def register(tx: Tx, request: ValidatedRegistration, now: Instant) -> RegistrationResult:
    """Registers a job for an endpoint. The same job and endpoint again return the existing registration.

    If the job has ended, its event is enqueued at once. Raises RequestError, for instance for an unknown endpoint.
    Locks the job's watch.
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
    """Registers each request as `register` does, in order. A refused request has its error as result.

    Most jobs are new: their watches and registrations are inserted together. Locks the watches of the others.
    """
    resolved = zip(requests, resolve_endpoints(tx, requests), strict=True)
    items = [
        recipient if isinstance(recipient, RequestError) else _Item(*timed, _new_registration(tx, timed, recipient))
        for timed, recipient in resolved
    ]
    accepted = [item for item in items if isinstance(item, _Item)]
    first_of_job = {item.job: item for item in reversed(accepted)}
    first = [item for item in accepted if first_of_job[item.job] is item]
    inserted = watches.add_all(
        tx, [_new_watch(item.request, item.now, item.result.registration.trace) for item in first]
    )
    registrations.add_all(tx, [item.result.registration for item in first if item.job in inserted])
    watches.lock(tx, first_of_job.keys() - inserted)
    for item in accepted:
        if item.job not in inserted or first_of_job[item.job] is not item:
            item.result = _register_existing(tx, item)
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
        request_id=request.request_id,
    )
    return RegistrationResult(registration=registration, endpoint=endpoint, is_new=True, secret=secret)


def _register_existing(tx: Tx, item: _Item) -> RegistrationResult:
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


def withdraw(tx: Tx, id: str, now: Instant, owner: str | None = None, actor: Actor = THE_RELAY) -> Registration:
    """Withdraws a registration: its pending deliveries are cancelled, a job without registrations is polled no longer.

    With `owner`, the name of an API key, another key's registration counts as missing. Raises NotFound. Withdrawing
    twice does no harm. Locks the job's watch.
    """
    if (registration := registrations.get(tx, id)) is not None:
        watches.lock(tx, [job := (registration.workspace, registration.job_id)])
        registration = registrations.get(tx, id)
    if registration is None or owner not in (None, registration.owner):  # guard: own-registrations
        raise NotFound("registration_not_found", "there is no registration with this id")
    if registration.status is RegistrationStatus.WITHDRAWN:
        return registration
    registrations.withdraw(tx, [id])
    if registration.endpoint_id:
        outbox.cancel(tx, registration.endpoint_id, job, now, "the registration was withdrawn")
    watches.withdraw_if_unwatched(tx, [job], now)
    audit.add(tx, actor, AuditAction.REGISTRATION_WITHDRAWN, now, id, job_id=registration.job_id)
    return replace(registration, status=RegistrationStatus.WITHDRAWN)


def _new_watch(request: ValidatedRegistration, now: Instant, trace: str | None) -> Watch:
    """A new watch. If the job was created with Exec's callback, its first poll is the one after a missing callback."""
    new = Watch(
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
        return new
    plan = next_poll.fallback_poll(next_poll.poll_state_of(new), now)
    return replace(new, next_poll_at=plan.at, next_poll_reason=plan.reason)


def _reactivate_watch(tx: Tx, request: ValidatedRegistration, now: Instant, trace: str | None) -> tuple[Watch, bool]:
    """The existing watch, or a new one if it was deleted meanwhile; and whether it is new.

    A watch that was given up or withdrawn becomes active again. Locks the watch.
    """
    new = _new_watch(request, now, trace)
    while (watch := watches.get_for_update(tx, request.workspace, request.job_id)) is None:
        if watches.add(tx, new):  # the retention job of another relay deleted the old one meanwhile
            return new, True
    if watch.state is WatchState.ACTIVE:
        exec_callback = watch.exec_callback or request.exec_callback
        active = watches.update_fields(tx, watch, exec_callback=exec_callback, unconfirmed_since=None)
        if watch.is_unconfirmed and request.owner not in (None, watch.owner):
            # The jobs of the other key may wait for confirmation; this key's registration does not wait with them.
            active = watches.update_fields(tx, active, owner=request.owner)
            watches.resume_one(tx, active, now)
        return active, False
    if watch.state is WatchState.SETTLED:
        return watch, False
    # The job's earlier state belongs to the earlier watch: this one emits job.started again.
    final = events.final_event(tx, watch.workspace, watch.job_id)
    watch = replace(
        new,
        polls=watch.polls,
        last_poll_at=watch.last_poll_at,
        given_up_event_id=final.id if final else None,
    )
    watches.save(tx, watch)
    return watch, False


def _enqueue_missed_events(
    tx: Tx, watch: Watch, endpoint: Endpoint | None, registration: Registration, now: Instant
) -> None:
    """Enqueues the event that a late registration missed: the final one, or job.started if the job has not ended."""
    if endpoint is None:
        return
    if watch.state is WatchState.SETTLED:
        final = events.final_event(tx, watch.workspace, watch.job_id)
        missed_events: list[Event] = [final] if final else []
    else:
        emitted = events.for_job(tx, watch.workspace, watch.job_id)
        missed_events = [event for event in emitted if event.type is EventType.STARTED][-1:] if watch.job else []
    for event in missed_events:
        if event.type in registration.events:
            enqueue(tx, event, [(endpoint, registration)], now, first_delay=0)
