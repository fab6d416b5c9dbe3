"""A poll on a kept connection that Exec closes is repeated at once, if the budget allows it."""

import re

from relay.model import SECOND
from relay.polling.request_budget import remaining
from relay.store.tables import workspaces
from tests.adapters.exec_polls import job_answer
from tests.flows.conftest import Start, World
from tests.loopback import Served, Wire, serving


async def hangs_up(wire: Wire) -> None:
    """Each connection answers one poll of a running job, and closes on the next."""
    asked = await wire.read()
    [job_id] = re.findall(r"/jobs/(\w+)", asked.target)
    await wire.send(job_answer(id=job_id, status="processing", completed_at=None))
    await wire.read()


def at(served: Served, per_minute: int) -> dict[str, object]:
    budget = {"per_minute": per_minute, "per_day": 1_000, "share": 1.0}
    return {"base_url": served.url("/rest/v1"), "budget": budget}


async def left_of_the_minute(world: World) -> int:
    """What the workspace's ledger has left of the minute."""
    state = await world.relay.store.read(lambda tx: workspaces.get(tx, "default"))
    return remaining(state.ledger, world.relay.poller.rate_limits["default"], world.clock()).minute


async def test_a_repeated_poll_is_paid_from_the_budget(start: Start) -> None:
    """The ledger has every request that Exec received."""
    async with serving(hangs_up) as served, start(exec=at(served, 10)) as world:
        await world.register("j1")
        assert (len(served.requests), await left_of_the_minute(world)) == (1, 9)
        await world.advance(15 * SECOND)
        assert (len(served.requests), await left_of_the_minute(world)) == (3, 7)
        assert (await world.watch("j1")).last_error is None


async def test_without_budget_a_poll_is_not_repeated(start: Start) -> None:
    """The poll fails and is made later, so that closed connections never overdraw Exec's limit."""
    async with serving(hangs_up) as served, start(exec=at(served, 15)) as world:
        for number in range(8):
            await world.prepare(f"j{number}", world.receiver_url)
        await world.settle()
        assert len(served.requests) == 8
        await world.advance(40 * SECOND)
        assert (len(served.requests), await left_of_the_minute(world)) == (15, 0)
