"""The recorder stores every result, whatever changes the endpoint meanwhile and whatever the receiver answered."""

import asyncio
import logging
import random
import threading
from collections.abc import Mapping
from dataclasses import replace

import pytest

from relay.config import DeliverySection
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.enqueue import enqueue
from relay.egress import HttpResponse, SendResult
from relay.endpoints import EndpointPatch
from relay.endpoints import admin as standing
from relay.model import SECOND, Attempt, DeliveryStatus, Endpoint
from relay.store.engine.database import Store, Tx
from relay.store.engine.paging import Page
from relay.store.tables import deliveries, due_deliveries, endpoints, outbox
from relay.store.tables.filters import DeliveryFilter
from relay.telemetry import Telemetry
from tests.conftest import Clock
from tests.locks import waits_for_a_lock
from tests.make import NOON, OPEN_RULES, make_endpoint, make_event

FINE = HttpResponse(200, {}, b"ok")
GONE = "answered 410 Gone"


class Scripted:
    """An HTTP client that returns the scripted result for a webhook-id, else 200."""

    def __init__(self, script: Mapping[str, SendResult] | None = None) -> None:
        self.script = script or {}
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: int, per_address: int | None = None
    ) -> tuple[SendResult, int]:
        await self.may_answer.wait()
        return self.script.get(headers["webhook-id"], FINE), 3


def dispatcher(store: Store, wire: Scripted, clock: Clock) -> Dispatcher:
    rules = DeliverySection.model_validate({"per_host": 64, "per_endpoint": 64})
    return Dispatcher(store, wire, rules, clock, Telemetry(), "own_1", random.Random(1))


async def prepare(store: Store, endpoint: Endpoint, *jobs: str) -> None:
    """Adds the endpoint and a due delivery for each job."""

    def work(tx: Tx) -> None:
        endpoints.add(tx, endpoint)
        for job in jobs:
            enqueue(tx, make_event(job), [(endpoint, None)], NOON, 0)

    await store.write(work)


@pytest.mark.parametrize("change", ["attempt", "by hand"])
async def test_concurrent_writes_do_not_undo_a_disable(store: Store, another: Store, clock: Clock, change: str) -> None:
    """One relay disables the endpoint; another relay that read it before writes its own change and keeps that."""
    endpoint = make_endpoint(name="crm", failures=3, failing_since=NOON)
    await prepare(store, endpoint, "j1")
    written, may_commit = threading.Event(), threading.Event()

    def disable(tx: Tx) -> None:
        endpoints.save_health(tx, replace(endpoint, disabled_at=NOON, disabled_reason=GONE))
        written.set()
        assert may_commit.wait(30)

    async def attempt() -> None:
        wire.may_answer.set()
        await sender.idle()

    async def by_hand() -> None:
        await another.write(lambda tx: standing.update(tx, read, EndpointPatch(name="sales"), OPEN_RULES, clock()))

    wire = Scripted()
    sender = dispatcher(another, wire, clock)
    wire.may_answer.clear()
    if change == "attempt":
        await sender.tick()
    read = await another.read(lambda tx: standing.get(tx, endpoint.id))
    if store.is_exclusive:
        may_commit.set()
    disabling = asyncio.create_task(store.write(disable))
    assert await asyncio.to_thread(written.wait, 30)
    changing = asyncio.create_task(attempt() if change == "attempt" else by_hand())
    try:
        await waits_for_a_lock(another)
    finally:
        may_commit.set()
        await asyncio.gather(disabling, changing)
    found = await store.read(lambda tx: standing.get(tx, endpoint.id))
    assert (found.disabled_at, found.disabled_reason) == (NOON, GONE)
    assert (found.failures, found.name) == ((0, "crm") if change == "attempt" else (3, "sales"))


async def test_deliveries_of_an_endpoint_enabled_meanwhile_are_not_held(store: Store) -> None:
    """The endpoint was enabled after it was read as disabled: neither due nor new deliveries are held."""
    endpoint = make_endpoint()
    seen = replace(endpoint, disabled_at=NOON, disabled_reason=GONE)
    await prepare(store, endpoint, "j1")
    await store.write(lambda tx: outbox.hold_for_disabled(tx, endpoint.id, NOON, 10))
    await store.write(lambda tx: enqueue(tx, make_event("j2"), [(seen, None)], NOON, 0))
    assert len(await store.read(lambda tx: due_deliveries.due(tx, NOON, 10))) == 2


async def test_a_result_the_database_rejects_does_not_delay_its_batch(
    store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A status that no database takes: the other results of its batch are stored at once, its attempt counts."""
    bad = make_event("bad")
    jobs = [f"j{number}" for number in range(9)]
    await prepare(store, make_endpoint(), *jobs, "bad")
    sender = dispatcher(store, Scripted({bad.id: HttpResponse(2**70, {}, b"what?")}), clock)
    with caplog.at_level(logging.ERROR):
        await sender.tick()
        await asyncio.wait_for(sender.idle(), 30)
    assert "retrying" not in caplog.text
    found, _ = await store.read(lambda tx: deliveries.page(tx, Page(50), DeliveryFilter()))
    assert {one.status for one in found if one.job_id != "bad"} == {DeliveryStatus.DELIVERED}
    [rejected] = [one for one in found if one.job_id == "bad"]
    assert (rejected.status, rejected.attempts, rejected.attempts_in_run) == (DeliveryStatus.PENDING, 1, 1)
    assert (rejected.next_attempt_at or 0) >= NOON + 5 * SECOND
    [attempt] = await attempts_of(store, rejected.id)
    assert (attempt.outcome, attempt.status_code, attempt.response) == ("status", None, "")
    assert attempt.error == "the response can't be stored"


async def attempts_of(store: Store, id: str) -> list[Attempt]:
    return list(await store.read(lambda tx: deliveries.attempts_of(tx, id)))


async def test_a_success_counts_though_its_response_can_not_be_stored(store: Store, clock: Clock) -> None:
    """2xx with a duration that no database takes is delivered: it is not repeated."""

    class Late(Scripted):
        async def post(
            self, url: str, headers: Mapping[str, str], body: bytes, timeout: int, per_address: int | None = None
        ) -> tuple[SendResult, int]:
            return FINE, 2**70

    await prepare(store, make_endpoint(), "j1")
    sender = dispatcher(store, Late(), clock)
    await sender.tick()
    await asyncio.wait_for(sender.idle(), 30)
    [found], _ = await store.read(lambda tx: deliveries.page(tx, Page(50), DeliveryFilter()))
    assert (found.status, found.attempts) == (DeliveryStatus.DELIVERED, 1)
