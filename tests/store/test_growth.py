"""The cost of queries depends on due and shown rows, not on all rows: a small store is compared with a large one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import delete, text, update

from benchmarks.growth.filling import MONTH, fill
from relay.model import DeliveryStatus, EndpointKind, EventType, RegistrationStatus, WatchState
from relay.polling import load_workspace_status
from relay.polling.request_budget import RateLimit
from relay.security import FieldCipher
from relay.store.engine import dialect, schema
from relay.store.engine.database import Store, Tx
from relay.store.engine.paging import Page, encode
from relay.store.tables import (
    dashboard_queries,
    deliveries,
    delivery_groups,
    due_deliveries,
    endpoint_statistics,
    endpoints,
    events,
    outbox,
    pending_work,
    pruning,
    registrations,
    watches,
)
from relay.store.tables.filters import DeliveryFilter, HttpStatus, JobFilter, MetadataPair
from tests.make import NOON

SMALL, LARGE, EACH = 200, 4_000, 2
DEEP = Page(20, encode(NOON - MONTH + MONTH // 20, "zzz"))
DEEP_JOB = Page(20, encode(NOON - MONTH + MONTH // 20, "zzz", "default"))
OLD_HALF = Page(20, encode(NOON - MONTH // 2, "zzz", "default"), max_scanned=50)
TOP = Page(20)
FULL_OF_FAILED = Page(SMALL * EACH // 100)  # one in a hundred failed
NARROW = Page(20, max_scanned=100)
OF_ONE = DeliveryFilter(endpoint_id="ep_1000000001")
DELIVERED_TO_ONE = DeliveryFilter(endpoint_id="ep_1000000001", status=DeliveryStatus.DELIVERED)
RARE = DeliveryFilter(status=DeliveryStatus.DELIVERED, metadata=MetadataPair("customer", "acme"))
RARE_JOB = JobFilter(
    endpoint_id="ep_none",
    event_type=EventType.EXPIRED,
    http_status=HttpStatus(500, 599),
    metadata=MetadataPair("customer", "acme"),
)

WORK: dict[str, Callable[[Tx], Any]] = {
    "jobs": lambda tx: watches.page(tx, TOP),
    "jobs, deep": lambda tx: watches.page(tx, DEEP_JOB),
    "jobs of a rare state": lambda tx: watches.page(tx, TOP, JobFilter(state=WatchState.EXPIRED)),
    "registrations, deep": lambda tx: registrations.page(tx, DEEP),
    "registrations of a rare status": lambda tx: registrations.page(tx, TOP, status=RegistrationStatus.WITHDRAWN),
    "registrations of an endpoint": lambda tx: registrations.page(tx, TOP, endpoint_id="ep_1000000001"),
    "events, deep": lambda tx: events.page(tx, DEEP, None, None, None),
    "events of a rare type": lambda tx: events.page(tx, TOP, EventType.EXPIRED, None, None),
    "deliveries, deep": lambda tx: deliveries.page(tx, DEEP, DeliveryFilter()),
    "failed deliveries, deep": lambda tx: deliveries.page(tx, DEEP, DeliveryFilter(status=DeliveryStatus.FAILED)),
    "cancelled deliveries": lambda tx: deliveries.page(tx, TOP, DeliveryFilter(status=DeliveryStatus.CANCELLED)),
    "deliveries by their metadata": lambda tx: deliveries.page(tx, NARROW, RARE),
    "counting deliveries by their metadata": lambda tx: deliveries.count_some(tx, RARE, True, max_scanned=100),
    "jobs by all filters": lambda tx: watches.page(tx, OLD_HALF, RARE_JOB),
    "deliveries by event, deep": lambda tx: delivery_groups.page(tx, DEEP, 10, DeliveryFilter()),
    "failed deliveries by event": lambda tx: delivery_groups.page(
        tx, FULL_OF_FAILED, 10, DeliveryFilter(status=DeliveryStatus.FAILED)
    ),
    "delivered to an endpoint by event": lambda tx: delivery_groups.page(tx, TOP, 10, DELIVERED_TO_ONE),
    "deliveries of an endpoint": lambda tx: deliveries.page(tx, DEEP, OF_ONE),
    "names of an endpoint's jobs": lambda tx: dashboard_queries.scenario_names(tx, deliveries.page(tx, TOP, OF_ONE)[0]),
    "endpoints, deep": lambda tx: endpoints.page(tx, DEEP),
    "ad hoc endpoints, deep": lambda tx: endpoints.page(tx, DEEP, EndpointKind.AD_HOC),
    "standing endpoints": lambda tx: endpoints.page(tx, TOP, EndpointKind.STANDING),
    "an endpoint by its name": lambda tx: endpoints.page(tx, TOP, name="endpoint-1"),
    "counted attempts at an endpoint": lambda tx: endpoint_statistics.count_attempts(tx, "ep_1000000001", NOON - MONTH),
    "endpoints that need attention": lambda tx: endpoint_statistics.needing_attention(tx, NOON, 8),
    "has Exec answered?": lambda tx: endpoint_statistics.has_exec_answered(tx, "default"),
    "usual polls": lambda tx: dashboard_queries.mean_polls_per_job(tx, "default"),
    "search for a job": lambda tx: dashboard_queries.search_jobs(tx, "nothing", 20, among=100),
    "search for an endpoint": lambda tx: dashboard_queries.search_endpoints(tx, "nothing", 20, among=10),
    "has anything changed?": dashboard_queries.change_token,
    "what waits": pending_work.find,
    "what is due": lambda tx: due_deliveries.due(tx, NOON, 100),
    "the oldest due": lambda tx: due_deliveries.oldest_due(tx, NOON),
    "polls that are due": lambda tx: watches.lock_due(tx, "default", NOON, 100),
    "leasing polls": lambda tx: watches.lease(tx, watches.active(tx, "default", 20), NOON + MONTH),
    "the status of a workspace": lambda tx: load_workspace_status(tx, "default", RateLimit(60, 1_000, 1.0), None, NOON),
    "taking up polls under way": lambda tx: watches.release_all(tx, NOON),
    "taking up attempts under way": lambda tx: outbox.release(tx, NOON),
    "a batch of old jobs": lambda tx: pruning.delete_jobs(tx, pruning.old_jobs(tx, NOON, 5)[0], NOON, 500),
    "what was held too long": lambda tx: pruning.expired_held(tx, NOON, 5),
    "a batch of old endpoints": lambda tx: pruning.delete_endpoints(tx, pruning.old_endpoints(tx, NOON, 5)[0]),
}


def refill(url: str, jobs: int) -> None:
    """Makes so many jobs that have ended, in place of what is there."""
    engine = dialect.engine(dialect.parse(url), writer=True, connections=1, relay_cipher=FieldCipher())
    with engine.begin() as tx:
        for table in schema.metadata.sorted_tables:
            tx.execute(delete(table))
    fill(engine, jobs, EACH, NOON)
    engine.dispose()


@contextmanager
def counted(tx: Tx) -> Iterator[Callable[[], int]]:
    """How much was done since: rows read on PostgreSQL, hundreds of steps of its machine on SQLite."""
    if tx.dialect.name == "postgresql":
        rows = text("SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables")
        before = tx.execute(rows).scalar_one()
        yield lambda: int(tx.execute(rows).scalar_one() - before)
        return
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection: Any = tx.connection.driver_connection
    connection.set_progress_handler(step, 100)
    yield lambda: steps
    connection.set_progress_handler(None, 0)


def costs(tx: Tx) -> dict[str, int]:
    """What each piece of work costs."""
    found = {}
    if tx.dialect.name == "postgresql":
        # It would rather read a few hundred rows than poll into an index.
        tx.execute(text("SET LOCAL enable_seqscan = off"))
        # What is read in an index alone counts only if a snapshot, anyone's, kept VACUUM from marking the rows' pages.
        tx.execute(text("SET LOCAL enable_indexonlyscan = off"))
    for name, work in WORK.items():
        with counted(tx) as so_far:
            work(tx)
            found[name] = so_far()
    return found


async def test_cost_of_frequent_queries_does_not_grow_with_the_store(store: Store, store_url: str) -> None:
    """With twenty times as many jobs, each frequent query costs at most twice as much."""
    refill(store_url, SMALL)
    small = await store.write(costs)
    refill(store_url, LARGE)
    large = await store.write(costs)
    grown = {name: (small[name], large[name]) for name in WORK if large[name] > 2 * small[name] + 20}
    assert grown == {}


async def test_search_reads_only_the_newest_rows(store: Store, store_url: str) -> None:
    """For any text, a search reads a bounded number of jobs. PostgreSQL chooses its own plan here."""
    refill(store_url, LARGE)

    def read(tx: Tx) -> list[int]:
        found = []
        for typed in ("nothing", "job1", "Discovery", "100%"):
            with counted(tx) as so_far:
                dashboard_queries.search_jobs(tx, typed, 20, among=100)
                found.append(so_far())
        return found

    assert max(await store.write(read)) < LARGE // 4


async def test_counts_stop_at_their_limit(store: Store, store_url: str) -> None:
    """Few rows are counted exactly, many only up to the limit."""
    refill(store_url, SMALL)
    await store.write(lambda tx: tx.execute(update(schema.deliveries), {"status": "pending"}))
    for most, active, pending in ((50, 50, 50), (100_000, 1_001, SMALL * EACH)):
        assert await store.read(lambda tx, n=most: watches.count_active(tx, "default", n)) == active  # type: ignore[misc]
        assert await store.read(lambda tx, n=most: deliveries.pending(tx, n)) == pending  # type: ignore[misc]
