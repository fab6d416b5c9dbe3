"""Watches: leases of polls, and what ends them."""

from dataclasses import replace

from relay import registration
from relay.model import MINUTE
from relay.store.engine.database import Store, Tx
from relay.store.tables import watches
from tests.make import NOON
from tests.torture.operators import SPACE, checked


async def test_job_withdrawn_during_its_poll_is_not_due_after_a_restart(store: Store) -> None:
    """The next run ends all leases: of a withdrawn job there is none, or it would be polled again and again."""

    def withdrawn_while_leased(tx: Tx) -> None:
        made = registration.register(tx, checked("j1", "https://a.example/"), NOON)
        watches.lease(tx, watches.lock_due(tx, SPACE, NOON, 10), NOON + MINUTE)
        registration.withdraw(tx, made.registration.id, NOON)
        watches.release_all(tx, NOON)

    await store.write(withdrawn_while_leased)
    assert await store.read(lambda tx: watches.next_due(tx, SPACE)) is None


async def test_job_that_is_being_polled_is_not_made_due_for_its_key(store: Store) -> None:
    """It was held back and is leased now: its lease stays, or a second relay polls it beside the first."""
    lease_ends = NOON + 3 * MINUTE

    def resumed_while_leased(tx: Tx) -> None:
        registration.register(tx, replace(checked("j1", "https://a.example/"), owner="key"), NOON)
        watches.hold_unconfirmed(tx, SPACE, "key", 0, NOON, NOON + MINUTE)
        [held] = watches.lock_due(tx, SPACE, NOON + MINUTE, 10)
        [leased] = watches.lease(tx, [held], lease_ends)
        watches.resume_held(tx, SPACE, "key", NOON + 2 * MINUTE)
        watches.resume_one(tx, leased, NOON + 2 * MINUTE)

    await store.write(resumed_while_leased)
    watch = await store.read(lambda tx: watches.find(tx, "j1", None))
    assert watch is not None
    assert watch.next_poll_at == lease_ends
