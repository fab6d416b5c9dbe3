"""The metronome beats on, wherever the machine's clock is set to."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import time_machine

from relay.metronome import Metronome


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
    counted, metronome = Beats(), Metronome()
    metronome.every(20, counted.beat)
    metronome.start()
    await counted.go_on()
    yield counted
    metronome.stop()


@pytest.mark.parametrize("seconds", [-2, -3_600, 6 * 3_600, -(10**9), 10 * 365 * 86_400])
async def test_it_beats_on_when_the_clock_is_set(beats: Beats, machine: time_machine.Traveller, seconds: int) -> None:
    """Back, where it would have waited; on by years, where it would have counted what it missed."""
    machine.shift(seconds)
    await beats.go_on()
    machine.shift(-seconds)
    await beats.go_on()


async def test_what_is_at_work_is_not_begun_again() -> None:
    """A beat that lasts longer than the time between two is left alone."""
    begun, done, metronome = 0, asyncio.Event(), Metronome()

    async def long() -> None:
        nonlocal begun
        begun += 1
        await done.wait()

    beats = Beats()
    metronome.every(10, long)
    metronome.every(20, beats.beat)
    metronome.start()
    await beats.go_on()
    assert begun == 1
    done.set()
    async with asyncio.timeout(30):
        while begun == 1:
            await asyncio.sleep(0.005)
    metronome.stop()
    await asyncio.sleep(0.05)
    after = begun
    await asyncio.sleep(0.05)
    assert begun == after


async def test_what_takes_longer_than_a_beat_is_nothing_to_warn_of(caplog: pytest.LogCaptureFixture) -> None:
    """The operator's log has no line for each beat that was left out."""
    begun, go_on, metronome = asyncio.Event(), asyncio.Event(), Metronome()
    counted = Beats()

    async def long() -> None:
        begun.set()
        await go_on.wait()

    metronome.every(20, long)
    metronome.every(20, counted.beat)
    metronome.start()
    await asyncio.wait_for(begun.wait(), 30)
    await counted.go_on()
    go_on.set()
    metronome.stop()
    assert caplog.records == []


async def test_what_is_at_work_when_it_stops_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """It is cancelled, and the log has no trace of it."""
    begun, ended, metronome = asyncio.Event(), asyncio.Event(), Metronome()

    async def long() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    metronome.every(20, long)
    metronome.start()
    await asyncio.wait_for(begun.wait(), 30)
    metronome.stop()
    await asyncio.wait_for(ended.wait(), 30)
    for _ in range(3):
        await asyncio.sleep(0)
    assert caplog.records == []
