"""Bulk resend: in batches, each by the clock as it is then."""

import pytest
from sqlalchemy import select, update

from relay.delivery import bulk_resend
from relay.delivery.enqueue import enqueue
from relay.model import HOUR, DeliveryStatus
from relay.model.audit import THE_RELAY
from relay.store import Store
from relay.store.engine.schema import deliveries
from relay.store.tables import endpoints
from relay.store.tables.filters import DeliveryFilter
from tests.conftest import NOON, Clock
from tests.make import make_endpoint, make_event


async def test_each_batch_is_due_by_the_clock_as_it_is_set_then(
    store_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is set back after the first batch: the second is due at once by the clock that is right, not hours
    later."""
    monkeypatch.setattr(bulk_resend, "BATCH", 1)
    store = await Store.open(store_url, clock=clock)
    for name in ("first", "second"):
        endpoint = make_endpoint(id=f"ep_{name}", name=name, url=f"https://{name}.example/")
        await store.write(lambda tx, endpoint=endpoint: endpoints.add(tx, endpoint))  # type: ignore[misc]
        to = [(endpoint, None)]
        await store.write(lambda tx, to=to: enqueue(tx, make_event(), to, NOON - HOUR, 0))  # type: ignore[misc]
    failed = {"status": DeliveryStatus.FAILED.value, "next_attempt_at": None, "ended_at": NOON - HOUR}
    await store.write(lambda tx: tx.execute(update(deliveries).values(failed)))
    set_back = iter([-2 * HOUR, 0])

    def wake() -> None:
        clock.advance(next(set_back))

    assert await bulk_resend.resend_matching(store, DeliveryFilter(), 2, wake, THE_RELAY) == 2
    due = await store.read(lambda tx: list(tx.execute(select(deliveries.c.next_attempt_at)).scalars()))
    assert sorted(due) == [NOON - 2 * HOUR, NOON]
    await store.aclose()
