"""The outbox: a due delivery is leased once, sent and recorded; none is sent twice or lost."""

import asyncio
import tracemalloc
from dataclasses import replace

import pytest
from sqlalchemy import select

from relay.delivery.enqueue import enqueue
from relay.model import SECOND, Attempt, DeliveryStatus, DueDelivery, Endpoint, Event, Instant, new_id
from relay.polling.exec_client import MAX_JOB_SIZE
from relay.store.engine import paging, schema
from relay.store.engine.database import Store, Tx
from relay.store.engine.paging import Page
from relay.store.tables import deliveries, due_deliveries, endpoints, outbox
from relay.store.tables.filters import DeliveryFilter
from relay.store.tables.outbox import DeliveryUpdate, LeasedDelivery
from tests.make import NOON, claim_due, make_endpoint, make_event

LEASE = NOON + 40 * SECOND


async def fill(store: Store, *new: tuple[Event, Endpoint]) -> None:
    """Enqueues a delivery of each event for each endpoint."""

    def work(tx: Tx) -> None:
        for event, endpoint in new:
            endpoints.add(tx, endpoint)
            enqueue(tx, event, [(endpoint, None)], NOON, 0)

    await store.write(work)


async def claim(store: Store, now: Instant = NOON, owner: str = "me", most: int = 100) -> list[LeasedDelivery]:
    until = LEASE + now - NOON
    return await store.write(lambda tx: claim_due(tx, now, until, owner, most))


def settlement(
    claimed: LeasedDelivery, status: DeliveryStatus, next_attempt_at: Instant | None = None
) -> DeliveryUpdate:
    attempt = Attempt(
        id=new_id("att", NOON),
        delivery_id=claimed.delivery.id,
        number=claimed.delivery.attempts + 1,
        trigger="schedule",
        started_at=NOON,
        duration_ms=3,
        status_code=200,
        outcome=status.value,
        error=None,
        response="ok",
    )
    ended = None if status is DeliveryStatus.PENDING else NOON
    return DeliveryUpdate(
        delivery_id=claimed.delivery.id,
        status=status,
        attempts_in_run=claimed.delivery.attempts_in_run + 1,
        next_attempt_at=next_attempt_at,
        ended_at=ended,
        reason=None,
        attempt=attempt,
        lease=claimed.lease,
    )


async def test_event_is_enqueued_once_for_an_endpoint(store: Store) -> None:
    """Enqueuing the event again, by another relay or a later registration, adds nothing."""
    endpoint, event = make_endpoint(), make_event()
    await fill(store, (event, endpoint))
    assert await store.write(lambda tx: enqueue(tx, event, [(endpoint, None)], NOON, 0).added) == 0
    assert len(await claim(store)) == 1


async def test_cancelled_delivery_becomes_pending_again(store: Store) -> None:
    """Registering again after a withdrawal delivers the event."""
    endpoint, event = make_endpoint(), make_event()
    await fill(store, (event, endpoint))
    await store.write(lambda tx: outbox.cancel(tx, endpoint.id, ("default", "j1"), NOON, "withdrawn"))
    assert await claim(store) == []
    assert await store.write(lambda tx: enqueue(tx, event, [(endpoint, None)], NOON, 0).added) == 1
    assert len(await claim(store)) == 1


async def test_leased_delivery_is_not_leased_again_before_expiry(store: Store) -> None:
    """One relay at a time has a delivery; after the lease expires, another may lease it."""
    await fill(store, (make_event(), make_endpoint()))
    first = await claim(store)
    assert await claim(store, LEASE - 1, owner="other") == []
    [taken_over] = await claim(store, LEASE, owner="other")
    assert taken_over.delivery.id == first[0].delivery.id


async def test_result_is_recorded_with_its_attempt(store: Store) -> None:
    """A delivered one is ended and has its attempt; it is not due again."""
    await fill(store, (make_event(), make_endpoint()))
    [held] = await claim(store)
    await store.write(lambda tx: outbox.record_results(tx, [settlement(held, DeliveryStatus.DELIVERED)]))
    delivery = await store.read(lambda tx: deliveries.get(tx, held.delivery.id))
    assert delivery is not None
    assert (delivery.status, delivery.attempts, delivery.next_attempt_at) == (DeliveryStatus.DELIVERED, 1, None)
    [attempt] = await store.read(lambda tx: deliveries.attempts_of(tx, held.delivery.id))
    assert attempt.response == "ok"
    assert await claim(store, LEASE + 1) == []


async def test_late_failure_under_a_lost_lease_changes_nothing(store: Store) -> None:
    """The new lease decides; but a success counts under any lease, so that it is not sent again."""
    await fill(store, (make_event(), make_endpoint()))
    [mine] = await claim(store)
    await claim(store, LEASE, owner="other")
    failed = settlement(mine, DeliveryStatus.FAILED)
    await store.write(lambda tx: outbox.record_results(tx, [failed]))
    after = await store.read(lambda tx: deliveries.get(tx, mine.delivery.id))
    assert after is not None
    assert after.status is DeliveryStatus.PENDING
    await store.write(lambda tx: outbox.record_results(tx, [settlement(mine, DeliveryStatus.DELIVERED)]))
    after = await store.read(lambda tx: deliveries.get(tx, mine.delivery.id))
    assert after is not None
    assert after.status is DeliveryStatus.DELIVERED


async def test_delivery_cancelled_during_its_attempt_stays_cancelled(store: Store) -> None:
    """A failed attempt does not make it pending again."""
    endpoint = make_endpoint()
    await fill(store, (make_event(), endpoint))
    [held] = await claim(store)
    await store.write(lambda tx: outbox.cancel(tx, endpoint.id, ("default", "j1"), NOON, "gone"))
    await store.write(lambda tx: outbox.record_results(tx, [settlement(held, DeliveryStatus.PENDING, NOON + 5)]))
    after = await store.read(lambda tx: deliveries.get(tx, held.delivery.id))
    assert after is not None
    assert (after.status, after.next_attempt_at) == (DeliveryStatus.CANCELLED, None)


async def in_turn(store: Store, after: str, each: int, most: int, now: Instant = NOON) -> tuple[list[DueDelivery], str]:
    return await store.read(lambda tx: due_deliveries.due_round_robin(tx, now, after, each, most))


async def test_due_deliveries_are_read_round_robin(store: Store) -> None:
    """At most `each` of an endpoint with a long queue, oldest first, then those of the next endpoint, and so on."""
    crowd = make_endpoint(id="ep_b", host="slow:443")
    await fill(store, *((make_event(f"a{n:02}"), crowd) for n in range(30)))
    await fill(store, *((make_event("b"), make_endpoint(id=f"ep_{letter}")) for letter in "acd"))
    found, behind = await in_turn(store, "", 4, 100)
    assert [due.endpoint_id for due in found] == ["ep_a", *["ep_b"] * 4, "ep_c", "ep_d"]
    assert behind == ""
    oldest = await store.read(lambda tx: due_deliveries.due(tx, NOON, 100))
    assert [due.id for due in found if due.endpoint_id == "ep_b"] == sorted(
        due.id for due in oldest if due.endpoint_id == "ep_b"
    )[:4]
    found, behind = await in_turn(store, "", 1, 2)
    assert ([due.endpoint_id for due in found], behind) == (["ep_a", "ep_b"], "ep_b")
    found, behind = await in_turn(store, behind, 1, 3)
    assert ([due.endpoint_id for due in found], behind) == (["ep_c", "ep_d"], "")


async def test_round_robin_skips_endpoints_with_nothing_due(store: Store) -> None:
    """An endpoint whose deliveries are not due yet costs one step; held deliveries cost none."""
    await fill(store, *((make_event(f"a{n}"), make_endpoint(id="ep_a")) for n in range(3)))
    await fill(store, (make_event("b"), make_endpoint(id="ep_b", disabled_at=NOON)))
    await fill(store, *((make_event(f"c{n}"), make_endpoint(id="ep_c", paused_until=LEASE)) for n in range(2)))
    await store.write(lambda tx: outbox.postpone(tx, "ep_a", NOON, NOON, lambda: LEASE))
    found, _ = await in_turn(store, "", 5, 100)
    assert [(due.endpoint_id, due.paused_until) for due in found] == [("ep_c", LEASE)] * 2
    found, _ = await in_turn(store, "", 5, 100, LEASE)
    assert [due.endpoint_id for due in found] == ["ep_a"] * 3 + ["ep_c"] * 2


async def test_round_robin_reads_no_more_than_it_returns(sqlite_store: Store) -> None:
    """The index skips the rest of a queue, however long it is."""

    def plan_of_turns(tx: Tx) -> list[str]:
        seen: list[str] = []
        driver = tx.connection.driver_connection
        assert driver is not None
        driver.set_trace_callback(seen.append)
        due_deliveries.due_round_robin(tx, NOON, "", 3, 256)
        driver.set_trace_callback(None)
        [query] = [one for one in seen if "ahead" in one]
        return [row.detail for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]

    steps = [line for line in await sqlite_store.read(plan_of_turns) if "ahead" in line]
    assert len(steps) == 3
    assert all(line.startswith("SEARCH ahead USING COVERING INDEX deliveries_round_robin") for line in steps), steps


@pytest.mark.parametrize("which", [DeliveryFilter(endpoint_id="ep_a"), DeliveryFilter(endpoint_id="ep_a", since=NOON)])
async def test_page_of_an_endpoint_reads_no_more_than_it_shows(sqlite_store: Store, which: DeliveryFilter) -> None:
    """An index returns its newest deliveries in order, without sorting them all."""

    def plan(tx: Tx) -> list[str]:
        query = select(schema.deliveries.c.id).where(*which.all)
        ordered = paging.apply_page(query, (schema.deliveries.c.created_at, schema.deliveries.c.id), Page(50))
        explained = ordered.compile(tx, compile_kwargs={"literal_binds": True})
        return [row.detail for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {explained}")]

    [step] = await sqlite_store.read(plan)
    assert "deliveries_of_endpoint_by_time" in step


async def test_concurrent_leases_never_share_a_delivery(store: Store) -> None:
    """Each delivery gets one lease."""
    endpoint = make_endpoint()
    await fill(store, *((make_event(f"j{n}"), endpoint) for n in range(60)))
    batches = await asyncio.gather(*(claim(store, owner=f"r{n}", most=7) for n in range(12)))
    ids = [item.delivery.id for batch in batches for item in batch]
    assert len(ids) == len(set(ids)) == 60


async def test_disabled_endpoint_holds_its_deliveries(store: Store) -> None:
    """Its events are not lost: they are due when it is enabled."""
    endpoint = make_endpoint(disabled_at=NOON, disabled_reason="410")
    await fill(store, (make_event(), endpoint))
    assert await claim(store, LEASE) == []
    assert await store.write(lambda tx: outbox.release_held(tx, endpoint.id, LEASE)) == 1
    assert len(await claim(store, LEASE)) == 1


async def test_leases_end_at_the_start_of_a_lone_relay(store: Store) -> None:
    """After a crash nothing waits for a lease to expire, if only one relay uses the store."""
    await fill(store, (make_event(), make_endpoint()))
    await claim(store, owner="the dead one")
    assert await store.write(lambda tx: outbox.release(tx, NOON + 1)) == 1
    assert len(await claim(store, NOON + 1)) == 1


async def test_resend_restarts_the_schedule_with_the_same_webhook_id(store: Store) -> None:
    """A failed delivery that is resent keeps its event id, body and number of attempts."""
    await fill(store, (make_event(), make_endpoint()))
    [held] = await claim(store)
    await store.write(lambda tx: outbox.record_results(tx, [settlement(held, DeliveryStatus.FAILED)]))
    assert await store.write(lambda tx: deliveries.resend(tx, held.delivery.id, NOON + 9))
    [again] = await claim(store, NOON + 9)
    assert (again.delivery.event_id, again.delivery.body) == (held.delivery.event_id, held.delivery.body)
    assert (again.delivery.attempts_in_run, again.delivery.attempts, again.trigger) == (0, 1, "resend")


@pytest.mark.parametrize("limit", [1, 3, 7, 50])
async def test_pages_contain_every_delivery_once(store: Store, limit: int) -> None:
    """The cursors lead to each delivery once, newest first, even if many were created at the same instant."""
    endpoint = make_endpoint()
    await fill(store, *((make_event(f"j{n}"), endpoint) for n in range(20)))
    seen: list[str] = []
    cursor = None
    for _ in range(30):
        page = Page(limit, cursor)
        rows, cursor = await store.read(lambda tx, p=page: deliveries.page(tx, p, DeliveryFilter()))  # type: ignore[misc]
        seen += [row.id for row in rows]
        if cursor is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == len(seen) == 20


async def test_few_bodies_are_in_memory_at_a_time(store: Store) -> None:
    """A job with the longest accepted answer and 300 subscribers: 37 MiB are stored, with far less in memory."""
    event = replace(make_event(), job={"id": "j1", "status": "completed", "text": "x" * MAX_JOB_SIZE})
    some = [make_endpoint(url=f"https://e{number}.example/") for number in range(300)]

    def work(tx: Tx) -> int:
        for endpoint in some:
            endpoints.add(tx, endpoint)
        tracemalloc.start()
        try:
            assert enqueue(tx, event, [(endpoint, None) for endpoint in some], NOON, 0).added == len(some)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak = await store.write(work)
    assert peak < 120 * MAX_JOB_SIZE
    assert await store.read(lambda tx: deliveries.count(tx, DeliveryFilter())) == len(some)


async def test_result_under_an_earlier_lease_changes_nothing(store: Store) -> None:
    """The same relay has leased the delivery again, after another one had it: only the new lease counts."""
    await fill(store, (make_event(), make_endpoint()))
    [stale] = await claim(store)
    [mine] = await claim(store, LEASE)
    again = settlement(stale, DeliveryStatus.PENDING, next_attempt_at=LEASE)
    await store.write(lambda tx: outbox.record_results(tx, [again]))
    assert await claim(store, LEASE) == [], "the lease holds"
    await store.write(lambda tx: outbox.record_results(tx, [settlement(mine, DeliveryStatus.FAILED)]))
    after = await store.read(lambda tx: deliveries.get(tx, mine.delivery.id))
    assert after is not None
    assert after.status is DeliveryStatus.FAILED
