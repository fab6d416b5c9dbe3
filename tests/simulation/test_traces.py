"""Traces of real relays on a real PostgreSQL, with its interleavings: each change of a row keeps the rules."""

import asyncio
import random

import psycopg

from relay.model import SECOND
from relay.sandbox.exec_server import ExecSettings
from relay.sandbox.receiver import Respond
from tests.flows.replicas import replicas
from tests.simulation.history import POSTGRESQL_TRIGGERS, Change, broken_rules

_ROUNDS = 12


async def test_traces_on_postgresql_keep_the_rules(postgres_url: str) -> None:
    """Three relays, failing receivers, and now and then one that dies with its leases."""
    rng = random.Random(1)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for statement in POSTGRESQL_TRIGGERS:
            connection.execute(statement.encode())
        async with replicas(postgres_url, 3, ExecSettings(seed=1), polling={"strategy": "interval"}) as world:
            world.receiver.always(Respond(status=500), "/fails")
            for number in range(_ROUNDS):
                jobs = [world.exec.add(lasts=rng.choice((0, 5, 40)) * SECOND) for _ in range(4)]
                await asyncio.gather(
                    *(world.prepare(job.id, world.receiver_url + rng.choice(("/a", "/b", "/fails"))) for job in jobs)
                )
                if number == _ROUNDS // 2:
                    dead = world.relays[-1]
                    ticking = asyncio.create_task(dead.tick())
                    await asyncio.sleep(0)
                    await world.kill(dead)
                    await asyncio.gather(ticking, return_exceptions=True)
                    await dead.poller.idle()
                    await dead._exec_http.aclose()
                await world.settle()
                world.clock.advance(rng.choice((1, 5, 30)) * SECOND)
            world.receiver.always(Respond(), "/fails")
            await world.advance(600 * SECOND)
        query = (
            b"SELECT n, tab, id, at, old_status, new_status, old_lease, new_lease, old_due, new_due, old_count, "
            b"new_count FROM row_history ORDER BY n"
        )
        changes = [Change(*row) for row in connection.execute(query)]
    assert len(changes) > 100
    assert {change.new_status for change in changes} >= {"pending", "delivered", "active", "settled"}
    # The relays' clock is moved by hand, and is not the database's: when a lease was due can't be compared.
    assert list(broken_rules(changes, clock_is_steady=False)) == []
