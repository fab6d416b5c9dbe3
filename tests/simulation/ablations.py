"""Relays that are broken on purpose, one rule each: the simulator has to find every one of them."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import BigInteger, ColumnElement, bindparam, delete, select, update

from relay.delivery import attempt, dispatcher, recorder
from relay.delivery.dispatcher import Dispatcher
from relay.egress.result import HttpResponse
from relay.model import DAY, DeliveryStatus, EventType, WatchState
from relay.operations.timekeeping import Timekeeper
from relay.polling import exec_client, poll_recorder, poller, transitions
from relay.polling.poll_recorder import PollRecorder
from relay.polling.poller import Poller
from relay.signing import standard_webhooks
from relay.store.engine.database import Store
from relay.store.engine.schema import deliveries, registrations, watches
from relay.store.tables import outbox
from relay.store.tables import watches as watch_table
from tests.simulation.rules import Rule

Patch = pytest.MonkeyPatch

_POLLER: Any = poller
_POLL_RECORDER: Any = poll_recorder
_TRANSITIONS: Any = transitions
"""Modules in which names that they import are replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """A broken relay: `apply` breaks it. `rule` is the rule that it breaks, if it is one of the protocol."""

    name: str
    what: str
    apply: Callable[[Patch], None]
    rule: Rule | None = None


# --- leases ---------------------------------------------------------------------------------------------------------


def _lease_too_short(patch: Patch) -> None:
    made = Dispatcher._new_lease
    patch.setattr(Dispatcher, "_new_lease", lambda self: replace(lease := made(self), until=lease.until - 13_950))
    patch.setattr(Dispatcher, "_may_begin", lambda self, leased, endpoint: not self._stopping)


def _begins_late(patch: Patch) -> None:
    patch.setattr(Dispatcher, "_may_begin", lambda self, leased, endpoint: not (self._stopping or self.suspended))


def _late_poll_is_free(patch: Patch) -> None:
    patch.setattr(Poller, "_is_late", lambda self, watch: False)


def _leases_what_is_leased(patch: Patch) -> None:
    _lease_if(patch, deliveries.c.status == "pending", bindparam("now", type_=BigInteger) > 0)


def _lease_never_ends(patch: Patch) -> None:
    _lease_if(patch, deliveries.c.next_attempt_at <= bindparam("now"), deliveries.c.leased_by.is_(None))
    patch.setattr(outbox, "release", lambda tx, now, owner=None: 0)


def _lease_if(patch: Patch, *conditions: ColumnElement[bool]) -> None:
    """Leases those of the chosen deliveries for which the conditions hold."""
    chosen = select(deliveries.c.id).where(deliveries.c.id.in_(bindparam("ids", expanding=True)), *conditions)
    lease = update(deliveries).where(deliveries.c.id.in_(chosen))
    values = lease.values(next_attempt_at=bindparam("until"), leased_by=bindparam("token"))
    patch.setattr(outbox, "_LEASE", values.returning(*outbox._LEASE.exported_columns))


def _polls_what_is_leased(patch: Patch) -> None:
    all_active = (
        watches.select()
        .where(watches.c.workspace == bindparam("of"), watches.c.next_poll_at.is_not(None), bindparam("now") > 0)
        .limit(bindparam("limit"))
    )
    patch.setattr(watch_table, "_LOCK_DUE", all_active)


def _results_need_no_lease(patch: Patch) -> None:
    honest = outbox.record_results

    def record(tx: Any, updates: Any) -> None:
        for item in updates:
            pending = update(deliveries).where(deliveries.c.id == item.delivery_id, deliveries.c.status == "pending")
            tx.execute(pending, {"leased_by": item.lease.token})
        honest(tx, updates)

    patch.setattr(outbox, "record_results", record)


def _ended_is_due_again(patch: Patch) -> None:
    honest = outbox.record_results

    def record(tx: Any, updates: Any) -> None:
        honest(tx, updates)
        ended = [item.delivery_id for item in updates if item.next_attempt_at is None]
        tx.execute(
            update(deliveries).where(deliveries.c.id.in_(ended)), {"next_attempt_at": updates[0].lease.until + DAY}
        )

    patch.setattr(outbox, "record_results", record)


# --- outbox ---------------------------------------------------------------------------------------------------------


def _event_apart(patch: Patch) -> None:
    """The event and its deliveries come in a second transaction."""
    emit, poll, apart = PollRecorder._emit_events, Poller._poll_and_deliver, list[Any]()

    def put_off(self: PollRecorder, tx: Any, transition: Any, item: Any) -> list[Any]:
        if transition.events:
            apart.append(lambda later: emit(self, later, transition, replace(item, reservation=None)))
        return []

    async def poll_then_emit(self: Poller, watch: Any) -> None:
        await poll(self, watch)
        while apart:
            await self._store.write(apart.pop())

    patch.setattr(PollRecorder, "_emit_events", put_off)
    patch.setattr(Poller, "_poll_and_deliver", poll_then_emit)


def _answers_before_commit(patch: Patch) -> None:
    honest = Store.write

    async def write(self: Store, work: Any, *, at_end: bool = False) -> Any:
        done: list[Any] = []
        real = asyncio.get_running_loop().create_task(honest(self, lambda tx: done.append(work(tx)), at_end=at_end))
        if "register" not in work.__qualname__ and "run_idempotent" not in work.__qualname__:
            await real
            return done[-1]
        try:  # the result of a transaction that is rolled back
            with self._engine.connect() as tx, tx.begin() as undone:
                found = work(tx)
                undone.rollback()
            return found
        finally:
            real.add_done_callback(lambda task: task.exception())

    patch.setattr(Store, "write", write)


def _success_before_attempt(patch: Patch) -> None:
    """A delivery is marked as delivered, then sent."""
    honest = Dispatcher._deliver

    async def deliver(self: Dispatcher, leased: Any, endpoint: Any, due: Any) -> None:
        done = {"status": DeliveryStatus.DELIVERED.value, "next_attempt_at": None, "leased_by": None}
        await self._store.write(
            lambda tx: tx.execute(update(deliveries).where(deliveries.c.id == leased.delivery.id), done)
        )
        await honest(self, leased, endpoint, due)

    patch.setattr(Dispatcher, "_deliver", deliver)


def _timeout_is_a_yes(patch: Patch) -> None:
    honest = attempt.send

    async def send(*given: Any) -> Any:
        outcome, duration = await honest(*given)
        return (outcome if isinstance(outcome, HttpResponse) else HttpResponse(204, {}, b"")), duration

    patch.setattr(dispatcher, "send", send)


def _sends_twice(patch: Patch) -> None:
    honest = attempt.send

    async def send(*given: Any) -> Any:
        await honest(*given)
        return await honest(*given)

    patch.setattr(dispatcher, "send", send)


def _new_id_for_each_attempt(patch: Patch) -> None:
    honest, numbers = attempt.send, itertools.count()

    async def send(egress: Any, endpoint: Any, webhook_id: str, *given: Any) -> Any:
        return await honest(egress, endpoint, f"{webhook_id}{next(numbers)}", *given)

    patch.setattr(dispatcher, "send", send)


def _new_body_for_each_attempt(patch: Patch) -> None:
    honest, numbers = attempt.send, itertools.count()

    async def send(egress: Any, endpoint: Any, webhook_id: str, body: bytes, *given: Any) -> Any:
        return await honest(egress, endpoint, webhook_id, body + b" " * (next(numbers) % 7), *given)

    patch.setattr(dispatcher, "send", send)


def _gives_up_after_a_failure(patch: Patch) -> None:
    honest = recorder.ResultRecorder.classify

    def classify(self: Any, completed: Any, now: int) -> Any:
        decision = honest(self, completed, now)
        if decision.status is DeliveryStatus.PENDING:
            return replace(decision, status=DeliveryStatus.FAILED, next_attempt_at=None)
        return decision

    patch.setattr(recorder.ResultRecorder, "classify", classify)


def _loses_registrations(patch: Patch) -> None:
    """A withdrawal takes the registrations of the same endpoint along."""
    honest = watch_table.withdraw_if_unwatched

    def withdraw(tx: Any, jobs: Any, now: int) -> None:
        jobs = list(jobs)
        tx.execute(delete(registrations).where(registrations.c.status == "active"))
        honest(tx, jobs, now)

    patch.setattr(watch_table, "withdraw_if_unwatched", withdraw)


# --- polls ----------------------------------------------------------------------------------------------------------


def _trusts_callbacks(patch: Patch) -> None:
    honest = transitions.apply_poll

    def apply(watch: Any, poll: Any, *given: Any) -> Any:
        step = honest(watch, poll, *given)
        if watch.has_pending_hint and not step.events:
            ended = replace(step.watch, state=WatchState.SETTLED, next_poll_at=None)
            return replace(step, watch=ended, events=(EventType.COMPLETED,))
        return step

    patch.setattr(transitions, "apply_poll", apply)


def _first_404_ends(patch: Patch) -> None:
    patch.setattr(transitions, "NOT_FOUND_MIN_POLLS", 1)
    patch.setattr(transitions, "NOT_FOUND_MIN_AGE", 0)
    patch.setattr(transitions, "_FOUND_BEFORE", (0, transitions._FOUND_BEFORE[1]))


def _any_error_ends(patch: Patch) -> None:
    honest = exec_client.ExecClient._read

    def read(self: Any, job_id: str, status: int, headers: Any, body: bytes) -> Any:
        result = honest(self, job_id, status, headers, body)
        return _TRANSITIONS.JobNotFound() if status >= 500 else result

    patch.setattr(exec_client.ExecClient, "_read", read)
    _first_404_ends(patch)


def _spends_nothing(patch: Patch) -> None:
    patch.setattr(poller, "spend", lambda ledger, number, now: ledger)


def _spends_after_the_request(patch: Patch) -> None:
    honest, spend = Poller._poll_and_deliver, _POLLER.spend
    patch.setattr(poller, "spend", lambda ledger, number, now: ledger)

    async def poll(self: Poller, watch: Any) -> None:
        await honest(self, watch)

        def later(tx: Any) -> None:
            state = _POLLER.workspaces.lock(tx, watch.workspace)
            _POLLER.workspaces.save(tx, replace(state, ledger=spend(state.ledger, 1, self._clock())))

        await self._store.write(later)

    patch.setattr(Poller, "_poll_and_deliver", poll)


def _budget_of_its_own(patch: Patch) -> None:
    """Each relay counts its own requests, in memory."""
    honest = _POLLER.allowed_now

    def allowed(ledger: Any, limit: Any, now: int, wanted: int) -> int:
        left: int = honest(replace(ledger, seconds=(), buckets=()), limit, now, wanted)
        return left

    patch.setattr(poller, "allowed_now", allowed)


# --- secrets, clocks, operators -------------------------------------------------------------------------------------


def _old_secret_signs_alone(patch: Patch) -> None:
    honest = standard_webhooks.headers

    def headers(event_id: str, body: bytes, secrets: Any, now: int) -> Any:
        return honest(event_id, body, secrets[-1:], now)

    patch.setattr(standard_webhooks, "headers", headers)


def _clock_is_not_followed(patch: Patch) -> None:
    async def follow(self: Timekeeper) -> None:
        self._corrections.clear()

    patch.setattr(Timekeeper, "_follow", follow)


ABLATIONS = (
    Ablation(name="lease-too-short", what="a lease of 50 ms", apply=_lease_too_short, rule=Rule.LEASE_OUTLASTS_ATTEMPT),
    Ablation(
        name="begins-late",
        what="an attempt begins though its lease may end before it does",
        apply=_begins_late,
        rule=Rule.LEASE_OUTLASTS_ATTEMPT,
    ),
    Ablation(
        name="leases-what-is-leased",
        what="a lease of another relay is no hindrance",
        apply=_leases_what_is_leased,
        rule=Rule.LEASE_ONLY_DUE,
    ),
    Ablation(
        name="lease-never-ends",
        what="the leases of a killed relay stay",
        apply=_lease_never_ends,
        rule=Rule.LEASE_EXPIRES,
    ),
    Ablation(name="polls-what-is-leased", what="a lease of a watch is no hindrance", apply=_polls_what_is_leased),
    Ablation(
        name="event-apart",
        what="event and deliveries in a second transaction",
        apply=_event_apart,
        rule=Rule.EVENT_WITH_DELIVERIES,
    ),
    Ablation(
        name="answers-before-commit",
        what="a registration is answered before it is committed",
        apply=_answers_before_commit,
        rule=Rule.ANSWER_AFTER_COMMIT,
    ),
    Ablation(
        name="success-before-attempt",
        what="a delivery is marked as delivered, then sent",
        apply=_success_before_attempt,
        rule=Rule.ATTEMPT_BEFORE_RESULT,
    ),
    Ablation(name="timeout-is-a-yes", what="no answer counts as delivered", apply=_timeout_is_a_yes),
    Ablation(name="sends-twice", what="each attempt is made twice", apply=_sends_twice),
    Ablation(
        name="new-id-for-each-attempt",
        what="each attempt has an id of its own",
        apply=_new_id_for_each_attempt,
        rule=Rule.EVENT_ONCE,
    ),
    Ablation(name="new-body-for-each-attempt", what="each attempt has its own body", apply=_new_body_for_each_attempt),
    Ablation(name="gives-up-after-a-failure", what="no attempt is repeated", apply=_gives_up_after_a_failure),
    Ablation(
        name="loses-registrations", what="a withdrawal deletes other registrations too", apply=_loses_registrations
    ),
    Ablation(name="trusts-callbacks", what="Exec's callback ends a job without a poll", apply=_trusts_callbacks),
    Ablation(name="any-error-ends", what="a 5xx ends a watch", apply=_any_error_ends),
    Ablation(
        name="spends-nothing", what="no request is counted", apply=_spends_nothing, rule=Rule.BUDGET_BEFORE_REQUEST
    ),
    Ablation(
        name="spends-after-the-request",
        what="a request is counted once it is answered",
        apply=_spends_after_the_request,
        rule=Rule.BUDGET_BEFORE_REQUEST,
    ),
    Ablation(
        name="late-poll-is-free",
        what="a poll that leaves long after it was counted is not counted again",
        apply=_late_poll_is_free,
        rule=Rule.LATE_POLL_SPENDS_AGAIN,
    ),
    Ablation(name="budget-of-its-own", what="requests of before do not count", apply=_budget_of_its_own),
    Ablation(
        name="results-need-no-lease",
        what="a result is recorded over a newer lease",
        apply=_results_need_no_lease,
        rule=Rule.RESULT_NEEDS_LEASE,
    ),
    Ablation(
        name="ended-is-due-again",
        what="an ended delivery has a next attempt",
        apply=_ended_is_due_again,
        rule=Rule.ENDED_IS_NOT_DUE,
    ),
    Ablation(name="old-secret-signs-alone", what="a rotated secret does not sign", apply=_old_secret_signs_alone),
    Ablation(name="clock-is-not-followed", what="plans stay if the clock is set", apply=_clock_is_not_followed),
)
