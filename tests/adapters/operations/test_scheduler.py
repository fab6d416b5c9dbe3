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
async def test_it_beats_on_when_the_clock_is_set(beats: Beats, machine: time_machine.Traveller, seconds: int) -> None:
    """Back, where it would have waited; on by years, where it would have counted what it missed."""
    machine.shift(seconds)
    await beats.go_on()
    machine.shift(-seconds)
    await beats.go_on()


async def test_what_is_at_work_is_not_begun_again() -> None:
    """A beat that lasts longer than the time between two is left alone."""
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


async def test_what_takes_longer_than_a_beat_is_nothing_to_warn_of(caplog: pytest.LogCaptureFixture) -> None:
    """The operator's log has no line for each beat that was left out."""
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


async def test_what_is_at_work_when_it_stops_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """It is cancelled, and the log has no trace of it."""
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
