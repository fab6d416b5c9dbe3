"""What a workspace learns from its watches: in the order in which they ended, and from those that go on."""

import math
import random
from dataclasses import replace

import pytest

from relay.config import Config
from relay.model import DAY, HOUR, MINUTE, SECOND, EventType, Instant, ScenarioJob, Watch, WatchState, to_rfc3339
from relay.model.arrival_history import ArrivalHistory
from relay.model.duration_history import MAX_COMPLETED, DurationHistory
from relay.polling.event_context import event_context
from relay.polling.request_budget import HORIZONS, Remaining
from relay.polling.schedule.job_durations import ended_share
from relay.polling.schedule.next_poll import poll_state_of
from relay.polling.schedule.policy import Workload, build_policy, first_answer, update_history

NOW: Instant = 1_709_294_400_000
PLENTY = Remaining(minute=48, day=800, within=tuple((ahead, 800) for ahead in HORIZONS))


def watch(number: int, started: Instant, took: int | None) -> Watch:
    """The watch of a job, registered as it started; `took` (ms) where it has ended, and was seen to at once."""
    job = ScenarioJob(
        id=f"j{number}",
        status="processing" if took is None else "completed",
        created_at=to_rfc3339(started),
        started_at=to_rfc3339(started),
        completed_at=None if took is None else to_rfc3339(started + took),
    )
    going = Watch(workspace="default", job_id=job.id, state=WatchState.ACTIVE, created_at=started, job=job, polls=1)
    if took is None:
        return going
    ended = started + took
    return replace(going, state=WatchState.SETTLED, last_poll_at=ended, ended_at=ended)


def after(medians: list[float]) -> DurationHistory:
    """What is known after jobs of these medians, σ 0.35, one each quarter of an hour."""
    rng, durations = random.Random(1), DurationHistory()
    for number, median in enumerate(medians):
        took = round(rng.lognormvariate(math.log(median), 0.35)) * SECOND
        durations = update_history(durations, watch(number, NOW + number * 15 * MINUTE, took))
    return durations


def test_the_history_drops_the_oldest_jobs() -> None:
    """Of 350 watches the 300 that began last are kept."""
    starts = [start for start, _ in after([300.0] * 350).completed]
    assert len(starts) == MAX_COMPLETED
    assert min(starts) == pytest.approx((NOW + 50 * 15 * MINUTE) / SECOND, abs=1)


def test_jobs_registered_before_and_after_their_end_are_distinguished() -> None:
    """Whether a first poll at once is of any use is learned from when jobs were registered, by Exec's clock."""
    job = watch(1, NOW, 5 * MINUTE).job
    assert job is not None
    assert first_answer(DurationHistory(), NOW, job).already_ended == (False,)
    assert first_answer(DurationHistory(), NOW + HOUR, job).already_ended == (True,)
    assert first_answer(DurationHistory(ahead=10 * MINUTE), NOW - 4 * MINUTE, job).already_ended == (True,)
    assert ended_share(first_answer(DurationHistory(), NOW + HOUR, job)) == 1 / 4


def test_an_expired_watch_is_recorded_with_its_start() -> None:
    """What never ended is dated too, so that it fades as the others do."""
    expired = replace(watch(1, NOW, None), state=WatchState.EXPIRED, ended_at=NOW + DAY)
    assert update_history(DurationHistory(), expired).unfinished == (NOW // SECOND,)


def test_running_jobs_count_as_lasting_longer() -> None:
    """Sixty of eighty watches begun together go on after ten minutes; the twenty that ended do not pass for all."""
    known = DurationHistory()
    for number in range(20):
        known = update_history(known, watch(number, NOW, (200 + 10 * number) * SECOND))
    going = [replace(watch(n, NOW, None), last_poll_at=NOW + 10 * MINUTE) for n in range(20, 80)]
    now = NOW + 11 * MINUTE
    alone = build_policy(Workload(known, [], 0, PLENTY, ArrivalHistory()), now)
    poll_states = [poll_state_of(one) for one in going]
    together = build_policy(Workload(known, poll_states, len(going), PLENTY, ArrivalHistory()), now)
    assert alone.distribution.survival(600) < 0.1
    assert together.distribution.survival(600) > 0.5


def test_a_poll_is_postponed_if_the_price_has_risen() -> None:
    """With 40 jobs and hardly a poll left, what was due is put off; what failed or was asked for is not."""
    durations = after([300.0] * 100)
    now = NOW + 100 * 15 * MINUTE
    going = [poll_state_of(replace(watch(n, now - 60 * SECOND, None), last_poll_at=now - SECOND)) for n in range(40)]
    scarce = Remaining(minute=1, day=5, within=tuple((ahead, 5) for ahead in HORIZONS))
    cheap = build_policy(Workload(durations, going[:1], 1, PLENTY, ArrivalHistory()), now)
    dear = build_policy(Workload(durations, going, 40, scarce, ArrivalHistory()), now, cheap)
    later = cheap.plan(going[0], now).at
    assert dear.price > 10 * cheap.price
    assert cheap.postpone(going[0], later) is None
    put_off = dear.postpone(going[0], later)
    assert put_off is not None
    assert put_off.at > later
    assert dear.postpone(replace(going[0], failures=1), later) is None
    assert dear.postpone(replace(going[0], awaits_callback=True), later) is None


def test_the_news_of_a_start_say_the_learned_duration() -> None:
    """Half of the workspace's jobs are ready after it; other news, and a fixed interval, say none."""
    policy = build_policy(Workload(after([600.0] * 30), [], 0, PLENTY, ArrivalHistory()), NOW + 8 * HOUR)
    usual = {
        type: event_context([], watch(1, NOW, None), type, Config(), policy).usual_seconds
        for type in (EventType.STARTED, EventType.COMPLETED)
    }
    assert usual[EventType.STARTED] == pytest.approx(600, rel=0.25)
    assert usual[EventType.COMPLETED] is None
