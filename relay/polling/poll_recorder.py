"""Records the result of a poll in one transaction: the watch, the workspace, the events and their deliveries."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from relay.config import Config
from relay.delivery.enqueue import enqueue
from relay.model import (
    ENDINGS_AT_EXEC,
    Event,
    EventType,
    Instant,
    ReplacedEvent,
    ScenarioJob,
    Watch,
    WatchState,
    event_id,
)
from relay.model.poll_result import Poll
from relay.polling import transitions
from relay.polling.request_budget import RateLimit
from relay.polling.schedule.arrival_forecast import record_arrivals
from relay.polling.schedule.policy import learned_by
from relay.polling.transitions import Policy, Transition
from relay.store.engine.database import Tx
from relay.store.tables import events, outbox, polls, registrations, watches, workspaces


class Reservation(outbox.Leasing, Protocol):
    """Leases the deliveries that a transaction inserts, and starts them: `relay.delivery.admission.Reservation`."""

    def __enter__(self) -> "Reservation": ...

    def __exit__(self, *_: Any) -> None: ...

    def reset(self) -> None:
        """Call when the transaction starts, which may happen more than once."""

    async def start(self, leased: Sequence[outbox.Leased]) -> None:
        """Starts the leased deliveries; call after the commit."""


class PollRecorder:
    """Records polls. `seen_since` is as for the `Poller`."""

    def __init__(self, config: Config, rng: random.Random, seen_since: Callable[[], Instant]) -> None:
        self._config, self._rng, self._seen_since = config, rng, seen_since

    def record(
        self,
        tx: Tx,
        leased_watch: Watch,
        poll: Poll,
        now: Instant,
        rate_limit: RateLimit,
        policy: Policy,
        reservation: Reservation,
    ) -> tuple[Transition | None, list[outbox.Leased]]:
        """Records a poll, only in the workspace if the watch has ended meanwhile.

        Returns what the poll means for the watch, and the deliveries to start after the commit. Locks the workspace,
        then the watch.
        """
        reservation.reset()
        state = workspaces.lock(tx, leased_watch.workspace)
        watch = watches.get_for_update(tx, leased_watch.workspace, leased_watch.job_id)
        jitter = self._rng.random()
        state = transitions.apply_poll_to_workspace(state, poll.result, now, rate_limit, jitter)
        transition, leased = None, list[outbox.Leased]()
        if watch is not None:
            polls.add(tx, watch, poll)
        if watch is not None and watch.state is WatchState.ACTIVE:
            max_age, since = self._config.polling.max_age, self._seen_since()
            transition = transitions.apply_poll(watch, poll, now, max_age, jitter, policy, since)
            watches.save(tx, transition.watch)
            leased = self._emit_events(tx, transition, now, reservation)
            if watch.polls == 0 and not watch.exec_callback:
                state = replace(state, arrivals=record_arrivals(state.arrivals, 1, watch.created_at))
            state = replace(state, durations=learned_by(state.durations, watch, transition.watch, poll))
        workspaces.save(tx, state)
        return transition, leased

    def _emit_events(
        self, tx: Tx, transition: Transition, now: Instant, reservation: Reservation
    ) -> list[outbox.Leased]:
        watch, leased = transition.watch, list[outbox.Leased]()
        for type in transition.events:
            replaced = replaced_event(tx, watch, type)
            event = make_event(watch, type, now, self._config.polling.max_age)
            event = events.add(tx, replace(event, replaces=replaced))
            subscribers = registrations.lock_subscribers(tx, event.workspace, event.job_id, type, replaced is not None)
            first_delay = self._config.delivery.schedule[0]
            leased += enqueue(tx, event, subscribers, now, first_delay, watch.trace, reservation).leased
        if watch.state is not WatchState.ACTIVE:
            registrations.mark_ended(tx, watch.workspace, watch.job_id)
        return leased


def replaced_event(tx: Tx, watch: Watch, type: EventType) -> ReplacedEvent | None:
    """The relay's own ending that an earlier watch of the job was given up with, if `type` is its ending at Exec."""
    if watch.given_up_event_id is None or type not in ENDINGS_AT_EXEC:
        return None
    before = events.get(tx, watch.given_up_event_id)
    return ReplacedEvent(before.id, EventType(before.type)) if before else None


def make_event(watch: Watch, type: EventType, now: Instant, max_age: int) -> Event:
    """The event that the watch's state establishes, with the time at which it happened.

    The time depends only on what Exec says and on the stored watch, not on when the relay polled. So every relay, also
    after a restore, makes the same body for the same id.
    """
    at = _occurred_at(watch.job, type)
    is_of_one_watch = at is None or type not in ENDINGS_AT_EXEC
    if at is None:
        after = {EventType.EXPIRED: max_age, EventType.NOT_FOUND: transitions.NOT_FOUND_MIN_AGE}
        at = watch.created_at + after.get(type, 0)
    return Event(
        id=event_id(watch.workspace, watch.job_id, type, watch.created_at if is_of_one_watch else None),
        workspace=watch.workspace,
        job_id=watch.job_id,
        type=type,
        occurred_at=at,
        job=watch.job.raw() if watch.job else {"id": watch.job_id, "status": None},
        created_at=now,
    )


def _occurred_at(job: ScenarioJob | None, type: EventType) -> Instant | None:
    """When it happened according to Exec; if Exec does not say, the newest time that it gives of the job."""
    if job is None or type in (EventType.EXPIRED, EventType.NOT_FOUND):
        return None
    if type is EventType.STARTED:
        return job.started_at_ms if job.started_at_ms is not None else job.created_at_ms
    if job.ended_at_ms is not None:
        return job.ended_at_ms
    return max((at for at in (job.created_at_ms, job.started_at_ms) if at is not None), default=None)
