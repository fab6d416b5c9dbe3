"""Watches: leases of polls, and what ends them."""

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
