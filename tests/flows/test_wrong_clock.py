"""A machine whose clock is wrong at boot, or set while the relay runs: nothing is lost, untrue, late or overdrawn."""

from collections.abc import Sequence

import pytest
from sqlalchemy import update

from relay.model import DAY, HOUR, MINUTE, SECOND
from relay.sandbox.fault_injection import FaultConfig, FaultRule
from relay.sandbox.receiver import Respond
from relay.store.engine.database import Tx
from relay.store.engine.schema import watches
from tests.flows.conftest import next_due
from tests.flows.wrong_clock import (
    PER_DAY,
    SHARE,
    YEARS,
    commits_that_fail,
    lived,
    machine,
    set_while_busy,
    until_told,
)


async def one_waits_for_each(one, lasts: int = 6 * SECOND) -> None:  # type: ignore[no-untyped-def]
    """One delivery waits for its retry, and one job is watched."""
    one.world.receiver.script(Respond(status=500))
    await one.job(0)
    await one.job(lasts)
    await one.live(2 * SECOND)


@pytest.mark.parametrize("wrong", [-35 * MINUTE, -2 * HOUR, -26 * YEARS, HOUR, 2 * DAY, 10 * YEARS])
async def test_a_clock_wrong_at_boot_and_then_corrected_loses_nothing(sqlite_url: str, wrong: int) -> None:
    """Within seconds of the correction, the relay does what is due by the right clock."""
    async with machine(sqlite_url) as one:
        await one_waits_for_each(one)
        await one.boot(wrong)
        await one.live(4 * SECOND)
        await one.set()
        await one.live(12 * SECOND)
        await one.check()
        assert (await one.world.relay.readiness()).ready


@pytest.mark.parametrize("steps", [(2 * DAY, 0), (-3 * HOUR, 0), (-2 * HOUR, -HOUR, 0), (5 * HOUR, -HOUR, 0)])
async def test_a_clock_set_while_the_relay_runs_loses_nothing(sqlite_url: str, steps: tuple[int, ...]) -> None:
    """The clock is set forward and back, back and forward, and in two steps: everything is done within seconds."""
    async with machine(sqlite_url) as one:
        await one_waits_for_each(one, 20 * SECOND)
        for wrong in steps:
            await one.set(wrong)
            await one.live(3 * SECOND)
        await one.live(25 * SECOND)
        await one.check()


@pytest.mark.parametrize(("first", "then"), [(2 * DAY, 2 * DAY), (2 * DAY, 0), (-5 * HOUR, -5 * HOUR), (-5 * HOUR, 0)])
async def test_a_restart_under_a_wrong_clock_loses_nothing(sqlite_url: str, first: int, then: int) -> None:
    """Also if the clock was corrected while the relay was down: then the store's own time is wrong."""
    async with machine(sqlite_url) as one:
        await one_waits_for_each(one)
        await one.boot(first)
        await one.job(5 * SECOND)
        await one.live(3 * SECOND)
        await one.boot(then)
        await one.live(4 * SECOND)
        await one.set()
        await until_told(one)
        await one.live(3 * MINUTE, step=5 * SECOND)
        await one.check()


@pytest.mark.parametrize("behind", [3 * SECOND, 20 * SECOND, 50 * SECOND])
async def test_a_clock_corrected_by_seconds_while_the_relay_is_down_overdraws_no_minute(
    sqlite_url: str, behind: int
) -> None:
    """The store knows the time to the minute only, but the second of each request: those of the last run count as if
    no time had passed."""
    async with machine(sqlite_url) as one:
        await one.set(-behind)
        for _ in range(SHARE):
            await one.job(3 * MINUTE)
            await one.live(SECOND)
        await one.boot(0)
        await one.live(2 * MINUTE)
        await until_told(one)
        await one.check()


@pytest.mark.parametrize("strategy", ["interval", "adaptive"])
async def test_a_restart_after_the_clock_went_wrong_loses_nothing(sqlite_url: str, strategy: str) -> None:
    """What the run before moved with its clock moves back with it: no pause and no job's age lasts hours."""
    async with machine(sqlite_url, strategy=strategy) as one:
        refused = FaultRule(kind="429", share=1.0, lasts=8 * SECOND, wait=20 * SECOND)
        one.world.exec.faults.order(FaultConfig(faults=(refused,)), one.world.clock())
        await one_waits_for_each(one, 20 * SECOND)
        await one.set(2 * HOUR)
        await one.live(2 * SECOND)
        await one.boot(2 * HOUR)
        await one.live(2 * SECOND)
        await one.set()
        await until_told(one)
        assert one.world.clock() - one.world.exec.jobs[one.jobs[0]].created_at < 15 * MINUTE
        await one.live(3 * MINUTE, step=5 * SECOND)
        await one.check()


@pytest.mark.parametrize("wrong", [-2 * HOUR, -26 * YEARS, 2 * DAY])
async def test_a_used_up_daily_budget_survives_a_clock_change(sqlite_url: str, wrong: int) -> None:
    """Whatever the clock says at boot, Exec gets no request above the day's limit."""
    async with machine(sqlite_url, interval="1s") as one:
        await one.job(DAY)
        await one.live(10 * MINUTE, step=10 * SECOND)
        asked = len(one.world.exec.records.requests)
        assert asked == PER_DAY
        await one.boot(wrong)
        await one.live(MINUTE, step=5 * SECOND)
        await one.set()
        await one.live(2 * MINUTE, step=5 * SECOND)
        assert len(one.world.exec.records.requests) == asked


async def test_a_clock_that_is_ahead_expires_no_job(sqlite_url: str) -> None:
    """Nor does it end a job that Exec does not know for now: ages count from the start of the run until the clock is
    sure."""
    async with machine(sqlite_url) as one:
        await one.job(30 * SECOND)
        await one.live(5 * SECOND)
        await one.boot(2 * DAY)
        await one.live(8 * SECOND)
        await one.set()
        await one.live(30 * SECOND)
        await one.check()


@pytest.mark.parametrize("then", [(0, 0), (-2 * HOUR, 0), (-3 * HOUR, -2 * HOUR, 0)])
async def test_plans_follow_a_clock_once_if_the_commit_seems_to_fail(sqlite_url: str, then: tuple[int, ...]) -> None:
    """Each tick tries again, and finds that the shift took effect: nothing is planned hours later. The clock may be
    set back meanwhile to what it was."""
    async with machine(sqlite_url) as one:
        await one_waits_for_each(one, 20 * SECOND)
        await one.set(-2 * HOUR)
        with commits_that_fail(one.world.relay, take_effect=True):
            for one.wrong in then:
                await one.world.relay.tick()
        await one.set()
        await one.live(30 * SECOND)
        await one.check()


@pytest.mark.parametrize("take_effect", [True, False])
async def test_what_is_planned_between_two_corrections_follows_both(sqlite_url: str, take_effect: bool) -> None:
    """The clock goes ahead by hours, the commit that follows it fails, and it is set back before another one: together
    nothing was set, but a job that was registered in between is planned hours ahead."""
    async with machine(sqlite_url) as one:
        await one_waits_for_each(one, 20 * SECOND)
        with commits_that_fail(one.world.relay, take_effect):
            one.wrong = 2 * HOUR
            await one.world.relay.tick()
        await one.register(20 * SECOND)
        await one.set()
        await one.live(40 * SECOND)
        await one.check()


async def test_plan_that_waits_for_the_store_follows_the_clock(sqlite_url: str) -> None:
    """What a poll found is planned by the clock that was ahead, and written once it is set back: not hours too late."""
    async with machine(sqlite_url) as one:
        await one.set(2 * HOUR)
        await one.job(MINUTE)
        store = one.world.relay.store
        planned = one.world.relay.clock() + 5 * SECOND

        def plan(tx: Tx, items: Sequence[None]) -> Sequence[None]:
            tx.execute(update(watches).values(next_poll_at=planned))
            return items

        async with set_while_busy(one, 0) as waiting:
            waiting.create_task(store.write_together(plan, None))
        [due] = await store.read(lambda tx: next_due(tx, ["default"]))
        assert due <= one.world.clock() + 5 * SECOND


async def test_nothing_is_spent_until_the_ledger_follows_a_clock_that_is_set_forward(sqlite_url: str) -> None:
    """Until then all that was spent in the last minute seems to be hours old, and Exec would answer 429."""
    async with machine(sqlite_url) as one:
        await one.job(MINUTE)
        poller = one.world.relay.poller
        async with set_while_busy(one, 2 * HOUR) as waiting:
            spending = waiting.create_task(poller._may_repeat("default"))
        assert not spending.result()
        assert await poller._may_repeat("default")


@pytest.mark.parametrize("seed", range(6))
async def test_any_sequence_of_clock_changes_loses_nothing(sqlite_url: str, seed: int) -> None:
    """The clock changes at random, at boots and between; the torture `wrong-clock` does it many times."""
    await lived(sqlite_url, seed, 8)
