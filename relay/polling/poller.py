"""The poller: selects due watches, polls Exec for them and records the results.

A tick reads due watches from an index, spends the workspace's budget for them and leases them, all in one transaction,
before the first request leaves: a crash can waste a poll, but cannot overdraw the budget. One more transaction records
the result of a poll: the watch, the events and their deliveries.
"""

import asyncio
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from zlib import crc32

from relay.config import Config, Workspace
from relay.errors import StoreError
from relay.model import (
    MINUTE,
    SECOND,
    Instant,
    Watch,
    WatchState,
    to_rfc3339,
)
from relay.model.poll_result import JobFound, Poll, outcome_label
from relay.polling import request_budget
from relay.polling.exec_client import ExecClient
from relay.polling.exec_condition import ExecHealth, is_unknown_status, rate_limit_condition
from relay.polling.poll_recorder import AnsweredPoll, PollRecorder, Reservation
from relay.polling.request_budget import RateLimit, allowed_now, is_late, spend
from relay.polling.schedule.key_turns import take_turns
from relay.polling.schedule.next_poll import IntervalPolicy, poll_state_of
from relay.polling.schedule.policy import (
    POLICY_TTL,
    PollPolicy,
    Workload,
    build_policy,
)
from relay.polling.schedule.poll_selection import Due, Moment, select
from relay.polling.transitions import Policy
from relay.polling.unconfirmed_jobs import Held, UnconfirmedJobs
from relay.store import Store, Tx
from relay.store.tables import pending_work, watches, workspaces
from relay.store.tables.pending_work import PendingPolls
from relay.store.tables.workspaces import WorkspaceState
from relay.telemetry import Telemetry
from relay.telemetry.state_changes import WORKING, Condition, News, State, Subject

GRACE = 5 * SECOND
"""How long polls in flight may take when the relay stops."""

_MAX_SAMPLED = 1_000
"""Maximum number of active watches from which the price of a poll is calculated."""

_MAX_COUNTED = 20_000
"""Maximum number of active watches that are counted. With more of them the price is at its maximum."""

_MAX_RANKED = 500
"""Maximum number of due watches among which a tick chooses if the budget is too small for all."""

_READ_WIDELY_EVERY = 10 * SECOND

_MAX_DOUBTFUL = 64
"""Due watches that are read beyond those that can be polled: doubtful ones may have to wait, and stay due."""


@dataclass(frozen=True, slots=True)
class DuePolls:
    """What is known of a workspace in which a poll is due."""

    unconfirmed: Mapping[str, int]
    """The number of unconfirmed jobs that are due, by API key."""
    opens_at: Instant | None
    """When the budget has a request again; None if it has one."""


class Poller:
    """Polls Exec for every workspace."""

    def __init__(
        self,
        store: Store,
        config: Config,
        clients: Mapping[str, ExecClient],
        clock: Callable[[], Instant],
        telemetry: Telemetry,
        reserve: Callable[[], Reservation],
        on_events: Callable[[], None],
        rng: random.Random,
        seen_since: Callable[[], Instant] = lambda: 0,
        on_end: Callable[[str], None] = lambda _: None,
        store_news: Callable[[Tx, Sequence[News]], None] = lambda tx, news: None,
        may_spend: Callable[[], bool] = lambda: True,
    ) -> None:
        """`reserve` reserves slots for the deliveries that a poll inserts; `on_events` is called after events are
        recorded, and `on_end` with the id of a job that is no longer polled. `store_news` stores news for the operator
        in the transaction of the poll that brings them. Ages count from `seen_since` at the
        earliest, because earlier times may come from a wrong clock. Nothing is spent unless `may_spend` says, after
        the clock was read, that the ledgers go by it."""
        self._store, self._config, self._clients, self._clock = store, config, clients, clock
        self._telemetry, self._reserve, self._on_events, self._on_end = telemetry, reserve, on_events, on_end
        self.rate_limits = {space.name: rate_limit_of(space) for space in config.workspaces}
        self._recorder = PollRecorder(config, self.rate_limits, self.current_policy, rng, seen_since, store_news)
        self._policies: dict[str, PollPolicy] = {}
        self._tested: dict[str, Instant] = {}
        self._spent: dict[str, Instant] = {}
        self._unconfirmed = UnconfirmedJobs(self.rate_limits)
        self._served: dict[tuple[str, str | None], int] = {}
        """By workspace and API key: the number of the poll that served it last."""
        self._numbers = itertools.count()
        self._read_widely_at: dict[str, Instant] = {}
        self._health: defaultdict[str, ExecHealth] = defaultdict(ExecHealth)
        self._in_flight: dict[asyncio.Task[None], Watch] = {}
        self._lease = config.exec.timeout * 2 + 10 * SECOND
        self.may_spend = may_spend

    async def tick(self) -> None:
        """Starts every poll that is due and that budget and concurrency allow. Raises StoreError."""
        await self.start(await self._store.read(lambda tx: self.find_due(tx, pending_work.find(tx).polls)))

    def find_due(self, tx: Tx, waiting: Mapping[str, PendingPolls]) -> dict[str, DuePolls]:
        """The workspaces in which a poll is due and which are not paused, for `start`; `waiting` is what the
        transaction has found to wait. Reads only, and only if a poll is due that the budget allows.
        """
        now, due = self._clock(), dict[str, DuePolls]()
        for workspace in list(self._clients):
            if self._is_spent(workspace, now):
                continue
            pending = pending_work.polls_of(tx, workspace, waiting)
            is_paused = pending.paused_until is not None and pending.paused_until > now
            if pending.due_at is None or pending.due_at > now or is_paused:
                continue
            ledger, rate_limit = workspaces.decode_ledger(pending.ledger), self.rate_limits[workspace]
            if allowed_now(ledger, rate_limit, now, 1):
                due[workspace] = DuePolls(watches.due_unconfirmed(tx, workspace, now, _MAX_COUNTED), None)
            else:
                due[workspace] = DuePolls({}, request_budget.next_allowed_at(ledger, rate_limit, now))
        return due

    async def start(self, due: Mapping[str, DuePolls]) -> None:
        """Starts every due poll that budget and concurrency allow, of what `find_due` has found. Raises StoreError."""
        now = self._clock()
        for workspace, found in due.items():
            free_slots = self._config.polling.concurrency - len(self._in_flight)
            if free_slots <= 0:
                return
            leased, opens_at = list[Watch](), found.opens_at
            if opens_at is None:
                leased, opens_at = await self._lease_some(workspace, found.unconfirmed, free_slots, now)
            self._spent[workspace] = min(opens_at, now + SECOND)
            self._report_budget(workspace, bool(leased), opens_at, now)
            for watch in leased:
                self._unconfirmed.poll_begins(watch, now)
                self._served[workspace, watch.owner] = next(self._numbers)
                task = asyncio.create_task(self._poll_and_deliver(watch))
                self._in_flight[task] = watch
                task.add_done_callback(self._in_flight.pop)

    async def _lease_some(
        self, workspace: str, unconfirmed: Mapping[str, int], free_slots: int, now: Instant
    ) -> tuple[list[Watch], Instant]:
        """Leases due watches, as `_lease_due`. Postpones due jobs that Exec has not confirmed if their key has too many
        of them: `unconfirmed` is their number by key. Raises StoreError."""
        for owner in unconfirmed:
            self._served.setdefault((workspace, owner), -1)
        excess = self._unconfirmed.excess(workspace, unconfirmed, self._in_flight.values(), now)
        await self.refresh_policy(workspace, now)
        return await self._store.write(lambda tx: self._lease_due(tx, workspace, free_slots, excess))

    def _report_budget(self, workspace: str, polls: bool, opens_at: Instant, now: Instant) -> None:
        """Reports that the day's requests are used up, and that polls are possible again."""
        subject = Subject("budget", workspace)
        if opens_at > now + MINUTE:
            reason = f"the next poll is possible at {to_rfc3339(opens_at)}"
            self._telemetry.observe(subject, Condition(State.BUDGET_EXHAUSTED, reason), now)
        elif polls:
            self._telemetry.observe(subject, WORKING, now)

    def _report_exec(self, watch: Watch, poll: Poll, now: Instant) -> list[News]:
        """Logs changes in how Exec answers, and statuses that the relay does not know. Returns the operator's news."""
        name, result = watch.workspace, poll.result
        if isinstance(result, JobFound) and is_unknown_status(result.job):
            self._telemetry.unknown_status(watch, result.job.status)
        observed = (
            self._telemetry.observe_unsent(Subject("exec", name), self._health[name].after_poll(result), now),
            self._telemetry.observe_unsent(Subject("rate_limit", name), rate_limit_condition(result), now),
        )
        return [news for news in observed if news is not None]

    def _is_spent(self, workspace: str, now: Instant) -> bool:
        """Whether a tick within the last second found the budget spent until after `now`.

        A burst of registrations wakes the relay far more often than the budget allows polls.
        """
        return now < self._spent.get(workspace, now) <= now + SECOND

    def policy_for(self, workspace: str) -> PollPolicy | None:
        """The workspace's current poll policy. None before the first poll, or with `polling.strategy: interval`."""
        return self._policies.get(workspace)

    async def idle(self) -> None:
        """Returns when no poll is in flight."""
        while self._in_flight:
            ended, _ = await asyncio.wait(self._in_flight)  # gather does not yield if all have ended: it would spin
            for task in ended:
                task.result()

    async def stop(self) -> None:
        """Waits up to `GRACE` for polls in flight, then cancels them and releases their leases: they are polled again.

        Raises StoreError if the store fails; the leases then expire.
        """
        if not self._in_flight:
            return
        _, unfinished_tasks = await asyncio.wait(self._in_flight, timeout=GRACE / 1_000)
        interrupted = [self._in_flight[task] for task in unfinished_tasks]
        for task in unfinished_tasks:
            task.cancel()
        await asyncio.gather(*unfinished_tasks, return_exceptions=True)
        if interrupted:
            now = self._clock()
            await self._store.write(lambda tx: watches.release_leases(tx, interrupted, now))

    def _lease_due(
        self, tx: Tx, workspace: str, free_slots: int, excess: Sequence[Held] = ()
    ) -> tuple[list[Watch], Instant]:
        """Returns the leased watches, and when more polls are allowed: `now`, unless the budget is spent.

        First postpones what is in `excess`.

        Locks the workspace, then reads the clock, so that all requests that other relays spent are in the past.
        """
        state, now = workspaces.lock(tx, workspace), self._clock()
        if not self.may_spend() or (state.paused_until is not None and state.paused_until > now):
            return [], now
        ledger, rate_limit = state.ledger, self.rate_limits[workspace]
        if (allowed := allowed_now(ledger, rate_limit, now, free_slots)) <= 0:
            return [], request_budget.next_allowed_at(ledger, rate_limit, now)
        for held in excess:
            watches.hold_unconfirmed(tx, workspace, held.owner, held.keep, now, held.until)
        candidates = self._candidates(tx, workspace, allowed, free_slots, now)
        within_limits = self._unconfirmed.within_limits(workspace, candidates, now)
        due = self._in_turns(self._selected(tx, state, within_limits, now))
        number = min(allowed, len(due), 1 if self._is_half_open(state) else allowed)
        if not number:
            return [], now
        leased = watches.lease(tx, due[:number], now + self._lease)
        workspaces.save(tx, replace(state, ledger=spend(ledger, number, now)))  # rule: budget-before-request
        return leased, now

    def _candidates(self, tx: Tx, workspace: str, allowed: int, free_slots: int, now: Instant) -> list[Watch]:
        """Locks the due watches among which a tick chooses. Those with a hint come first, the longest-waiting of them
        foremost, then those that are longest overdue."""
        ranked = allowed + _MAX_DOUBTFUL
        if workspace in self._policies or self._may_have_several_keys(workspace, now):
            ranked = _MAX_RANKED
        due = watches.lock_due(tx, workspace, now, ranked)
        if len(due) < ranked:  # these are all that are due
            hinted = sorted((watch for watch in due if watch.has_pending_hint), key=_hinted_at)
        else:
            hinted = watches.lock_due_hinted(tx, workspace, now, free_slots + _MAX_DOUBTFUL)
        hinted_ids = {watch.job_id for watch in hinted}
        return [*hinted, *(watch for watch in due if watch.job_id not in hinted_ids)]

    def _selected(self, tx: Tx, state: WorkspaceState, due: Sequence[Watch], now: Instant) -> list[Watch]:
        """Returns the due watches to poll now, the most worthwhile first, and postpones the others."""
        workspace = state.name
        policy, rate_limit = self._policies.get(workspace), self.rate_limits[workspace]
        if policy is None:
            return list(due)
        in_flight = (watch for watch in list(self._in_flight.values()) if watch.workspace == workspace)
        moment = Moment(
            now=now,
            day_left=request_budget.day_left(state.ledger, rate_limit, now),
            day=rate_limit.day,
            minute=rate_limit.minute,
            unanswered=sum(not watch.polls for watch in in_flight),
            tested_at=self._tested.get(workspace),
        )
        candidates = [
            Due(poll_state_of(watch), crc32(watch.job_id.encode()), self._is_asked_for(watch, now)) for watch in due
        ]
        selection = select(candidates, policy, state.durations, moment)
        if selection.policy_is_outgrown:
            self._policies.pop(workspace)
        if selection.tests:
            self._tested[workspace] = now
        for k, plan in selection.later:
            watches.postpone(tx, due[k], min(plan.at, self._deadline(due[k])), plan.reason)
        return [due[k] for k in selection.now]

    def _may_have_several_keys(self, workspace: str, now: Instant) -> bool:
        """Whether jobs of several API keys may be due: then more due watches are read than are polled.

        If only one key is known, it is assumed once in ten seconds, because another key may have become due.
        """
        if sum(space == workspace for space, _ in self._served) > 1:
            return True
        if 0 <= now - self._read_widely_at.get(workspace, 0) < _READ_WIDELY_EVERY:
            return False
        self._read_widely_at[workspace] = now
        return True

    def _in_turns(self, ranked: Sequence[Watch]) -> list[Watch]:
        """The watches in the order of their polls: those with a hint, then one of each API key in turn; jobs that Exec
        did not know come last."""
        hinted = [watch for watch in ranked if watch.has_pending_hint]
        planned = [watch for watch in ranked if not watch.has_pending_hint]
        found_jobs = [watch for watch in planned if watch.job is not None or not watch.not_found_count]
        unknown_jobs = [watch for watch in planned if watch.job is None and watch.not_found_count]
        in_order = hinted
        for watches_of_kind in (found_jobs, unknown_jobs):
            keys = [(watch.workspace, watch.owner) for watch in watches_of_kind]
            in_order += [watches_of_kind[index] for index in take_turns(keys, self._served)]  # guard: turns-by-key
        return in_order

    def _is_asked_for(self, watch: Watch, now: Instant) -> bool:
        """Whether a poll must not be postponed: after a hint or a 404, and at the end of a watch."""
        return watch.has_pending_hint or watch.not_found_count > 0 or self._deadline(watch) <= now

    def _deadline(self, watch: Watch) -> Instant:
        return watch.created_at + self._config.polling.max_age

    @staticmethod
    def _is_half_open(state: WorkspaceState) -> bool:
        """Whether failures paused the workspace: then one poll at a time tests whether Exec works."""
        return state.pause_kind in ("unauthorized", "failing")

    async def _poll_and_deliver(self, watch: Watch) -> None:
        if self._is_late(watch) and not await self._may_repeat(watch.workspace):  # rule: late-poll-spends-again
            await self._release(watch)
            return
        with self._telemetry.poll_span(watch) as span:
            may_repeat = partial(self._may_repeat, watch.workspace)
            poll = await self._clients[watch.workspace].get_job(watch.job_id, may_repeat)
            span.set_attributes({"relay.outcome": outcome_label(poll.result)})
        now = self._clock()
        poll = replace(poll, started_at=min(poll.started_at, now))  # the clock may have been set back meanwhile
        self._telemetry.poll_done(watch, poll)
        news = self._report_exec(watch, poll, now)
        try:
            with self._reserve() as reservation:
                answered_poll = AnsweredPoll(watch, poll, now, reservation, news)
                transition, leased = await self._store.write_together(self._recorder.record, answered_poll)
                await reservation.start(leased)
        except StoreError as error:
            # Nothing is lost: Exec returns the same status to the next poll.
            self._telemetry.log.error(
                "a poll of job %s in workspace %s was not stored; the job is polled again when its lease expires: %s",
                watch.job_id,
                watch.workspace,
                error,
            )
            self._telemetry.send_news(news)
            return
        except Exception:
            self._telemetry.log.exception(
                "a poll of job %s in workspace %s was not stored; the job is polled again when its lease expires",
                watch.job_id,
                watch.workspace,
            )
            self._telemetry.send_news(news)
            return
        if news:
            self._on_events()
        if transition is not None and transition.watch.state is not WatchState.ACTIVE:
            self._on_end(transition.watch.job_id)
        if transition is not None and transition.events:
            self._telemetry.events_emitted(transition.watch, transition.events, now)
            self._on_events()
            self._warn_of_mistyped_fields(transition.watch)
            if isinstance(poll.result, JobFound) and poll.result.left_out:
                self._warn_of_fields_left_out(transition.watch, poll.result.left_out)
        if isinstance(poll.result, JobFound) and self._unconfirmed.job_found(watch, now):
            await self._resume_held(watch, now)

    async def _resume_held(self, confirmed: Watch, now: Instant) -> None:
        """Makes other jobs of the same key due, which may have waited for the confirmation of this one."""

        def resume(tx: Tx) -> None:
            workspaces.lock(tx, confirmed.workspace)
            watches.resume_held(tx, confirmed.workspace, confirmed.owner or "", now)

        try:
            await self._store.write(resume)
        except StoreError as error:
            text = "unconfirmed jobs of the API key %r in workspace %s wait longer than they have to: %s"
            self._telemetry.log.error(text, confirmed.owner, confirmed.workspace, error)

    def _is_late(self, watch: Watch) -> bool:
        """Whether the request of a leased watch has to be spent again."""
        return watch.next_poll_at is not None and is_late(watch.next_poll_at - self._lease, self._clock())

    async def _release(self, watch: Watch) -> None:
        """Makes the watch due again, as its poll is not made."""
        now = self._clock()
        try:
            await self._store.write(lambda tx: watches.release_leases(tx, [watch], now))
        except StoreError as error:
            text = "a poll of job %s in workspace %s was not made, and its lease can't be released; it expires: %s"
            self._telemetry.log.error(text, watch.job_id, watch.workspace, error)

    def _warn_of_mistyped_fields(self, watch: Watch) -> None:
        """Logs, once for each job that ended, the fields that Exec sent with another type than its page says."""
        if watch.state is WatchState.SETTLED and watch.job is not None and (fields := watch.job.mistyped_fields):
            self._telemetry.log.warning(
                "job %s in workspace %s ended, but Exec sent %s with another type than its API reference says; "
                "the event is delivered with the job as Exec sent it",
                watch.job_id,
                watch.workspace,
                ", ".join(fields),
            )

    def _warn_of_fields_left_out(self, watch: Watch, names: Sequence[str]) -> None:
        text = "Exec's answer about job %s in workspace %s is longer than 128 KiB; its events leave out %s"
        self._telemetry.log.warning(text, watch.job_id, watch.workspace, ", ".join(names))

    async def _may_repeat(self, workspace: str) -> bool:
        """Spends one more request of the budget for a poll in flight, and again if that took so long that it would be
        late too. Returns False if the budget has none."""
        try:
            while (spent_at := await self._store.write_together(self._spend, workspace)) is not None:
                if not is_late(spent_at, self._clock()):
                    return True
        except StoreError:
            return False  # the poll fails; the job is polled again when the store works
        return False

    def _spend(self, tx: Tx, requests: Sequence[str]) -> list[Instant | None]:
        """Spends a request for each of these names of workspaces, and returns when. None for those that the budget has
        none for."""
        allowed: dict[str, int] = {}
        spent_at: dict[str, Instant] = {}
        for workspace, number in sorted(Counter(requests).items()):
            state = workspaces.lock(tx, workspace)
            now = spent_at[workspace] = self._clock()
            within = allowed_now(state.ledger, self.rate_limits[workspace], now, number)
            allowed[workspace] = within if self.may_spend() else 0
            if allowed[workspace]:
                workspaces.save(tx, replace(state, ledger=spend(state.ledger, allowed[workspace], now)))
        results: list[Instant | None] = []
        for workspace in requests:
            results.append(spent_at[workspace] if allowed[workspace] > 0 else None)
            allowed[workspace] -= 1
        return results

    def current_policy(self, workspace: str) -> Policy:
        """The policy that plans the next poll of a watch."""
        policy = self._policies.get(workspace)
        if self._config.polling.strategy == "interval" or policy is None:
            return IntervalPolicy(self._config.polling.interval)
        return policy

    def reset_policies(self) -> None:
        """Discards all policies; the next tick with a due poll builds them again."""
        self._policies.clear()

    async def refresh_policy(self, workspace: str, now: Instant) -> None:
        """Builds the workspace's poll policy if the current one is older than `POLICY_TTL`. Raises StoreError."""
        current = self._policies.get(workspace)
        if self._config.polling.strategy == "interval" or (current and 0 <= now - current.made_at < POLICY_TTL):
            return
        load = await self._store.read(lambda tx: workload_of(tx, workspace, self.rate_limits[workspace], now))
        # On a thread: pricing takes a few hundredths of a second, and deliveries should not wait for it.
        self._policies[workspace] = await asyncio.to_thread(build_policy, load, now, current)


def _hinted_at(watch: Watch) -> Instant:
    return watch.callback_received_at or 0


def rate_limit_of(space: Workspace) -> RateLimit:
    """The configured rate limit of a workspace."""
    return RateLimit(space.budget.per_minute, space.budget.per_day, space.budget.share)


def workload_of(tx: Tx, workspace: str, rate_limit: RateLimit, now: Instant) -> Workload:
    """Reads the workload from which the workspace's poll policy is built."""
    state = workspaces.get(tx, workspace)
    return Workload(
        durations=state.durations,
        poll_states=[poll_state_of(watch) for watch in watches.active(tx, workspace, _MAX_SAMPLED)],
        number=watches.count_polled(tx, workspace, _MAX_COUNTED),
        remaining=request_budget.remaining(state.ledger, rate_limit, now),
        arrivals=state.arrivals,
    )
