"""A working relay while its tables are upgraded."""

from relay.model import MINUTE
from relay.store.engine import migrate
from tests.flows.conftest import Start, api_of
from tests.store.newer import make_newer


async def test_a_relay_works_with_the_tables_of_the_next_version(start: Start) -> None:
    """Jobs from before are delivered, later ones too, and the relay works after a restart."""
    async with start() as world:
        before, after, last = (world.exec.add(lasts=MINUTE) for _ in range(3))
        await world.register(before.id, "/before")
        await world.relay.store.write(lambda tx: make_newer(tx, migrate.OLDEST_COMPATIBLE))
        await world.register(after.id, "/after")
        await world.advance(2 * MINUTE)
        await world.restart()
        await world.register(last.id, "/last")
        assert sorted(one.path for one in world.received()) == ["/after", "/before", "/last"]
        async with api_of(world) as http:
            for path in ("jobs", "registrations", "endpoints", "events", "deliveries"):
                assert len((await http.get(f"/v1/{path}")).raise_for_status().json()["data"]) >= 3
            assert (await http.get("/readyz")).status_code == 200
