"""Tidying: what ended long ago goes with everything about it, and nothing else does."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pytest
from sqlalchemy import func, insert, select

from benchmarks.growth.filling import MONTH, fill
from relay import registration
from relay.config.schema import RetentionOf
from relay.delivery.enqueue import enqueue
from relay.endpoints import EndpointSpec
from relay.model import (
    DAY,
    HOUR,
    MINUTE,
    Actor,
    Attempt,
    AuditAction,
    Delivery,
    DeliveryStatus,
    Endpoint,
    Instant,
    RegistrationStatus,
    ScenarioJob,
    Via,
    WatchState,
    new_id,
)
from relay.operations.retention import CleanupResult, RetentionJob
from relay.registration import RegistrationSpec
from relay.security import FieldCipher
from relay.store.engine import dialect, schema
from relay.store.engine.database import Store, Tx
from relay.store.engine.paging import Page
from relay.store.tables import (
    audit,
    deliveries,
    endpoints,
    events,
    idempotency,
    leader_leases,
    outbox,
    pruning,
    registrations,
    sessions,
    watches,
)
from relay.store.tables.filters import DeliveryFilter
from relay.store.tables.idempotency import StoredResponse
from relay.store.tables.outbox import DeliveryUpdate, LeasedDelivery
from relay.store.tables.sessions import Session
from tests.conftest import Clock
from tests.make import NOON, OPEN_RULES, claim_due, make_endpoint, make_event

T = TypeVar("T")

RETENTION = 30 * DAY
ATTEMPT: dict[str, Any] = {
    "number": 1,
    "trigger": "schedule",
    "started_at": NOON,
    "duration_ms": 3,
    "status_code": 200,
    "outcome": "delivered",
    "error": None,
    "response": "",
}


async def end(store: Store, job_id: str, status: DeliveryStatus, url: str = "https://example.com/x") -> None:
    """A job that was registered and ended at noon, its delivery in `status`."""
    checked = registration.validate(
        RegistrationSpec(job_id=job_id, callback=EndpointSpec(url)), OPEN_RULES, {"default"}
    )

    def work(tx: Tx) -> None:
        made = registration.register(tx, checked, NOON)
        watch = watches.get_for_update(tx, "default", job_id)
        assert watch is not None
        assert made.endpoint is not None
        seen = ScenarioJob(id=job_id, status="completed")
        watches.save(tx, replace(watch, state=WatchState.SETTLED, job=seen, next_poll_at=None, ended_at=NOON))
        event = events.add(tx, make_event(job_id))
        enqueue(tx, event, [(made.endpoint, made.registration)], NOON, 0)
        registrations.mark_ended(tx, "default", job_id)
        if status is not DeliveryStatus.PENDING:
            outbox.cancel(tx, made.endpoint.id, ("default", job_id), NOON, "as good as ended")

    await store.write(work)


async def hold(store: Store, disabled_at: Instant) -> Endpoint:
    """The only endpoint is disabled, and what is due for it held."""

    def work(tx: Tx) -> Endpoint:
        [endpoint] = endpoints.page(tx, Page())[0]
        endpoints.save_health(tx, replace(endpoint, disabled_at=disabled_at, disabled_reason="answered 410"))
        assert outbox.hold_for_disabled(tx, endpoint.id, disabled_at, 10) == 1
        return endpoint

    return await store.write(work)


async def only_one(store: Store) -> Delivery:
    """The only delivery that there is."""
    [found], _ = await store.read(lambda tx: deliveries.page(tx, Page(), DeliveryFilter()))
    return found


def enqueue_one(job_id: str, tx: Tx) -> None:
    """A delivery is due."""
    enqueue(tx, make_event(job_id), [(make_endpoint(), None)], NOON, 0)


def settle_one(claim: LeasedDelivery, tx: Tx) -> None:
    """It was delivered."""
    settled = DeliveryUpdate(
        delivery_id=claim.delivery.id,
        status=DeliveryStatus.DELIVERED,
        attempts_in_run=1,
        next_attempt_at=None,
        ended_at=NOON + 100 * RETENTION,
        reason=None,
        attempt=Attempt(**{**ATTEMPT, "id": new_id("att", NOON), "delivery_id": claim.delivery.id}),
        lease=claim.lease,
    )
    outbox.record_results(tx, [settled])


def rows(tx: Tx) -> int:
    """All that there are of what a retention deletes."""
    tables = ("attempts", "deliveries", "polls", "registrations", "events", "watches", "endpoints")
    counts = [select(func.count()).select_from(schema.metadata.tables[table]).scalar_subquery() for table in tables]
    return sum(tx.execute(select(*counts)).one())


async def left(store: Store) -> tuple[int, int, int, int]:
    """Watches, registrations, deliveries and endpoints that are there."""

    def work(tx: Tx) -> tuple[int, int, int, int]:
        return (
            len(watches.page(tx, Page(200))[0]),
            len(registrations.page(tx, Page(200))[0]),
            deliveries.count(tx, DeliveryFilter()),
            len(endpoints.page(tx, Page(200))[0]),
        )

    return await store.read(work)


async def test_an_old_job_is_deleted_with_everything_that_belongs_to_it(store: Store, clock: Clock) -> None:
    """Watch, polls, event, registration, delivery, and the endpoint that nothing refers to any more."""
    await end(store, "old", DeliveryStatus.CANCELLED)
    clock.advance(RETENTION + DAY)
    assert await RetentionJob(store, RETENTION, clock, "own_1").tick() == CleanupResult(jobs=1, expired=0)
    assert await left(store) == (0, 0, 0, 0)
    assert await store.read(lambda tx: events.for_job(tx, "default", "old")) == []


async def test_a_job_younger_than_the_retention_is_kept(store: Store, clock: Clock) -> None:
    """A day before the retention ends, nothing is deleted."""
    await end(store, "young", DeliveryStatus.CANCELLED)
    clock.advance(RETENTION - DAY)
    assert await RetentionJob(store, RETENTION, clock, "own_1").tick() == CleanupResult(jobs=0, expired=0)
    assert await left(store) == (1, 1, 1, 1)


async def test_a_job_with_a_pending_delivery_is_kept(store: Store, clock: Clock) -> None:
    """A pending or held delivery keeps its job, however old it is."""
    await end(store, "waiting", DeliveryStatus.PENDING)
    clock.advance(10 * RETENTION)
    assert await RetentionJob(store, RETENTION, clock, "own_1").tick() == CleanupResult(jobs=0, expired=0)
    assert await left(store) == (1, 1, 1, 1)


async def test_a_watched_job_is_kept(store: Store, clock: Clock) -> None:
    """Only jobs that ended are deleted."""
    checked = registration.validate(
        RegistrationSpec(job_id="live", callback=EndpointSpec("https://example.com/")), OPEN_RULES, {"default"}
    )
    made = await store.write(lambda tx: registration.register(tx, checked, NOON))
    clock.advance(10 * RETENTION)
    await RetentionJob(store, RETENTION, clock, "own_1").tick()
    found = await store.read(lambda tx: registrations.get(tx, made.registration.id))
    assert found is not None
    assert found.status is RegistrationStatus.ACTIVE


class Stepwise(Store):
    """A store that counts the rows that each transaction deletes, and records one delivery after each of them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._inner, self._now = store, clock
        self.deleted: list[int] = []

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self._inner.read(work)

    async def write(self, work: Callable[[Tx], T], *, at_end: bool = False) -> T:
        before = await self._inner.read(rows)
        done = await self._inner.write(work, at_end=at_end)
        self.deleted.append(before - await self._inner.read(rows))
        await self._inner.write(partial(enqueue_one, f"new{len(self.deleted)}"))
        now = self._now()
        [claim] = await self._inner.write(lambda tx: claim_due(tx, now, now + MINUTE))
        await self._inner.write(partial(settle_one, claim))
        return done


@pytest.mark.parametrize(("jobs", "each"), [(500, 3), (100, 20)])
async def test_deliveries_go_on_while_many_rows_are_deleted(
    store: Store, store_url: str, clock: Clock, jobs: int, each: int
) -> None:
    """One tick deletes everything, and no transaction is so large that others wait for long."""
    engine = dialect.engine(dialect.parse(store_url), writer=True, connections=1, relay_cipher=FieldCipher())
    fill(engine, jobs, each, NOON)
    engine.dispose()
    clock.advance(MONTH + RETENTION)
    stepwise = Stepwise(store, clock)
    assert await RetentionJob(stepwise, RETENTION, clock, "own_1").tick() == CleanupResult(jobs, expired=0)
    assert max(stepwise.deleted) <= 600
    assert await store.read(lambda tx: deliveries.count(tx, DeliveryFilter())) == len(stepwise.deleted)


async def test_a_job_with_very_many_attempts_is_deleted_in_parts(store: Store) -> None:
    """No transaction deletes much more than its limit, and no remaining row refers to a deleted one."""
    await end(store, "big", DeliveryStatus.CANCELLED)
    [only] = await store.read(lambda tx: deliveries.of_job(tx, "default", "big", 9))
    many = [ATTEMPT | {"id": f"att_{number}", "delivery_id": only.id} for number in range(95)]
    await store.write(lambda tx: tx.execute(insert(schema.attempts), many))
    jobs, parts = [("default", "big")], []
    while jobs:
        gone, jobs = await store.write(partial(pruning.delete_jobs, jobs=jobs, before=NOON + 1, limit=20))
        parts.append(gone)
        left_over = await store.read(lambda tx: deliveries.attempts_of(tx, only.id))
        assert not left_over or await store.read(lambda tx: deliveries.get(tx, only.id)) is not None
    assert parts == [0, 0, 0, 0, 1]
    assert await left(store) == (0, 0, 0, 1)


async def test_a_delivery_held_too_long_fails(store: Store, clock: Clock) -> None:
    """It fails with the reason of its disabled endpoint, can be resent, and is deleted after the retention."""
    await end(store, "held", DeliveryStatus.PENDING)
    await hold(store, clock())
    retention = RetentionJob(store, RETENTION, clock, "own_1")
    clock.advance(RETENTION - DAY)
    await retention.tick()
    assert (await only_one(store)).status is DeliveryStatus.PENDING
    clock.advance(2 * DAY)
    assert await retention.tick() == CleanupResult(jobs=0, expired=1)
    expired = await only_one(store)
    assert (expired.status, expired.ended_at) == (DeliveryStatus.FAILED, clock())
    assert expired.reason == "held until it was too old; the endpoint is disabled: answered 410"
    clock.advance(RETENTION + DAY)
    assert await retention.tick() == CleanupResult(jobs=1, expired=0)


async def test_a_delivery_held_for_a_recently_disabled_endpoint_is_kept(store: Store, clock: Clock) -> None:
    """However old the event is, the retention counts from when its endpoint was disabled."""
    await end(store, "held", DeliveryStatus.PENDING)
    clock.advance(2 * RETENTION)
    await hold(store, clock() - DAY)
    await RetentionJob(store, RETENTION, clock, "own_1").tick()
    held = await only_one(store)
    assert held.status is DeliveryStatus.PENDING
    before = clock() - RETENTION
    assert await store.read(lambda tx: pruning.expired_held(tx, before, 10)) == ([], None)
    assert await store.write(lambda tx: pruning.expire_held(tx, [held.id], before, clock())) == 0


async def test_a_delivery_held_for_a_removed_endpoint_is_cancelled(store: Store, clock: Clock) -> None:
    """Nothing can resend it."""
    await end(store, "held", DeliveryStatus.PENDING)
    endpoint = await hold(store, clock())
    await store.write(lambda tx: endpoints.remove(tx, endpoint.id))
    clock.advance(RETENTION + DAY)
    await RetentionJob(store, RETENTION, clock, "own_1").tick()
    cancelled = await only_one(store)
    assert (cancelled.status, cancelled.reason) == (DeliveryStatus.CANCELLED, "the endpoint was removed")


async def test_expired_sessions_are_deleted(store: Store, clock: Clock) -> None:
    """No login is needed for that."""
    for id, ends in (("over", NOON), ("lasts", NOON + DAY)):
        session = Session(id=id, key_hash="", csrf="", expires_at=ends)
        await store.write(partial(sessions.add, session=session, now=NOON - 1))
    await RetentionJob(store, RETENTION, clock, "own_1").tick()
    assert await store.read(lambda tx: tx.execute(select(schema.sessions.c.id)).scalars().all()) == ["lasts"]


async def test_stored_responses_are_deleted_after_a_day(store: Store, clock: Clock) -> None:
    """An Idempotency-Key is valid for 24 hours."""
    response = StoredResponse(key="k", request_hash="", status=201, answer="", created_at=NOON)
    await store.write(lambda tx: idempotency.store(tx, response))
    retention = RetentionJob(store, RETENTION, clock, "own_1")
    clock.advance(DAY)
    await retention.tick()
    assert await store.read(lambda tx: idempotency.get(tx, "k")) == response
    clock.advance(1)
    await retention.tick()
    assert await store.read(lambda tx: idempotency.get(tx, "k")) is None


async def test_one_relay_deletes_old_rows_and_the_others_do_not(store: Store, clock: Clock) -> None:
    """For nearly an hour only that relay does so again; if it dies meanwhile, another takes over after its lease."""
    first, second = (RetentionJob(store, RETENTION, clock, owner) for owner in ("own_1", "own_2"))
    for job in ("a", "b", "c"):
        await end(store, job, DeliveryStatus.CANCELLED)
    clock.advance(RETENTION + DAY)
    assert (await first.tick()).jobs == 3
    await end(store, "d", DeliveryStatus.CANCELLED)
    assert (await second.tick(), await first.tick()) == (CleanupResult(0, 0), CleanupResult(1, 0))
    clock.advance(56 * MINUTE)
    await end(store, "e", DeliveryStatus.CANCELLED)
    acquired = await store.write(
        lambda tx: leader_leases.acquire_lease(tx, "retention", "own_3", clock(), clock() + 10 * MINUTE)
    )
    assert acquired
    assert await first.tick() == CleanupResult(0, 0)
    clock.advance(10 * MINUTE)
    assert await second.tick() == CleanupResult(1, 0)


async def test_kinds_of_rows_are_kept_for_times_of_their_own(store: Store, clock: Clock) -> None:
    """Deliveries with their attempts and polls go before their job; the audit log stays for as long as is set."""
    await end(store, "old", DeliveryStatus.DELIVERED)
    await end(store, "waiting", DeliveryStatus.PENDING)
    actor = Actor(via=Via.COMMAND)
    poll = {"workspace": "default", "job_id": "old", "at": NOON, "duration_ms": 3, "outcome": "job", "detail": ""}
    await store.write(lambda tx: tx.execute(insert(schema.polls), [poll]))
    await store.write(lambda tx: audit.add(tx, actor, AuditAction.KEY_CREATED, NOON))
    kinds = RetentionOf.model_validate({"deliveries": "2d", "polls": "1d", "audit": "10d"})
    job = RetentionJob(store, 90 * DAY, clock, "own_1", kinds)

    async def counted(*names: str) -> list[int]:
        tables = [select(func.count()).select_from(schema.metadata.tables[name]).scalar_subquery() for name in names]
        return list(await store.read(lambda tx: tx.execute(select(*tables)).one()))

    polls, deliveries_before = await counted("polls", "deliveries")
    assert (polls > 0, deliveries_before) == (True, 2)
    clock.advance(DAY + HOUR)
    await job.tick()
    assert await counted("polls", "deliveries", "audit") == [0, 2, 1]
    clock.advance(DAY)
    await job.tick()
    assert await counted("deliveries", "watches", "events", "audit") == [1, 2, 2, 1]
    assert (await only_one(store)).status is DeliveryStatus.PENDING
    clock.advance(8 * DAY)
    await job.tick()
    assert await counted("audit", "watches") == [0, 2]
