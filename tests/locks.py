"""Waiting until one transaction waits for another."""

import time

from sqlalchemy import text

from relay.store.engine.database import Store


async def waits_for_a_lock(store: Store) -> None:
    """Returns when a transaction waits for another's lock; in SQLite the writer itself makes it wait."""
    if store.is_exclusive:
        return
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    until = time.monotonic() + 30
    while await store.read(lambda tx: tx.execute(query).scalar_one()) == 0:
        assert time.monotonic() < until, "nothing waits for the lock"
