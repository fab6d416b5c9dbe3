"""Records the results of polls in one transaction: watches, workspaces, events and their deliveries."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from relay.config import Config
from relay.delivery import enqueue
from relay.model import (
    ENDINGS_AT_EXEC,
    Event,
    EventContext,
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
from relay.polling.event_context import event_context
from relay.polling.request_budget import RateLimit
from relay.polling.schedule.arrival_forecast import record_arrivals
from relay.polling.schedule.policy import learned_by
from relay.polling.transitions import Policy, Transition
from relay.store import Tx
from relay.store.tables import events, outbox, polls, registrations, watches, workspaces
from relay.telemetry.state_changes import News


class Reservation(outbox.Leasing, Protocol):
    """Leases the deliveries that a transaction inserts, and starts them: `relay.delivery.admission.Reservation`."""

    def __enter__(self) -> "Reservation": ...

    def __exit__(self, *_: Any) -> None: ...

    def reset(self) -> None:
        """Call when the transaction starts, which may happen more than once."""

    async def start(self, leased: Sequence[outbox.Leased]) -> None:
        """Starts the leased deliveries; call after the commit."""


@dataclass(frozen=True, slots=True, eq=False)
class AnsweredPoll:
    """A poll to record, of a watch as it was leased."""

    watch: Watch
    poll: Poll
    now: Instant
    reservation: Reservation
    news: Sequence[News] = ()
    """What the poll says about Exec to the operator."""


Recorded = tuple[Transition | None, list[outbox.Leased]]
"""What a poll means for its watch (None if the watch ended meanwhile), and the deliveries to start after the commit."""


class PollRecorder:
    """Records polls."""

    def __init__(
        self,
        config: Config,
        rate_limits: Mapping[str, RateLimit],
        policy_of: Callable[[str], Policy],
        rng: random.Random,
        seen_since: Callable[[], Instant],
        store_news: Callable[[Tx, Sequence[News]], None] = lambda tx, news: None,
    ) -> None:
        """`rate_limits` and `policy_of` are by workspace; `seen_since` and `store_news` are as for the `Poller`."""
        self._store_news = store_news
        self._config, self._rate_limits, self._policy_of = config, rate_limits, policy_of
        self._rng, self._seen_since = rng, seen_since

    def record(self, tx: Tx, answered_polls: Sequence[AnsweredPoll]) -> list[Recorded]:
        """Records polls that were answered at the same time, for `Store.write_together`.

        If a watch ended meanwhile, its poll is recorded only in the workspace and the history. Locks the workspaces,
        then the watches.
        """
        for item in answered_polls:
            item.reservation.reset()
        recorded: dict[int, Recorded] = {}
        for workspace in sorted({item.watch.workspace for item in answered_polls}):
            of_workspace = [item for item in answered_polls if item.watch.workspace == workspace]
            results = self._record_workspace(tx, workspace, of_workspace)
            recorded |= {id(item): result for item, result in zip(of_workspace, results, strict=True)}
        self._store_news(tx, [news for item in answered_polls for news in item.news])
        return [recorded[id(item)] for item in answered_polls]

    def _record_workspace(self, tx: Tx, workspace: str, answered_polls: Sequence[AnsweredPoll]) -> list[Recorded]:
        state = workspaces.lock(tx, workspace)
        current = watches.get_many_for_update(tx, workspace, {item.watch.job_id for item in answered_polls})
        polls.add_all(tx, [(item.watch, item.poll) for item in answered_polls if item.watch.job_id in current])
        all_transitions: list[Transition | None] = []
        for item in answered_polls:
            jitter = self._rng.random()
            result, rate_limit = item.poll.result, self._rate_limits[workspace]
            state = transitions.apply_poll_to_workspace(state, result, item.now, rate_limit, jitter)
            watch, transition = current.get(item.watch.job_id), None
            if watch is not None and watch.state is WatchState.ACTIVE:
                transition = self._apply(watch, item, jitter)
                current[watch.job_id] = transition.watch
                if watch.polls == 0 and not watch.exec_callback:
                    state = replace(state, arrivals=record_arrivals(state.arrivals, 1, watch.created_at))
                state = replace(state, durations=learned_by(state.durations, watch, transition.watch, item.poll))
            all_transitions.append(transition)
        changed = {item.watch.job_id: item.watch for item in all_transitions if item is not None}
        watches.save_all(tx, changed.values())
        leased = [
            self._emit_events(tx, transition, item) if transition is not None else []
            for transition, item in zip(all_transitions, answered_polls, strict=True)
        ]
        ended = [watch.job_id for watch in changed.values() if watch.state is not WatchState.ACTIVE]
        registrations.mark_ended(tx, workspace, *ended)
        workspaces.save(tx, state)
        return list(zip(all_transitions, leased, strict=True))

    def _apply(self, watch: Watch, item: AnsweredPoll, jitter: float) -> Transition:
        max_age, policy = self._config.polling.max_age, self._policy_of(watch.workspace)
        return transitions.apply_poll(watch, item.poll, item.now, max_age, jitter, policy, self._seen_since())

    def _emit_events(self, tx: Tx, transition: Transition, item: AnsweredPoll) -> list[outbox.Leased]:
        watch, now, leased = transition.watch, item.now, list[outbox.Leased]()
        for type in transition.events:
            replaced = replaced_event(tx, watch, type)
            active_registrations = registrations.not_withdrawn(tx, watch.workspace, watch.job_id)
            context = event_context(active_registrations, watch, type, self._config, self._policy_of(watch.workspace))
            event = make_event(watch, type, now, self._config.polling.max_age, context)
            event = events.add(tx, replace(event, replaces=replaced))
            with_ended = replaced is not None
            subscribers = registrations.lock_subscribers(
                tx, watch.workspace, watch.job_id, type, with_ended, active_registrations
            )
            first_delay = self._config.delivery.schedule[0]
            # rule: event-with-deliveries
            leased += enqueue(tx, event, subscribers, now, first_delay, watch.trace, item.reservation).leased
        return leased


def replaced_event(tx: Tx, watch: Watch, type: EventType) -> ReplacedEvent | None:
    """The relay's own ending that an earlier watch of the job was given up with, if `type` is its ending at Exec."""
    if watch.given_up_event_id is None or type not in ENDINGS_AT_EXEC:
        return None
    before = events.get(tx, watch.given_up_event_id)
    return ReplacedEvent(before.id, EventType(before.type)) if before else None


def make_event(watch: Watch, type: EventType, now: Instant, max_age: int, context: EventContext | None = None) -> Event:
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
        # rule: event-once
        id=event_id(watch.workspace, watch.job_id, type, watch.created_at if is_of_one_watch else None),
        workspace=watch.workspace,
        job_id=watch.job_id,
        type=type,
        occurred_at=at,
        job=watch.job.raw() if watch.job else {"id": watch.job_id, "status": None},
        created_at=now,
        context=context or EventContext(),
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
