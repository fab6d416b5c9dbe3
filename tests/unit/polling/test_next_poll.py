"""When to poll: at once, then by the timetable; never in the past, never put off without bound."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from relay.model import DAY, HOUR, MINUTE, SECOND
from relay.model.duration_history import DurationHistory
from relay.polling.schedule.duration_distribution import DurationDistribution
from relay.polling.schedule.job_durations import fit_distribution, observe
from relay.polling.schedule.next_poll import (
    PollState,
    adaptive_poll,
    age_of,
    expected_delay_saved,
    fallback_poll,
    interval_poll,
)
from relay.polling.schedule.optimal_schedule import optimal_schedule

NOW = 1_709_287_200_000  # 2024-03-01T10:00:00Z
PRIOR: DurationDistribution = fit_distribution(DurationHistory())
TABLE = optimal_schedule(PRIOR, 5.0)

stamps = st.one_of(st.none(), st.integers(-(10**13), 10**13), st.integers(NOW - DAY, NOW + DAY))
poll_states = st.builds(
    PollState,
    registered_at=st.integers(NOW - 2 * DAY, NOW),
    created_at=stamps,
    started_at=stamps,
    status=st.sampled_from([None, "queued", "processing", "odd"]),
    last_poll_at=st.one_of(st.none(), st.integers(NOW - DAY, NOW + MINUTE)),
    polls=st.integers(0, 100),
    failures=st.integers(0, 5),
)


@given(poll_states, st.floats(0, 600))
def test_a_plan_is_never_in_the_past_and_never_far_off(poll_state: PollState, wait: float) -> None:
    """Whatever Exec's timestamps say, the next poll is within 10 min or eight times the time watched."""
    plan = adaptive_poll(replace(poll_state, wait=wait), TABLE, NOW)
    last = poll_state.last_poll_at
    bound = NOW if last is None else max(10 * MINUTE, 8 * (last - poll_state.registered_at))
    assert NOW <= plan.at <= NOW + max(bound, 5 * DAY)
    if last is not None and last <= NOW:
        assert plan.at <= max(NOW, last + bound)
        assert plan.at >= min(last + SECOND, plan.at)
    assert plan.reason


@given(poll_states)
def test_the_delay_saved_is_positive_and_bounded_by_the_wait(poll_state: PollState) -> None:
    """What a poll can save is something, and at most the time since the last one."""
    since = NOW - (poll_state.registered_at if poll_state.last_poll_at is None else poll_state.last_poll_at)
    assert 0 <= expected_delay_saved(poll_state, PRIOR, NOW) <= max(since, 0) / 1_000


def test_the_first_poll_is_at_once() -> None:
    """A job that was never polled may have ended long before."""
    fresh = PollState(registered_at=NOW)
    assert adaptive_poll(fresh, TABLE, NOW).at == interval_poll(fresh, 15 * SECOND, NOW).at == NOW


def test_the_interval_counts_from_the_last_poll() -> None:
    """The plain strategy polls every `polling.interval`, at once where that is past."""
    poll_state = PollState(registered_at=NOW - HOUR, last_poll_at=NOW - 5 * SECOND, polls=3)
    assert interval_poll(poll_state, 15 * SECOND, NOW).at == NOW + 10 * SECOND
    assert interval_poll(poll_state, 3 * SECOND, NOW).at == NOW
    assert interval_poll(poll_state, 15 * SECOND, NOW).reason == "every 15 s"


def test_a_started_job_is_timed_from_its_start_and_a_queued_one_from_the_poll_that_said_so() -> None:
    """`started_at` is the anchor once it is known; while queued the start is reckoned with, and moves on."""
    started = PollState(registered_at=NOW - HOUR, started_at=NOW - MINUTE, status="processing", last_poll_at=NOW)
    queued = PollState(registered_at=NOW - HOUR, created_at=NOW - HOUR, status="queued", last_poll_at=NOW)
    assert age_of(started, NOW) == 60
    assert age_of(queued, NOW) == 0


def test_planned_polls_follow_the_schedule() -> None:
    """Polls of a job seen from its start are those that the table gives one after another."""
    age = 0.0
    for planned in TABLE.poll_ages[:-1]:
        age = TABLE.next_age(age)
        assert abs(age - planned) < 0.03 * planned


def test_a_dearer_poll_is_rarer() -> None:
    """The expected number of polls falls as the price rises."""
    known = DurationHistory()
    for k in range(40):
        known = observe(known, 200.0 + 5 * k)
    polls = [
        optimal_schedule(fit_distribution(known), cost).expected_polls_within(0, 86_400)
        for cost in (0.1, 1.0, 10.0, 100.0)
    ]
    assert polls == sorted(polls, reverse=True)
    assert polls[0] > 3 * polls[-1]


@given(poll_states)
def test_a_job_with_an_exec_callback_gets_safety_polls_only(poll_state: PollState) -> None:
    """With either strategy: none before 15 minutes, then each after twice the time watched; never in the past."""
    waiting = replace(poll_state, awaits_callback=True)
    plan = fallback_poll(waiting, NOW)
    assert plan == adaptive_poll(waiting, TABLE, NOW) == interval_poll(waiting, SECOND, NOW)
    last = poll_state.registered_at if poll_state.last_poll_at is None else min(poll_state.last_poll_at, NOW)
    watched = max(last - poll_state.registered_at, 0)
    assert plan.at == max(NOW, last + max(15 * MINUTE, watched))
