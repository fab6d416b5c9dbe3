"""Pruning while others use the rows that are deleted."""

import asyncio
import threading
from functools import partial

import pytest
from sqlalchemy import select

from relay import registration
from relay.endpoints import EndpointSpec
from relay.model import DAY, DeliveryStatus, WatchState
from relay.registration import RegistrationSpec
from relay.store.engine import schema
from relay.store.engine.database import Store, Tx
from relay.store.tables import deliveries, pruning, watches
from tests.locks import waits_for_a_lock
from tests.make import NOON, OPEN_RULES
from tests.usecases.operations.test_retention import end, left, only_one

OLD = [("default", "old")]


async def test_a_job_resent_during_pruning_is_kept(store: Store) -> None:
    """A job was found to be old; before it is deleted, somebody resends its delivery."""
    await end(store, "old", DeliveryStatus.CANCELLED)
    assert await store.read(lambda tx: pruning.old_jobs(tx, NOON + 1, 10)) == (OLD, None)
    sent = await only_one(store)
    await store.write(lambda tx: deliveries.resend(tx, sent.id, NOON + 2))
    assert await store.write(lambda tx: pruning.delete_jobs(tx, OLD, NOON + 1, 100)) == (0, [])
    assert await left(store) == (1, 1, 1, 1)


@pytest.mark.parametrize("url", ["https://example.com/x", "https://example.com/y"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_job_registered_during_pruning_is_watched(store: Store, another: Store, when: str, url: str) -> None:
    """A job is registered at one relay while another deletes what it knew of it: it is watched, as one never seen."""
    await end(store, "old", DeliveryStatus.CANCELLED)
    locked, may_go_on = threading.Event(), threading.Event()

    def wait() -> None:
        locked.set()
        assert may_go_on.wait(30)

    def delete(tx: Tx) -> None:
        watches.get_for_update(tx, *OLD[0])  # locks it
        [endpoint] = tx.execute(select(schema.endpoints.c.id).with_for_update()).scalars()
        if when == "before":
            wait()
        assert pruning.delete_jobs(tx, OLD, NOON + 1, 100) == (1, [])
        assert pruning.delete_endpoints(tx, [endpoint]) == 1
        if when == "after":
            wait()

    if store.is_exclusive:
        may_go_on.set()
    checked = registration.validate(RegistrationSpec(job_id="old", callback=EndpointSpec(url)), OPEN_RULES, {"default"})
    deleting = asyncio.create_task(store.write(delete))
    assert await asyncio.to_thread(locked.wait, 30)
    registering = asyncio.create_task(another.write(partial(registration.register, request=checked, now=NOON + DAY)))
    try:
        await waits_for_a_lock(another)
    finally:
        may_go_on.set()
        await deleting
    made = await registering
    assert made.is_new
    assert made.secret is not None  # its endpoint is new too
    assert await left(store) == (1, 1, 0, 1)
    watch = await store.write(lambda tx: watches.get_for_update(tx, *OLD[0]))
    assert watch is not None
    assert watch.state is WatchState.ACTIVE
