"""Watching: picks the looks that are due, makes them, and settles what they saw.

A tick picks due watches from an index, spends the workspace's budget for them and leases them, all in one
transaction, before the first request leaves: a crash can waste a look, never overdraw the budget. What a look saw is
settled in one transaction too: the watch, the event, the deliveries.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from relay import budget, looking, planner
from relay.arrivals import arrived
from relay.budget import Allowance, granted, limited, spend
from relay.config import Config, Workspace
from relay.errors import StoreError
from relay.exec_api import ExecClient
from relay.looking import Faulty, KeyRefused, Limited, Look, Seen, Step
from relay.model import (
    ENDINGS_AT_EXEC,
    SECOND,
    Event,
    EventType,
    Instant,
    ScenarioJob,
    Watch,
    WatchState,
    event_id,
)
from relay.pace import FRESH, Load, Pace, learned, make_pace, read_arrivals, read_durations, read_ledger
from relay.planner import Plan, sight_of
from relay.store import events, outbox, registrations, watches, workspaces
from relay.store.database import Store, Tx
from relay.store.workspaces import WorkspaceState
from relay.telemetry import Telemetry

GRACE = 5 * SECOND
"""How long looks under way may take when the relay stops."""

_PRICED = 1_000
"""Active watches from which the price of a look is reckoned."""

_COUNTED = 20_000
"""Active watches that are counted; with more of them the price is as high as it gets."""

_RANKED = 500
"""Due watches among which a tick chooses when the budget does not reach for all."""


class Reservation(outbox.Leasing, Protocol):
    """Leases what a transaction inserts, and begins it: `relay.dispatcher.admission.Reservation`."""

    def __enter__(self) -> "Reservation": ...

    def __exit__(self, *_: Any) -> None: ...

    def reset(self) -> None:
        """The transaction begins, perhaps again."""

    async def start(self, leased: Sequence[outbox.Leased]) -> None:
        """Begins what was leased; to be called after the commit."""


class Watcher:
    """Looks at Exec for every workspace."""

    def __init__(
        self,
        store: Store,
        config: Config,
        clients: Mapping[str, ExecClient],
        clock: Callable[[], Instant],
        telemetry: Telemetry,
        reserve: Callable[[], Reservation],
        settled: Callable[[], None],
        rng: random.Random,
        seen_since: Callable[[], Instant] = lambda: 0,
    ) -> None:
        """`reserve` gives the slots in which the deliveries of a poll begin; `settled` is called if there are any.
        `seen_since` is when ages begin to count, whatever was stamped before."""
        self._store, self._config, self._clients, self._clock = store, config, clients, clock
        self._telemetry, self._reserve, self._settled, self._rng = telemetry, reserve, settled, rng
        self._seen_since = seen_since
        self.allowances = {space.name: allowance_of(space) for space in config.workspaces}
        self._paces: dict[str, Pace] = {}
        self._spent: dict[str, Instant] = {}
        self._looking: dict[asyncio.Task[None], Watch] = {}
        self._lease = config.exec.timeout * 2 + 10 * SECOND

    async def tick(self) -> None:
        """Starts every look that is due and that budget and concurrency allow. Raises StoreError."""
        now = self._clock()
        for workspace in self._clients:
            free = self._config.polling.concurrency - len(self._looking)
            if free <= 0:
                return
            if self._is_spent(workspace, now):
                continue
            due, paused = await self._store.read(
                lambda tx, name=workspace: (watches.next_due(tx, name), workspaces.get(tx, name).paused_until)  # type: ignore[misc]
            )
            if due is None or due > now or (paused is not None and paused > now):
                continue
            await self.set_pace(workspace, now)
            chosen, opens_at = await self._store.write(
                lambda tx, name=workspace, n=free: self._claim(tx, name, n)  # type: ignore[misc]
            )
            self._spent[workspace] = min(opens_at, now + SECOND)
            for watch in chosen:
                task = asyncio.create_task(self._look(watch))
                self._looking[task] = watch
                task.add_done_callback(self._looking.pop)

    def _is_spent(self, workspace: str, now: Instant) -> bool:
        """Whether a tick within the last second found the budget spent beyond `now`: a burst of registrations wakes the
        relay far more often than looks are to be had."""
        return now < self._spent.get(workspace, now) <= now + SECOND

    def pace_of(self, workspace: str) -> Pace | None:
        """What decides the workspace's looks for now; None before the first, or where they have a fixed interval."""
        return self._paces.get(workspace)

    async def idle(self) -> None:
        """Returns when no look is under way."""
        while self._looking:
            await asyncio.gather(*self._looking)

    async def stop(self) -> None:
        """Gives looks under way their grace, then gives them back: what they would have seen, the next look will see.

        Raises StoreError where the store fails; then their leases run out.
        """
        if not self._looking:
            return
        _, late = await asyncio.wait(self._looking, timeout=GRACE / 1_000)
        unseen = [self._looking[task] for task in late]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if unseen:
            now = self._clock()
            await self._store.write(lambda tx: watches.give_back(tx, unseen, now))

    def _claim(self, tx: Tx, workspace: str, free: int) -> tuple[list[Watch], Instant]:
        """What was leased; and when there can be more: now, unless the budget is spent.

        Locks the workspace, and reads the clock after that: what others spent while this one waited was spent before.
        """
        state, now = workspaces.lock(tx, workspace), self._clock()
        if state.paused_until is not None and state.paused_until > now:
            return [], now
        ledger, allowance = read_ledger(state.ledger), self.allowances[workspace]
        if (most := granted(ledger, allowance, now, free)) <= 0:
            return [], budget.opens_at(ledger, allowance, now)
        hinted = watches.hinted(tx, workspace, now, free)
        front = {watch.job_id for watch in hinted}
        planned = [watch for watch in watches.due(tx, workspace, now, _RANKED) if watch.job_id not in front]
        due = [*hinted, *self._not_put_off(tx, workspace, planned, now)]
        number = min(most, len(due), 1 if self._probing(state) else most)
        if not number:
            return [], now
        pace = self._paces.get(workspace)
        if pace is not None and number < len(due):
            due = sorted(due, key=lambda watch: (watch.job_id in front, pace.gain(sight_of(watch), now)), reverse=True)
        chosen = watches.lease(tx, due[:number], now + self._lease)
        workspaces.save(tx, replace(state, ledger=spend(ledger, number, now).to_json()))
        return chosen, now

    def _not_put_off(self, tx: Tx, workspace: str, due: Sequence[Watch], now: Instant) -> list[Watch]:
        """Those whose look is worth its price of this moment too; the others get another plan."""
        pace = self._paces.get(workspace)
        if pace is None:
            return list(due)
        kept = []
        for watch in due:
            later = None if watch.missing else pace.put_off(sight_of(watch), now)
            deadline = watch.created_at + self._config.polling.max_age
            if later is None or deadline <= now:
                kept.append(watch)
            else:
                watches.put_off(tx, watch, min(later.at, deadline), later.why)
        return kept

    @staticmethod
    def _probing(state: WorkspaceState) -> bool:
        """Whether the workspace was in trouble at its last look, so that one look must show that it is over."""
        return state.pause_kind in ("key_refused", "faulty")

    async def _look(self, watch: Watch) -> None:
        with self._telemetry.looking(watch) as span:
            may_repeat = partial(self._may_repeat, watch.workspace)
            look = await self._clients[watch.workspace].look(watch.job_id, may_repeat)
            span.tell({"relay.outcome": looking.name_of(look.sighting)})
        now = self._clock()
        look = replace(look, started_at=min(look.started_at, now))  # the clock may have been set back meanwhile
        self._telemetry.looked(watch, look)
        try:
            with self._reserve() as reservation:
                step, leased = await self._store.write(lambda tx: self._settle(tx, watch, look, now, reservation))
                await reservation.start(leased)
        except StoreError as error:
            # The lease runs out and the look is made again; nothing that was seen is lost at Exec.
            self._telemetry.log.error("a look at job %s could not be written down: %s", watch.job_id, error)
            return
        except Exception:
            self._telemetry.log.exception("a look at job %s could not be written down", watch.job_id)
            return
        if step is not None and step.events:
            self._telemetry.settled(step.watch, step.events, now)
            self._settled()

    async def _may_repeat(self, workspace: str) -> bool:
        """Whether the budget has one more request for a poll under way; it is spent then, before the request leaves."""
        try:
            return await self._store.write(lambda tx: self._spend_one(tx, workspace))
        except StoreError:
            return False  # the poll fails, and is made again when the store works

    def _spend_one(self, tx: Tx, workspace: str) -> bool:
        state = workspaces.lock(tx, workspace)
        ledger, now = read_ledger(state.ledger), self._clock()
        if granted(ledger, self.allowances[workspace], now, 1) < 1:
            return False
        workspaces.save(tx, replace(state, ledger=spend(ledger, 1, now).to_json()))
        return True

    def _settle(
        self, tx: Tx, claimed: Watch, look: Look, now: Instant, reservation: Reservation
    ) -> tuple[Step | None, list[outbox.Leased]]:
        """Writes what a look saw: nothing of it where the watch went away or ended meanwhile. And what is leased."""
        reservation.reset()
        state = workspaces.lock(tx, claimed.workspace)
        watch = watches.get(tx, claimed.workspace, claimed.job_id)
        state = self._workspace_after(state, look, now)
        step, leased = None, list[outbox.Leased]()
        if watch is not None:
            watches.record(tx, watch, look)
        if watch is not None and watch.state is WatchState.ACTIVE:
            jitter = self._rng.random()
            max_age, since = self._config.polling.max_age, self._seen_since()
            step = looking.step(watch, look, now, max_age, jitter, lambda seen: self.plan(seen, now), since)
            watches.save(tx, step.watch)
            leased = self._tell(tx, step, now, reservation)
            if watch.looks == 0 and not watch.exec_callback:
                state = replace(state, arrivals=arrived(read_arrivals(state.arrivals), 1, now).to_json())
            if step.watch.state is not WatchState.ACTIVE:
                state = replace(state, durations=learned(read_durations(state.durations), step.watch).to_json())
        workspaces.save(tx, state)
        return step, leased

    def plan(self, watch: Watch, now: Instant) -> Plan:
        """The next look of a watch, as the workspace's pace has it for now."""
        pace = self._paces.get(watch.workspace)
        if self._config.polling.strategy == "interval" or pace is None:
            return planner.interval_plan(sight_of(watch), self._config.polling.interval, now)
        return pace.plan(sight_of(watch), now)

    def forget_paces(self) -> None:
        """The looks of every workspace are priced anew at the next tick with one due."""
        self._paces.clear()

    async def set_pace(self, workspace: str, now: Instant) -> None:
        """Prices the workspace's looks anew, where the last pace is no longer fresh. Raises StoreError."""
        known = self._paces.get(workspace)
        if self._config.polling.strategy == "interval" or (known and 0 <= now - known.made_at < FRESH):
            return
        load = await self._store.read(lambda tx: load_of(tx, workspace, self.allowances[workspace], now))
        # On a thread: pricing takes a few hundredths of a second, and deliveries should not wait for it.
        self._paces[workspace] = await asyncio.to_thread(make_pace, load, now, known)

    def _tell(self, tx: Tx, step: Step, now: Instant, reservation: Reservation) -> list[outbox.Leased]:
        leased = []
        for type in step.events:
            event = events.add(tx, make_event(step.watch, type, now, self._config.polling.max_age))
            subscribers = registrations.subscribers(tx, event.workspace, event.job_id, type)
            first_delay = self._config.delivery.schedule[0]
            enqueued = outbox.enqueue(tx, event, subscribers, now, first_delay, step.watch.trace, reservation)
            leased += enqueued.leased
        if step.watch.state is not WatchState.ACTIVE:
            registrations.settle(tx, step.watch.workspace, step.watch.job_id)
        return leased

    def _workspace_after(self, state: WorkspaceState, look: Look, now: Instant) -> WorkspaceState:
        """Whether the workspace as a whole has to wait after this look."""
        if state.paused_until is not None and state.paused_until > now and not isinstance(look.sighting, Limited):
            return state  # looks that were under way when the pause began say nothing new
        match look.sighting:
            case Faulty("internal"):
                return state  # it says nothing of Exec
            case KeyRefused(status, text):
                until, why = now + looking.KEY_PROBE, f"Exec refuses the API key ({status}: {text}); check exec.api_key"
                return replace(state, paused_until=until, pause_kind="key_refused", pause_reason=why)
            case Limited(retry_after):
                allowance = self.allowances[state.name]
                ledger = limited(read_ledger(state.ledger), allowance, retry_after, now)
                why = "Exec answered 429: the workspace's requests are used up, by this relay or by other tools"
                until = ledger.paused_until
                return replace(
                    state, ledger=ledger.to_json(), paused_until=until, pause_kind="limited", pause_reason=why
                )
        if looking.counts_against_exec(look.sighting):
            faults = state.faults + 1
            pause = looking.breaker_pause(faults, self._rng.random())
            if pause is None:
                return replace(state, faults=faults)
            why = f"Exec does not work: {faults} looks in a row failed; trying one look at a time"
            return replace(state, faults=faults, paused_until=now + pause, pause_kind="faulty", pause_reason=why)
        if isinstance(look.sighting, Seen) or state.pause_kind is not None or state.faults:
            return replace(state, faults=0, paused_until=None, pause_kind=None, pause_reason=None)
        return state


def allowance_of(space: Workspace) -> Allowance:
    """What a workspace may spend, as configured."""
    return Allowance(space.budget.per_minute, space.budget.per_day, space.budget.share)


def load_of(tx: Tx, workspace: str, allowance: Allowance, now: Instant) -> Load:
    """What the workspace's looks are priced by."""
    state = workspaces.get(tx, workspace)
    return Load(
        durations=read_durations(state.durations),
        sights=[sight_of(watch) for watch in watches.active(tx, workspace, _PRICED)],
        number=watches.count_carried(tx, workspace, _COUNTED),
        left=budget.left(read_ledger(state.ledger), allowance, now),
        arrivals=read_arrivals(state.arrivals),
    )


def make_event(watch: Watch, type: EventType, now: Instant, max_age: int) -> Event:
    """The fact that `watch` establishes, with the time at which it happened.

    The time follows from what Exec says, or from what is stored of the watch, and never from when the relay came to
    look: whichever relay finds it, and after a restore too, the same id has the same body.
    """
    at = _said_at(watch.job, type)
    one_watching = at is None or type not in ENDINGS_AT_EXEC
    if at is None:
        after = {EventType.EXPIRED: max_age, EventType.NOT_FOUND: looking.MISSING_FOR}
        at = watch.created_at + after.get(type, 0)
    return Event(
        id=event_id(watch.workspace, watch.job_id, type, watch.created_at if one_watching else None),
        workspace=watch.workspace,
        job_id=watch.job_id,
        type=type,
        occurred_at=at,
        job=watch.job.as_exec_sent_it() if watch.job else {"id": watch.job_id, "status": None},
        created_at=now,
    )


def _said_at(job: ScenarioJob | None, type: EventType) -> Instant | None:
    """When it happened by what Exec says; if it doesn't, the newest instant that it gives of the job."""
    if job is None or type in (EventType.EXPIRED, EventType.NOT_FOUND):
        return None
    if type is EventType.STARTED:
        return job.started if job.started is not None else job.created
    if job.ended is not None:
        return job.ended
    return max((at for at in (job.created, job.started) if at is not None), default=None)
