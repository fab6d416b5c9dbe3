"""Polls that end at the same time are recorded in one batch, and each as if it were alone."""

from collections import Counter

from sqlalchemy import text

from relay.model import MINUTE, WatchState
from relay.store.engine.database import Tx
from tests.flows.conftest import Start, World

FAILS_FOR_ONE_JOB = {
    "sqlite": [
        "CREATE TRIGGER refuse BEFORE UPDATE ON watches WHEN new.job_id = '{job}' AND new.state <> 'active' "
        "BEGIN SELECT RAISE(ABORT, 'refused'); END"
    ],
    "postgresql": [
        "CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE check_violation; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER refuse BEFORE UPDATE ON watches FOR EACH ROW "
        "WHEN (new.job_id = '{job}' AND new.state <> 'active') EXECUTE FUNCTION refuse()",
    ],
}


async def ended_jobs(world: World, number: int) -> list[str]:
    """Registers so many jobs that have ended, before the first poll."""
    jobs = [world.exec.add(lasts=1_000).id for _ in range(number)]
    world.clock.advance(5_000)
    for job_id in jobs:
        await world.prepare(job_id, f"{world.receiver_url}/{job_id}")
    return jobs


async def test_concurrent_endings_notify_each_subscriber_once(start: Start) -> None:
    """Forty polls at once: each job has one ending, one delivery and one poll in its history."""
    async with start(polling={"concurrency": 40}) as world:
        jobs = await ended_jobs(world, 40)
        await world.advance(MINUTE)
        assert Counter(request.path for request in world.received()) == {f"/{job_id}": 1 for job_id in jobs}
        recorded = [await world.watch(job_id) for job_id in jobs]
        assert {(watch.polls, watch.state) for watch in recorded} == {(1, WatchState.SETTLED)}


async def test_poll_that_cannot_be_recorded_loses_no_other(start: Start) -> None:
    """The database refuses the ending of one job: the others are notified, and it is notified later."""
    async with start(polling={"concurrency": 20}) as world:
        jobs = await ended_jobs(world, 20)

        def refuse(tx: Tx) -> None:
            for statement in FAILS_FOR_ONE_JOB[tx.dialect.name]:
                tx.execute(text(statement.format(job=jobs[7])))

        def allow(tx: Tx) -> None:
            tx.execute(text("DROP TRIGGER refuse" + (" ON watches" if tx.dialect.name == "postgresql" else "")))

        await world.relay.store.write(refuse)
        await world.advance(MINUTE)
        assert {request.path for request in world.received()} == {f"/{job_id}" for job_id in jobs} - {f"/{jobs[7]}"}
        await world.relay.store.write(allow)
        await world.advance(2 * MINUTE)
        assert Counter(request.path for request in world.received()) == {f"/{job_id}": 1 for job_id in jobs}
