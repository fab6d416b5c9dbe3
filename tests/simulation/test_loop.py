"""The simulated loop: virtual time, stopped and killed processes, one order for one seed."""

import asyncio

import pytest

from tests.simulation.loop import SimulatedLoop, Stuck


def lived(seed: str, steps: int | None = None) -> list[str]:
    """What three processes do, each several times; the second is killed, the third stands still for a while."""
    loop, said = SimulatedLoop(seed), list[str]()

    async def work(name: str) -> None:
        try:
            for number in range(4):
                await asyncio.sleep(10)
                await asyncio.to_thread(said.append, f"{name} {number} at {loop.time():.0f}")
        finally:
            said.append(f"{name} ends")

    async def world() -> None:
        first, second, third = (loop.process(name) for name in "abc")
        tasks = [process.spawn(work(process.name)) for process in (first, second, third)]
        second.steps_left = steps
        await asyncio.sleep(15)
        if steps is None:
            second.kill()
        third.stop()
        await asyncio.sleep(100)
        third.resume()
        await asyncio.gather(tasks[0], tasks[2])

    try:
        loop.run_until_complete(loop.world.spawn(world()))
        return list(said)
    finally:
        loop.finish()


def test_killed_process_does_nothing_more() -> None:
    """Not even its `finally`."""
    assert [one for one in lived("1") if one.startswith("b")] == ["b 0 at 10"]


def test_process_is_killed_at_the_chosen_step() -> None:
    """Before its first callback of work, and after a later one."""
    assert [one for one in lived("1", steps=1) if one.startswith("b")] == []
    assert [one for one in lived("1", steps=6) if one.startswith("b")] != []


def test_stopped_process_goes_on_late() -> None:
    """Its timers ran out meanwhile."""
    assert [one for one in lived("1") if one.startswith("c")][1] == "c 1 at 115"


def test_seed_decides_the_order() -> None:
    """The same for the same seed, another for some other."""
    assert lived("1") == lived("1")
    assert len({tuple(lived(str(seed))) for seed in range(8)}) > 1


def test_nothing_due_is_an_error() -> None:
    """A world that waits for nothing would wait for ever."""
    loop = SimulatedLoop("1")
    with pytest.raises(Stuck):
        loop.run_until_complete(loop.world.spawn(asyncio.Event().wait()))
    loop.finish()
