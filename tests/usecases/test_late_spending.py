"""The budget is spent by the clock after waiting for the workspace."""

import asyncio
import threading
from collections.abc import Callable
from logging import getLogger
from typing import Any, cast

import pytest

from relay import registration
from relay.model import HOUR, SECOND
from relay.operations import Timekeeper
from relay.registration import job_creation
from relay.store.engine.database import Store, Tx
from relay.store.tables import workspaces
from relay.telemetry import Telemetry
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


class Waits:
    """A store that is busy for two seconds whenever a relay that starts wants to write; meanwhile another relay spends
    a request."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, work: Callable[[Tx], Any]) -> Any:
        self._clock.advance(2 * SECOND)
        await watcher(self._clock, self._store)._may_repeat(SPACE)
        return await self._store.write(work)


async def test_what_others_spend_while_a_relay_starts_counts_from_then_on(store: Store, clock: Clock) -> None:
    """The relay that starts took the time before it waited for the store, and what was spent since for the work of a
    clock that is ahead."""
    await store.write(lambda tx: registration.register(tx, checked("j1", "https://a.example/"), NOON))
    await Timekeeper(cast(Store, Waits(store, clock)), clock, "own_1", HOUR, getLogger("relay")).begin()
    ledger = (await store.read(lambda tx: workspaces.get(tx, SPACE))).ledger
    last = (clock.at - NOON) // SECOND
    assert last >= 2
    assert ledger.seconds == tuple((NOON // SECOND + at, 1) for at in range(2, last + 1, 2))


class StandsStill:
    """A store behind which the process stands still for 15 s after the first commit."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock, self._pauses = store, clock, iter([15 * SECOND])

    async def write(self, work: Callable[[Tx], Any]) -> Any:
        written = await self._store.write(work)
        self._clock.advance(next(self._pauses, 0))
        return written

    async def write_together(self, work: Callable[..., Any], item: Any) -> Any:
        written = await self._store.write_together(work, item)
        self._clock.advance(next(self._pauses, 0))
        return written


async def create_late(store: StandsStill, clock: Clock) -> bool:
    creator = job_creation.JobCreator(cast(Store, store), {}, watcher(clock), clock, Telemetry(), None)
    _, reserved = await creator._reserve(SPACE, job_creation.ExecJobRequest("r", {}))
    return isinstance(reserved, job_creation.Reserved)


async def poll_late(store: StandsStill, clock: Clock) -> bool:
    return await watcher(clock, store)._may_repeat(SPACE)


@pytest.mark.parametrize("spend", [create_late, poll_late])
async def test_a_request_that_would_leave_late_is_spent_again(
    store: Store, clock: Clock, spend: Callable[[StandsStill, Clock], Any]
) -> None:
    """Exec counts it from when it arrives: after a pause the ledger would allow one too many a minute later."""
    await store.write(lambda tx: registration.register(tx, checked("j1", "https://a.example/"), NOON))
    assert await spend(StandsStill(store, clock), clock)
    state = await store.read(lambda tx: workspaces.get(tx, SPACE))
    assert state.ledger.seconds == ((NOON // SECOND, 1), (NOON // SECOND + 15, 1))
