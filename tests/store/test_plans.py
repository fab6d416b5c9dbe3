"""What is planned moves with the clock that it was planned by."""

from dataclasses import replace

import pytest

from relay import budget, config
from relay.budget import Allowance, Ledger
from relay.model import DAY, HOUR, MINUTE, SECOND, Watch, WatchState
from relay.pace import read_ledger
from relay.store import endpoints, events, outbox, plans, waiting, watches, workspaces
from relay.store.database import Store, Tx
from tests.make import NOON, make_endpoint, make_event

WATCH = Watch(
    workspace="default",
    job_id="j1",
    state=WatchState.ACTIVE,
    created_at=NOON - HOUR,
    last_look_at=NOON - MINUTE,
    next_look_at=NOON + MINUTE,
    next_look_why="because",
)


async def fill(store: Store) -> None:
    """A watch, one that ended, a delivery and a paused endpoint, a paused workspace that has spent."""

    def work(tx: Tx) -> None:
        endpoint = make_endpoint(paused_until=NOON + HOUR, failing_since=NOON - DAY)
        endpoints.add(tx, endpoint)
        watches.add(tx, WATCH)
        watches.add(tx, replace(WATCH, job_id="over", state=WatchState.SETTLED, next_look_at=None, ended_at=NOON))
        event = events.add(tx, make_event())
        outbox.enqueue(tx, event, [(endpoint, None)], NOON, 5 * SECOND)
        state = workspaces.lock(tx, "default")
        spent = budget.spend(Ledger(), 7, NOON).to_json()
        workspaces.save(tx, replace(state, ledger=spent, paused_until=NOON + MINUTE))

    await store.write(work)


@pytest.mark.parametrize("by", [HOUR, -6 * HOUR, 3 * DAY])
async def test_what_waits_waits_as_long_as_before(store: Store, by: int) -> None:
    """Looks, deliveries, pauses; how long a job was watched and an endpoint has failed; and back again."""
    await fill(store)
    await store.write(lambda tx: plans.move(tx, by))
    moved = await store.read(lambda tx: watches.find(tx, "j1", None))
    assert moved is not None
    assert (moved.created_at, moved.last_look_at) == (NOON - HOUR + by, NOON - MINUTE + by)
    assert moved.next_look_at == NOON + MINUTE + by
    assert moved.missing_since is None
    over = await store.read(lambda tx: watches.find(tx, "over", None))
    assert over is not None
    assert over.created_at == NOON - HOUR
    assert await store.read(waiting.next_due) == NOON + 5 * SECOND + by
    [endpoint] = await store.read(lambda tx: endpoints.standing(tx))
    assert (endpoint.paused_until, endpoint.failing_since) == (NOON + HOUR + by, NOON - DAY + by)
    state = await store.read(lambda tx: workspaces.get(tx, "default"))
    assert state.paused_until == NOON + MINUTE + by
    await store.write(lambda tx: plans.move(tx, -by))
    assert await store.read(lambda tx: watches.find(tx, "j1", None)) == WATCH


@pytest.mark.parametrize("by", [2 * SECOND, -2 * SECOND, HOUR, -HOUR, -7 * MINUTE - 3])
async def test_what_was_spent_is_spent(store: Store, by: int) -> None:
    """As long as before, by the clock that was set, and at most a bin longer."""
    await fill(store)
    await store.write(lambda tx: plans.move(tx, by))
    ledger = read_ledger((await store.read(lambda tx: workspaces.get(tx, "default"))).ledger)
    allowance = Allowance(10, 10, 1.0)

    def left(after: int) -> tuple[int, int]:
        found = budget.left(ledger, allowance, NOON + by + after)
        return found.minute, found.day

    assert left(0) == left(MINUTE) == (3, 3)
    assert left(MINUTE + 4 * SECOND) == left(DAY) == (10, 3)
    assert left(DAY + 11 * MINUTE) == (10, 10)


async def test_a_relay_s_machine_is_set_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The whole relay by the machine's clock: an hour back, and the next look is as far off as it was."""
    import time_machine

    from relay.service import Relay

    folder = tmp_path_factory.mktemp("machine")
    settings = {"exec": {"api_key": "exec_live_" + "x" * 40}, "storage": {"url": f"sqlite:///{folder}/relay.db"}}
    with time_machine.travel(NOON / 1_000, tick=True) as machine:
        relay = await Relay.open(config.from_mapping(settings))
        await relay.store.write(lambda tx: watches.add(tx, WATCH))
        for seconds in (-3_600, 3_600, 7 * 3_600):
            before = relay.clock()
            machine.shift(seconds)
            assert abs(relay.clock() - before) < 5 * SECOND, "it does not jump before what is planned does"
            await relay.tick()
            assert abs(relay.clock() - before - seconds * SECOND) < 5 * SECOND
            watch = await relay.store.read(lambda tx: watches.find(tx, "j1", None))
            assert watch is not None
            assert watch.next_look_at is not None
            assert 50 * SECOND < watch.next_look_at - relay.clock() <= MINUTE + SECOND
        await relay.stop()
