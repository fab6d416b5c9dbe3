"""Polls that leave late, because the process stood still after it spent the budget: each is spent again or not made."""

from relay.model import SECOND
from relay.sandbox.exec_server import ExecSettings
from relay.store.tables import workspaces
from tests.flows.conftest import World, world_on

_STOOD_STILL = 20 * SECOND


async def stand_still(world: World) -> None:
    """Two polls are leased; before they are sent, 20 s go by as in a process that was stopped."""
    for name in ("one", "two"):
        job = world.exec.add(lasts=90 * SECOND)
        await world.prepare(job.id, f"{world.receiver_url}/{name}")
    await world.relay.poller.tick()
    world.clock.advance(_STOOD_STILL)
    await world.relay.poller.idle()


async def test_poll_that_leaves_late_is_spent_again(sqlite_url: str) -> None:
    """The ledger counts each from when it leaves, so that no minute has more than it allows."""
    async with world_on(sqlite_url, ExecSettings(seed=1)) as world:
        began = world.clock()
        await stand_still(world)
        state = await world.relay.store.read(lambda tx: workspaces.get(tx, "default"))
        assert len(world.exec.records.requests) == 2
        assert state.ledger.seconds == ((began // SECOND, 2), ((began + _STOOD_STILL) // SECOND, 2))


async def test_poll_that_leaves_late_is_not_made_without_budget(sqlite_url: str) -> None:
    """It is due again at once, and made as soon as the budget has a request; then the job's ending is delivered."""
    budget = {"per_minute": 2, "per_day": 1_000, "share": 1.0}
    async with world_on(sqlite_url, ExecSettings(seed=1), exec={"budget": budget}) as world:
        await stand_still(world)
        assert not world.exec.records.requests
        (due,) = {(await world.watch(job)).next_poll_at for job in world.exec.jobs}
        assert due == world.clock()
        await world.advance(300 * SECOND)
        assert {one.path for one in world.received()} == {"/one", "/two"}


async def test_late_polls_get_no_more_than_the_budget_has(sqlite_url: str) -> None:
    """Two are late at once and the budget has one request: one leaves, the other is due again."""
    budget = {"per_minute": 3, "per_day": 1_000, "share": 1.0}
    async with world_on(sqlite_url, ExecSettings(seed=1), exec={"budget": budget}) as world:
        await stand_still(world)
        assert len(world.exec.records.requests) == 1
        [asked] = {request.job_id for request in world.exec.records.requests}
        [waits] = set(world.exec.jobs) - {asked}
        assert (await world.watch(waits)).next_poll_at == world.clock()
