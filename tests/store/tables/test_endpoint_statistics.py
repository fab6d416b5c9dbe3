"""Which endpoints need attention, and how their attempts went, on both databases."""

from sqlalchemy import insert

from relay.delivery.enqueue import enqueue
from relay.model import HOUR, MINUTE, SECOND, Endpoint, EndpointKind
from relay.store.engine import schema
from relay.store.engine.database import Store, Tx
from relay.store.engine.paging import Page
from relay.store.tables import deliveries, endpoint_statistics, endpoints, events
from relay.store.tables.filters import DeliveryFilter
from tests.make import NOON, make_endpoint, make_event


async def add(store: Store, *rows: Endpoint) -> None:
    def work(tx: Tx) -> None:
        for row in rows:
            endpoints.add(tx, row)

    await store.write(work)


async def attention(store: Store, limit: int = 10) -> list[str]:
    return [row.id for row in await store.read(lambda tx: endpoint_statistics.needing_attention(tx, NOON, limit))]


async def test_three_failures_or_five_minutes_need_attention(store: Store) -> None:
    """One failed attempt does not, nor a healthy endpoint; the longest failing comes first."""
    fails = make_endpoint(NOON + 1, failing_since=NOON - SECOND, failures=3)
    old = make_endpoint(NOON + 2, failing_since=NOON - 5 * MINUTE, failures=1)
    disabled = make_endpoint(NOON + 3, disabled_at=NOON - HOUR, disabled_reason="gone")
    once = make_endpoint(NOON + 4, failing_since=NOON - 5 * MINUTE + 1, failures=2)
    await add(store, make_endpoint(), fails, old, disabled, once)
    assert await attention(store) == [disabled.id, old.id, fails.id]
    assert await attention(store, 1) == [disabled.id]


async def test_endpoint_of_one_job_needs_attention_while_something_waits(store: Store) -> None:
    """With a pending delivery it counts; without one, and without an active registration, it does not."""
    trouble = {"kind": EndpointKind.AD_HOC, "failing_since": NOON - HOUR, "failures": 9}
    waiting, finished = make_endpoint(NOON + 1, **trouble), make_endpoint(NOON + 2, **trouble)
    await add(store, waiting, finished)

    def work(tx: Tx) -> None:
        enqueue(tx, events.add(tx, make_event()), [(waiting, None)], NOON, 0)

    await store.write(work)
    assert await attention(store) == [waiting.id]


async def test_statistics_without_attempts(store: Store) -> None:
    """No rate and no latency, instead of a division by zero."""
    await add(store, row := make_endpoint())
    [day, week] = await store.read(
        lambda tx: endpoint_statistics.attempt_statistics(tx, row.id, NOON, [24 * HOUR, 168 * HOUR])
    )
    assert day == week == endpoint_statistics.AttemptStatistics(0, 0, None, None)
    assert day.success_rate is None
    assert await store.read(lambda tx: endpoint_statistics.last_failures(tx, row.id, 5)) == []
    assert await store.read(lambda tx: endpoint_statistics.count_attempts(tx, row.id, NOON - HOUR)) == (0, 0)
    assert not await store.read(lambda tx: endpoint_statistics.has_exec_answered(tx, "default"))


async def test_counted_attempts_are_those_since_a_time(store: Store) -> None:
    """Successful ones and all, of this endpoint alone."""
    rows = [make_endpoint(NOON + number) for number in range(2)]
    await add(store, *rows)

    def work(tx: Tx) -> None:
        enqueue(tx, events.add(tx, make_event()), [(rows[0], None), (rows[1], None)], NOON, 0)
        ids = [one.id for row in rows for one in deliveries.page(tx, Page(9), DeliveryFilter(endpoint_id=row.id))[0]]
        outcomes = [("delivered", 0), ("http_error", 0), ("delivered", -HOUR), ("delivered", -2 * HOUR)]
        for number, (outcome, after) in enumerate(outcomes):
            tx.execute(
                insert(schema.attempts),
                {
                    "id": f"att_{number}",
                    "delivery_id": ids[0],
                    "number": number,
                    "trigger": "schedule",
                    "started_at": NOON + after,
                    "outcome": outcome,
                    "response": "",
                },
            )

    await store.write(work)

    async def counted(id: str) -> tuple[int, int]:
        return await store.read(lambda tx: endpoint_statistics.count_attempts(tx, id, NOON - 2 * HOUR))

    assert [await counted(row.id) for row in rows] == [(3, 2), (0, 0)]
