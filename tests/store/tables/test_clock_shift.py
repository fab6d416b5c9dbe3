"""Pending and recorded times follow a clock that is set: nothing waits longer than planned."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from relay.delivery.enqueue import enqueue
from relay.model import DAY, HOUR, MINUTE, SECOND, Watch, WatchState
from relay.model.usage_ledger import UsageLedger
from relay.polling import request_budget
from relay.polling.request_budget import RateLimit
from relay.store.engine.database import Store, Tx
from relay.store.engine.schema import deliveries
from relay.store.tables import clock_shift, endpoints, events, watches, workspaces
from tests.make import NOON, claim_due, make_endpoint, make_event, next_delivery_due

WATCH = Watch(
    workspace="default",
    job_id="j1",
    state=WatchState.ACTIVE,
    created_at=NOON - HOUR,
    last_poll_at=NOON - MINUTE,
    next_poll_at=NOON + MINUTE,
    next_poll_reason="because",
)
REACH = 25 * HOUR


async def fill(store: Store) -> None:
    """A watch, one that ended, a delivery and a paused endpoint, a paused workspace that has spent."""

    def work(tx: Tx) -> None:
        endpoint = make_endpoint(paused_until=NOON + HOUR, failing_since=NOON - DAY)
        endpoints.add(tx, endpoint)
        watches.add(tx, WATCH)
        watches.add(tx, replace(WATCH, job_id="over", state=WatchState.SETTLED, next_poll_at=None, ended_at=NOON))
        event = events.add(tx, make_event())
        enqueue(tx, event, [(endpoint, None)], NOON, 5 * SECOND)
        state = workspaces.lock(tx, "default")
        spent = request_budget.spend(UsageLedger(), 7, NOON)
        workspaces.save(tx, replace(state, ledger=spent, paused_until=NOON + MINUTE))

    await store.write(work)


async def planned(store: Store) -> tuple[int | None, ...]:
    """The next poll and attempt, the pauses of the endpoint and of the workspace."""
    watch = await store.read(lambda tx: watches.find(tx, "j1", None))
    [endpoint] = await store.read(lambda tx: endpoints.all_standing(tx))
    state = await store.read(lambda tx: workspaces.get(tx, "default"))
    assert watch is not None
    return watch.next_poll_at, await store.read(next_delivery_due), endpoint.paused_until, state.paused_until


@pytest.mark.parametrize(("by", "plans_by"), [(HOUR, 0), (3 * DAY, HOUR), (-6 * HOUR, -6 * HOUR)])
async def test_pending_times_follow_a_clock_that_is_set_back(store: Store, by: int, plans_by: int) -> None:
    """They go back with the clock, and forward only as far as they went back before."""
    await fill(store)
    before = await planned(store)
    await store.write(lambda tx: clock_shift.shift_pending_times(tx, by, plans_by, NOON, NOON + by))
    assert await planned(store) == tuple(at + plans_by for at in before if at is not None)


@pytest.mark.parametrize("by", [HOUR, -6 * HOUR, 3 * DAY])
async def test_times_recorded_since_the_start_are_shifted_and_older_ones_stay(store: Store, by: int) -> None:
    """Ages of watches and failing endpoints count by the clock that recorded them; ended watches stay."""
    await fill(store)
    await store.write(lambda tx: clock_shift.shift_pending_times(tx, by, 0, NOON - 2 * MINUTE, NOON + by))
    moved = await store.read(lambda tx: watches.find(tx, "j1", None))
    assert moved is not None
    assert (moved.created_at, moved.last_poll_at, moved.not_found_since) == (NOON - HOUR, NOON - MINUTE + by, None)
    [endpoint] = await store.read(lambda tx: endpoints.all_standing(tx))
    assert endpoint.failing_since == NOON - DAY
    await store.write(lambda tx: clock_shift.shift_pending_times(tx, by, 0, NOON - 2 * DAY, NOON + by))
    again = await store.read(lambda tx: watches.find(tx, "j1", None))
    assert again is not None
    assert again.created_at == NOON - HOUR + by
    over = await store.read(lambda tx: watches.find(tx, "over", None))
    assert over is not None
    assert over.created_at == NOON - HOUR


async def test_times_of_before_the_start_stay_when_the_clock_is_set_back_and_forward(store: Store) -> None:
    """The clock that was right recorded them, and is right again: no job is younger than it was, no pause longer."""
    await fill(store)
    limited = UsageLedger(limited_at=NOON - SECOND, paused_until=NOON + MINUTE)

    def refused(tx: Tx) -> None:
        workspaces.save(tx, replace(workspaces.lock(tx, "default"), ledger=limited, pause_kind="rate_limited"))

    await store.write(refused)
    before, pauses = await store.read(lambda tx: watches.find(tx, "j1", None)), await planned(store)
    back, forth = NOON - 6 * HOUR, NOON + MINUTE
    await store.write(lambda tx: clock_shift.shift_pending_times(tx, -6 * HOUR, -6 * HOUR, NOON, back + SECOND))
    await store.write(lambda tx: clock_shift.shift_pending_times(tx, 6 * HOUR, 6 * HOUR, back, forth))
    assert (await store.read(lambda tx: watches.find(tx, "j1", None)), await planned(store)) == (before, pauses)
    assert (await store.read(lambda tx: workspaces.get(tx, "default"))).ledger == limited


async def test_plans_of_the_clock_that_is_right_again_stay(store: Store) -> None:
    """The clock was set back by two hours and forward again. A retry that was planned by the right clock, before the
    times followed it, is not two hours late."""
    await fill(store)
    poll, _, pause, _ = await planned(store)
    found_at = NOON + 10 * SECOND
    await store.write(lambda tx: clock_shift.shift_pending_times(tx, -2 * HOUR, -2 * HOUR, NOON, NOON - 2 * HOUR))
    await store.write(lambda tx: tx.execute(update(deliveries).values(next_attempt_at=found_at + SECOND)))
    now, back = found_at + 20 * SECOND, NOON - 2 * HOUR
    await store.write(lambda tx: clock_shift.shift_pending_times(tx, 2 * HOUR, 2 * HOUR, back, now, found_at))
    assert (await planned(store))[:3] == (poll, found_at + SECOND, pause)


async def test_leases_keep_their_length_when_the_clock_is_set(store: Store) -> None:
    """An attempt in flight does not count as dead when the clock is set forward, and is not sent twice."""
    await fill(store)
    await store.write(lambda tx: claim_due(tx, NOON + MINUTE, NOON + 2 * MINUTE))
    await store.write(lambda tx: watches.lease(tx, [WATCH], NOON + 3 * MINUTE))
    await store.write(lambda tx: clock_shift.shift_pending_times(tx, DAY, 0, NOON, NOON + DAY + MINUTE))
    poll, attempt, *_ = await planned(store)
    assert (poll, attempt) == (NOON + DAY + 3 * MINUTE, NOON + DAY + 2 * MINUTE)


async def test_leases_of_the_new_clock_are_not_shifted(store: Store) -> None:
    """The clock was set forward, and the store failed before the times followed; then a lease was given. Shifted as
    well, it would last two hours longer once the clock is set back."""
    await fill(store)
    now = NOON + 2 * HOUR
    await store.write(lambda tx: claim_due(tx, now, now + MINUTE))
    await store.write(lambda tx: watches.lease(tx, [WATCH], now + MINUTE))
    await store.write(lambda tx: clock_shift.shift_pending_times(tx, 2 * HOUR, 0, NOON, now + SECOND))
    poll, attempt, *_ = await planned(store)
    assert (poll, attempt) == (now + MINUTE, now + MINUTE)


async def test_leases_of_the_new_clock_are_not_shifted_if_it_takes_long(store: Store) -> None:
    """As before; then the relay stood still for longer than the lease."""
    await fill(store)
    found_at = NOON + 2 * HOUR
    await store.write(lambda tx: claim_due(tx, found_at, found_at + 14 * SECOND))
    await store.write(lambda tx: watches.lease(tx, [WATCH], found_at + 14 * SECOND))
    now = found_at + 25 * SECOND
    await store.write(lambda tx: clock_shift.shift_pending_times(tx, 2 * HOUR, 0, NOON, now, found_at))
    poll, attempt, *_ = await planned(store)
    assert (poll, attempt) == (found_at + 14 * SECOND, found_at + 14 * SECOND)


async def test_leases_of_a_clock_that_was_set_back_are_not_shifted(store: Store) -> None:
    """One that is given between the correction and the shift would end at once, and the attempt be made again."""
    await fill(store)
    now = NOON - 2 * HOUR
    await store.write(lambda tx: claim_due(tx, NOON + MINUTE, now + MINUTE))
    await store.write(lambda tx: watches.lease(tx, [WATCH], now + MINUTE))
    await store.write(lambda tx: clock_shift.shift_pending_times(tx, -2 * HOUR, 0, NOON, now + SECOND))
    poll, attempt, *_ = await planned(store)
    assert (poll, attempt) == (now + MINUTE, now + MINUTE)


@pytest.mark.parametrize("by", [2 * SECOND, -2 * SECOND, HOUR, -HOUR, -7 * MINUTE - 3])
async def test_spent_requests_count_as_long_as_before(store: Store, by: int) -> None:
    """By the new clock they count as long as before, and at most a bin longer."""
    await fill(store)
    await store.write(lambda tx: clock_shift.shift_pending_times(tx, by, 0, NOON, NOON + by))
    ledger = (await store.read(lambda tx: workspaces.get(tx, "default"))).ledger
    allowance = RateLimit(10, 10, 1.0)

    def left(after: int) -> tuple[int, int]:
        found = request_budget.remaining(ledger, allowance, NOON + by + after)
        return found.minute, found.day

    assert left(0) == left(MINUTE) == (3, 3)
    assert left(MINUTE + 4 * SECOND) == left(DAY) == (10, 3)
    assert left(DAY + 11 * MINUTE) == (10, 10)


async def test_requests_of_an_earlier_run_count_longer_until_the_clock_is_sure(store: Store) -> None:
    """A run whose clock may be ahead still counts the requests of the run before."""
    await fill(store)

    async def left(now: int) -> int:
        ledger = (await store.read(lambda tx: workspaces.get(tx, "default"))).ledger
        return request_budget.remaining(ledger, RateLimit(10, 10, 1.0), now).day

    ahead = NOON + 2 * DAY
    assert await left(ahead) == 10
    await store.write(lambda tx: clock_shift.count_longer(tx, 2 * DAY, ahead))
    assert await left(ahead) == 3
    await store.write(lambda tx: clock_shift.count_longer(tx, -2 * DAY, ahead + 10 * MINUTE))
    assert (await left(ahead), await left(NOON)) == (10, 3)


async def test_times_beyond_reach_are_counted_and_made_due(store: Store) -> None:
    """A clock that was ahead planned them; its spent requests still count. Repeating it changes nothing."""
    await fill(store)
    early = NOON - 2 * DAY
    assert await store.read(lambda tx: clock_shift.too_far(tx, ["default"], early + REACH)) == (2, NOON + MINUTE)
    for _ in range(2):
        await store.write(lambda tx: clock_shift.limit_pending_times(tx, lambda: early, REACH))
    assert await store.read(lambda tx: clock_shift.too_far(tx, ["default"], early + REACH)) == (0, None)
    poll, attempt, paused, _ = await planned(store)
    assert (poll, attempt, paused) == (early, early, early)
    ledger = (await store.read(lambda tx: workspaces.get(tx, "default"))).ledger
    allowance = RateLimit(10, 10, 1.0)
    assert request_budget.remaining(ledger, allowance, early).day == 3
    assert request_budget.remaining(ledger, allowance, early + DAY + 6 * MINUTE).day == 10


async def test_times_beyond_reach_are_counted_over_all_workspaces(store: Store) -> None:
    """One statement counts them for any number of workspaces."""
    await fill(store)
    early = NOON - 2 * REACH
    for names in ([], ["default", "sales"], ["default", "sales", "success"]):
        count, _ = await store.read(lambda tx, names=names: clock_shift.too_far(tx, names, early + REACH))  # type: ignore[misc]
        assert count == (2 if names else 1)


async def test_times_within_reach_stay(store: Store) -> None:
    """A start with a correct clock changes nothing."""
    await fill(store)
    before = await planned(store)
    await store.write(lambda tx: clock_shift.limit_pending_times(tx, lambda: NOON, REACH))
    assert await planned(store) == before


async def test_last_seen_time_is_stored(store: Store) -> None:
    """The last stored time counts, even an earlier one: the clock was set back."""
    assert await store.read(clock_shift.last_seen) is None
    for at in (NOON, NOON + MINUTE, NOON - DAY):
        await store.write(lambda tx, at=at: clock_shift.record_seen(tx, "own_1", at))  # type: ignore[misc]
        assert await store.read(clock_shift.last_seen) == at


async def test_held_delivery_stays_held_when_the_clock_is_set(store: Store) -> None:
    """It has no next attempt to shift."""
    await fill(store)
    await store.write(lambda tx: tx.execute(update(deliveries), {"next_attempt_at": None}))
    await store.write(lambda tx: clock_shift.shift_pending_times(tx, -HOUR, -HOUR, NOON, NOON - HOUR))
    assert await store.read(next_delivery_due) is None


async def test_request_spent_just_before_times_follow_a_clock_that_was_set_back_counts(store: Store) -> None:
    """A poll may be spent between the setting of the clock and the shift, which the ledger notes by the new clock, and
    what was spent before with it: moved back as well, they would be forgotten (found by the simulator)."""
    now, allowance = NOON - HOUR, RateLimit(10, 100, 1.0)

    def spend_and_shift(tx: Tx) -> None:
        state = workspaces.lock(tx, "default")
        spent = request_budget.spend(request_budget.spend(state.ledger, 2, NOON), 1, now)
        workspaces.save(tx, replace(state, ledger=spent))
        clock_shift.shift_pending_times(tx, -HOUR, -HOUR, NOON - MINUTE, now)

    await store.write(spend_and_shift)
    ledger = (await store.read(lambda tx: workspaces.get(tx, "default"))).ledger
    left = request_budget.remaining(ledger, allowance, now)
    assert (left.minute, left.day) == (7, 97)
