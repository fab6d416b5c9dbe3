"""The tool detects decisions on rows that were not locked: it detects planted ones."""

import asyncio
from dataclasses import replace

from sqlalchemy import func, select, update

from relay import registration
from relay.model import RegistrationStatus, WatchState
from relay.store.engine.database import Store, Tx
from relay.store.engine.schema import registrations as rows
from relay.store.engine.schema import watches
from relay.store.tables import registrations
from tests.make import NOON
from tests.torture.operators import SPACE, USE_CASES, World, Write
from tests.torture.races import interleave


async def opened(url: str) -> str:
    """The same URL, with the tables created."""
    await (await Store.open(url)).aclose()
    return url


async def interleaved(url: str, *pairs: tuple[str, str], **more: object) -> list[str]:
    """What was wrong after some order of these pairs."""
    cases = {**USE_CASES, **more}
    verdict = await asyncio.to_thread(interleave, await opened(url), pairs, 1, cases)  # type: ignore[arg-type]
    assert verdict.met >= 2 * len(pairs)
    return [*verdict.wrong, *verdict.deadlocks]


def withdraw_unlocked(write: Write, world: World) -> None:
    """Counts the registrations of the job before it locks the watch."""

    def work(tx: Tx) -> None:
        found = registrations.get(tx, world.ids["registration"])
        assert found is not None
        registrations.save(tx, replace(found, status=RegistrationStatus.WITHDRAWN))
        active = (rows.c.workspace == SPACE, rows.c.job_id == "live", rows.c.status == "active")
        if tx.execute(select(func.count()).select_from(rows).where(*active)).scalar_one() == 0:
            tx.execute(
                update(watches).where(watches.c.job_id == "live", watches.c.state == WatchState.ACTIVE.value),
                {"state": WatchState.WITHDRAWN.value, "next_poll_at": None, "ended_at": NOON},
            )

    write(work)


def withdraw_then_lock(write: Write, world: World) -> None:
    """Locks the registration before the watch; the job's ending locks them in the other order."""

    def work(tx: Tx) -> None:
        registrations.withdraw(tx, [world.ids["registration"]])
        registration.withdraw(tx, world.ids["registration"], NOON)

    write(work)


async def test_a_count_before_the_lock_is_detected(postgres_url: str) -> None:
    """In one of the orders, a job with a new registration at another relay is polled no more."""
    wrong = await interleaved(postgres_url, ("old way", "register elsewhere"), **{"old way": withdraw_unlocked})
    assert any("an active registration whose job is not polled" in one for one in wrong)


async def test_another_lock_order_is_detected(postgres_url: str) -> None:
    """The tool distinguishes two that wait for each other from two of which one waits."""
    wrong = await interleaved(postgres_url, ("wrong order", "the job ends"), **{"wrong order": withdraw_then_lock})
    assert "wrong order and the job ends" in wrong
