"""The budget is spent by the clock after waiting for the workspace."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from relay import registration
from relay.model import SECOND
from relay.registration import job_creation
from relay.store.engine.database import Store, Tx
from relay.store.tables import workspaces
from tests.conftest import NOON, Clock
from tests.locks import waits_for_a_lock
from tests.torture.operators import ALLOWANCE, SPACE, checked, watcher

Spend = Callable[[Tx, Clock], object]


def create(tx: Tx, clock: Clock) -> object:
    return job_creation.reserve_request(tx, SPACE, ALLOWANCE, "r", {}, clock)


def poll(tx: Tx, clock: Clock) -> object:
    return watcher(clock)._lease_due(tx, SPACE, 10)


@pytest.mark.parametrize("spend", [create, poll])
async def test_a_request_is_counted_after_the_wait_for_the_workspace(
    store: Store, another: Store, clock: Clock, spend: Spend
) -> None:
    """Another relay holds the workspace for 20 s: the request counts from then on."""
    await store.write(lambda tx: registration.register(tx, checked("j1", "https://a.example/"), NOON))
    let_go, held = threading.Event(), threading.Event()

    def hold(tx: Tx) -> None:
        workspaces.lock(tx, SPACE)
        held.set()
        let_go.wait(20)

    holding = asyncio.create_task(another.write(hold))
    await asyncio.to_thread(held.wait, 20)
    spending = asyncio.create_task(store.write(lambda tx: spend(tx, clock)))
    await waits_for_a_lock(store)
    clock.advance(20 * SECOND)
    let_go.set()
    await asyncio.gather(holding, spending)
    state = await store.read(lambda tx: workspaces.get(tx, SPACE))
    assert state.ledger.seconds == ((NOON // SECOND + 20, 1),)
