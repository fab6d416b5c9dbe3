"""When to look: at once, then by the timetable; never in the past, never put off without bound."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from relay.durations import Durations, law, observe
from relay.law import Law
from relay.model import DAY, HOUR, MINUTE, SECOND
from relay.planner import Sight, adaptive_plan, age_of, gain, interval_plan, make_timetable, safety_plan

NOW = 1_709_287_200_000  # 2024-03-01T10:00:00Z
PRIOR: Law = law(Durations())
TABLE = make_timetable(PRIOR, 5.0)

stamps = st.one_of(st.none(), st.integers(-(10**13), 10**13), st.integers(NOW - DAY, NOW + DAY))
sights = st.builds(
    Sight,
    registered_at=st.integers(NOW - 2 * DAY, NOW),
    created_at=stamps,
    started_at=stamps,
    status=st.sampled_from([None, "queued", "processing", "odd"]),
    last_look_at=st.one_of(st.none(), st.integers(NOW - DAY, NOW + MINUTE)),
    looks=st.integers(0, 100),
    failures=st.integers(0, 5),
)


@given(sights, st.floats(0, 600))
def test_a_plan_is_never_in_the_past_and_never_far_off(sight: Sight, wait: float) -> None:
    """Whatever Exec's timestamps say, the next look is within 10 min or eight times the time watched."""
    plan = adaptive_plan(sight, TABLE, NOW, wait)
    last = sight.last_look_at
    bound = NOW if last is None else max(10 * MINUTE, 8 * (last - sight.registered_at))
    assert NOW <= plan.at <= NOW + max(bound, 5 * DAY)
    if last is not None and last <= NOW:
        assert plan.at <= max(NOW, last + bound)
        assert plan.at >= min(last + SECOND, plan.at)
    assert plan.why


@given(sights)
def test_a_gain_is_positive_and_bounded_by_the_wait(sight: Sight) -> None:
    """What a look can save is something, and at most the time since the last one."""
    since = NOW - (sight.registered_at if sight.last_look_at is None else sight.last_look_at)
    assert 0 <= gain(sight, PRIOR, NOW) <= max(since, 0) / 1_000


def test_the_first_look_is_at_once() -> None:
    """A job that was never looked at may have ended long ago."""
    fresh = Sight(registered_at=NOW)
    assert adaptive_plan(fresh, TABLE, NOW).at == interval_plan(fresh, 15 * SECOND, NOW).at == NOW


def test_the_interval_counts_from_the_last_look() -> None:
    """The plain strategy looks every `polling.interval`, at once where that is past."""
    sight = Sight(registered_at=NOW - HOUR, last_look_at=NOW - 5 * SECOND, looks=3)
    assert interval_plan(sight, 15 * SECOND, NOW).at == NOW + 10 * SECOND
    assert interval_plan(sight, 3 * SECOND, NOW).at == NOW
    assert interval_plan(sight, 15 * SECOND, NOW).why == "every 15 s"


def test_a_started_job_is_timed_from_its_start_and_a_queued_one_from_the_look_that_said_so() -> None:
    """`started_at` is the anchor once it is known; while queued the start is reckoned with, and moves on."""
    started = Sight(registered_at=NOW - HOUR, started_at=NOW - MINUTE, status="processing", last_look_at=NOW)
    queued = Sight(registered_at=NOW - HOUR, created_at=NOW - HOUR, status="queued", last_look_at=NOW)
    assert age_of(started, NOW) == 60
    assert age_of(queued, NOW, wait=5.0) == 0


def test_the_pages_of_a_timetable_follow_each_other() -> None:
    """Looks of a job seen from its start are those that the table gives one after another."""
    age = 0.0
    for planned in TABLE.path[:-1]:
        age = TABLE.next_age(age)
        assert abs(age - planned) < 0.03 * planned


def test_a_dearer_look_is_rarer() -> None:
    """The expected number of looks falls as the price rises."""
    known = Durations()
    for k in range(40):
        known = observe(known, 200.0 + 5 * k)
    looks = [make_timetable(law(known), cost).looks(0, 86_400) for cost in (0.1, 1.0, 10.0, 100.0)]
    assert looks == sorted(looks, reverse=True)
    assert looks[0] > 3 * looks[-1]


@given(sights)
def test_a_job_that_exec_calls_back_gets_safety_looks_only(sight: Sight) -> None:
    """With either strategy: none before 15 minutes, then each after twice the time watched; never in the past."""
    waiting = replace(sight, awaits_callback=True)
    plan = safety_plan(waiting, NOW)
    assert plan == adaptive_plan(waiting, TABLE, NOW) == interval_plan(waiting, SECOND, NOW)
    last = sight.registered_at if sight.last_look_at is None else min(sight.last_look_at, NOW)
    watched = max(last - sight.registered_at, 0)
    assert plan.at == max(NOW, last + max(15 * MINUTE, watched))
