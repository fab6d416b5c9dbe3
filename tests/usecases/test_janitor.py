"""Tidying: what ended long ago goes with everything about it, and nothing else does."""

from dataclasses import replace

from relay import register
from relay.janitor import Janitor
from relay.model import DAY, DeliveryStatus, RegistrationStatus, ScenarioJob, WatchState
from relay.register import Request
from relay.store import deliveries, endpoints, events, idempotency, outbox, registrations, watches
from relay.store.database import Store, Tx
from relay.store.deliveries import Filter
from relay.store.idempotency import Kept
from relay.store.paging import Page
from relay.subscribing import Wanted
from tests.conftest import Clock
from tests.make import NOON, OPEN_RULES, make_event

RETENTION = 30 * DAY


async def end(store: Store, job_id: str, status: DeliveryStatus, url: str = "https://example.com/x") -> None:
    """A job that was registered and ended at noon, its delivery in `status`."""
    checked = register.check(Request(job_id=job_id, callback=Wanted(url)), OPEN_RULES, {"default"})

    def work(tx: Tx) -> None:
        made = register.register(tx, checked, NOON)
        watch = watches.get(tx, "default", job_id)
        assert watch is not None
        assert made.endpoint is not None
        seen = ScenarioJob(id=job_id, status="completed")
        watches.save(tx, replace(watch, state=WatchState.SETTLED, job=seen, next_look_at=None, ended_at=NOON))
        event = events.add(tx, make_event(job_id))
        outbox.enqueue(tx, event, [(made.endpoint, made.registration)], NOON, 0)
        registrations.settle(tx, "default", job_id)
        if status is not DeliveryStatus.PENDING:
            outbox.cancel(tx, made.endpoint.id, ("default", job_id), NOON, "as good as ended")

    await store.write(work)


async def left(store: Store) -> tuple[int, int, int, int]:
    """Watches, registrations, deliveries and endpoints that are there."""

    def work(tx: Tx) -> tuple[int, int, int, int]:
        return (
            len(watches.page(tx, Page(200))[0]),
            len(registrations.page(tx, Page(200))[0]),
            deliveries.count(tx, Filter()),
            len(endpoints.page(tx, Page(200))[0]),
        )

    return await store.read(work)


async def test_what_ended_long_ago_goes_whole(store: Store, clock: Clock) -> None:
    """Watch, looks, event, registration, delivery and the endpoint nobody names any more."""
    await end(store, "old", DeliveryStatus.CANCELLED)
    clock.advance(RETENTION + DAY)
    assert await Janitor(store, RETENTION, clock).tick() == 1
    assert await left(store) == (0, 0, 0, 0)
    assert await store.read(lambda tx: events.of_job(tx, "default", "old")) == []


async def test_what_is_younger_than_the_retention_stays(store: Store, clock: Clock) -> None:
    """A day before its time nothing goes."""
    await end(store, "young", DeliveryStatus.CANCELLED)
    clock.advance(RETENTION - DAY)
    assert await Janitor(store, RETENTION, clock).tick() == 0
    assert await left(store) == (1, 1, 1, 1)


async def test_what_is_still_to_be_delivered_stays(store: Store, clock: Clock) -> None:
    """However old, a pending or held delivery keeps its job."""
    await end(store, "waiting", DeliveryStatus.PENDING)
    clock.advance(10 * RETENTION)
    assert await Janitor(store, RETENTION, clock).tick() == 0
    assert await left(store) == (1, 1, 1, 1)


async def test_a_job_that_is_being_watched_stays(store: Store, clock: Clock) -> None:
    """Only what ended is ever deleted."""
    checked = register.check(Request(job_id="live", callback=Wanted("https://example.com/")), OPEN_RULES, {"default"})
    made = await store.write(lambda tx: register.register(tx, checked, NOON))
    clock.advance(10 * RETENTION)
    await Janitor(store, RETENTION, clock).tick()
    found = await store.read(lambda tx: registrations.get(tx, made.registration.id))
    assert found is not None
    assert found.status is RegistrationStatus.ACTIVE


async def test_more_than_a_batch_goes_in_one_tick(store: Store, clock: Clock) -> None:
    """Small batches, as many as it takes."""
    for number in range(205):
        await end(store, f"j{number}", DeliveryStatus.CANCELLED)
    clock.advance(RETENTION + DAY)
    assert await Janitor(store, RETENTION, clock).tick() == 205


async def test_kept_answers_go_after_a_day(store: Store, clock: Clock) -> None:
    """An Idempotency-Key is good for 24 hours."""
    kept = Kept(key="k", request_hash="", status=201, answer="", created_at=NOON)
    await store.write(lambda tx: idempotency.keep(tx, kept))
    janitor = Janitor(store, RETENTION, clock)
    clock.advance(DAY)
    await janitor.tick()
    assert await store.read(lambda tx: idempotency.get(tx, "k")) == kept
    clock.advance(1)
    await janitor.tick()
    assert await store.read(lambda tx: idempotency.get(tx, "k")) is None
