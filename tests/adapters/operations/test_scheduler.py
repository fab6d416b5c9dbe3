"""The scheduler beats on, wherever the machine's clock is set to."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import time_machine

from relay.operations.scheduler import Scheduler


class Beats:
    """Counts beats of 20 ms."""

    def __init__(self) -> None:
        self.count = 0

    async def beat(self) -> None:
        self.count += 1

    async def go_on(self) -> None:
        """Returns after five more. Raises TimeoutError where they don't come."""
        before = self.count
        async with asyncio.timeout(30):
            while self.count < before + 5:
                await asyncio.sleep(0.005)


@pytest.fixture
def machine() -> Iterator[time_machine.Traveller]:
    """The machine's clock, which goes on from wherever it is moved to."""
    with time_machine.travel(1_709_294_400, tick=True) as traveller:
        yield traveller


@pytest.fixture
async def beats(machine: time_machine.Traveller) -> AsyncIterator[Beats]:
    counted, scheduler = Beats(), Scheduler()
    scheduler.every(20, counted.beat)
    scheduler.start()
    await counted.go_on()
    yield counted
    scheduler.stop()


@pytest.mark.parametrize("seconds", [-2, -3_600, 6 * 3_600, -(10**9), 10 * 365 * 86_400])
async def test_runs_continue_when_the_clock_is_set(beats: Beats, machine: time_machine.Traveller, seconds: int) -> None:
    """Set back, APScheduler would wait; set forward by years, it would count every missed run."""
    machine.shift(seconds)
    await beats.go_on()
    machine.shift(-seconds)
    await beats.go_on()


async def test_a_running_function_is_not_started_again() -> None:
    """A run that takes longer than the interval is not started a second time."""
    begun, done, scheduler = 0, asyncio.Event(), Scheduler()

    async def long() -> None:
        nonlocal begun
        begun += 1
        await done.wait()

    beats = Beats()
    scheduler.every(10, long)
    scheduler.every(20, beats.beat)
    scheduler.start()
    await beats.go_on()
    assert begun == 1
    done.set()
    async with asyncio.timeout(30):
        while begun == 1:
            await asyncio.sleep(0.005)
    scheduler.stop()
    await asyncio.sleep(0.05)
    after = begun
    await asyncio.sleep(0.05)
    assert begun == after


async def test_a_skipped_run_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The operator's log has no line for each skipped run."""
    begun, go_on, scheduler = asyncio.Event(), asyncio.Event(), Scheduler()
    counted = Beats()

    async def long() -> None:
        begun.set()
        await go_on.wait()

    scheduler.every(20, long)
    scheduler.every(20, counted.beat)
    scheduler.start()
    await asyncio.wait_for(begun.wait(), 30)
    await counted.go_on()
    go_on.set()
    scheduler.stop()
    assert caplog.records == []


async def test_stopping_cancels_running_functions_without_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Running functions are cancelled, and nothing is logged."""
    begun, ended, scheduler = asyncio.Event(), asyncio.Event(), Scheduler()

    async def long() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    scheduler.every(20, long)
    scheduler.start()
    await asyncio.wait_for(begun.wait(), 30)
    scheduler.stop()
    await asyncio.wait_for(ended.wait(), 30)
    for _ in range(3):
        await asyncio.sleep(0)
    assert caplog.records == []
