"""What a relay asks its database while nothing happens: it shares the machine with others."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from typing import Any

from relay import config
from relay.model import DAY, SECOND, Delivery, Instant, Watch, WatchState
from relay.service import Relay, Surroundings
from relay.store import Tx
from relay.store.tables import endpoints, events, outbox, watches
from tests.flows.statements import counted
from tests.make import make_endpoint, make_event

_TICKS = 60
"""An idle minute."""
_STATEMENTS = {"sqlite": 1, "postgresql": 2}
"""Of a tick, in one transaction: what waits, and on PostgreSQL the time."""


class AtOnce(Executor):
    """An executor that runs what is submitted at once, so that a tick has ended after a few turns of the loop."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Its future is done."""
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class ByHand:
    """A metronome that beats when the test says so."""

    def __init__(self) -> None:
        self._work: list[Callable[[], Awaitable[None]]] = []

    def every(self, ms: int, work: Callable[[], Awaitable[None]]) -> None:
        """Keeps the ticks, not what is done once an hour."""
        if ms <= SECOND:
            self._work.append(work)

    def start(self) -> None:
        """The test beats."""

    def stop(self) -> None:
        """The test stops beating."""

    async def beat(self) -> None:
        """One tick, and all that it causes."""
        for work in self._work:
            await work()
        for _ in range(100):
            await asyncio.sleep(0)


def plan_for_tomorrow(tx: Tx, now: Instant) -> None:
    """A poll and a delivery that are planned and not due."""
    watches.add(
        tx, Watch(workspace="default", job_id="j1", state=WatchState.ACTIVE, created_at=now, next_poll_at=now + DAY)
    )
    endpoint, made = make_endpoint(now), make_event(now=now)
    endpoints.add(tx, endpoint)
    events.add(tx, made)
    delivery = Delivery.of(made, endpoint.id, id="dlv_1", body=b"{}", now=now, due_at=now + DAY)
    outbox.insert(tx, [(delivery, endpoint)])


async def test_idle_relay_reads_once_a_tick(store_url: str) -> None:
    """One statement, two on PostgreSQL, in one transaction that reads: nothing is asked twice."""
    metronome = ByHand()
    made = config.from_mapping({"exec": {"api_key": "exec_live_" + "0" * 40}, "storage": {"url": store_url}})
    around = Surroundings(metronome=metronome)
    relay = await Relay.open(made, surroundings=around, threads=lambda _number, _name: AtOnce())
    await relay.start()
    await relay.store.write(lambda tx: plan_for_tomorrow(tx, relay.clock()))
    await metronome.beat()
    if not relay.store.is_exclusive:  # a relay that has begun tests once whether it hears notifications
        async with asyncio.timeout(30):
            await relay.notifier._heard_test.wait()
    with counted(relay.store) as found:
        for _ in range(_TICKS):
            await metronome.beat()
    await relay.stop()
    ticks = found.pop("BEGIN")
    assert _TICKS <= ticks <= _TICKS + 1  # that relays are heard from now on causes one too
    assert set(found.values()) == {ticks}
    assert len(found) == _STATEMENTS["sqlite" if store_url.startswith("sqlite") else "postgresql"]
    assert all(text.startswith("SELECT") for text in found)
