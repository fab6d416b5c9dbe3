"""Jobs that take longer at some hours of the day are told from jobs that all became slower."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model import DAY, HOUR, MINUTE, SECOND
from relay.model.duration_history import MAX_COMPLETED, MAX_OF_AN_HOUR, DurationHistory
from relay.polling.schedule.daily_pattern import hour_of_day, hours_like
from relay.polling.schedule.job_durations import fit_distribution, observe

MIDNIGHT = 1_709_510_400_000  # Monday 2024-03-04T00:00:00Z
MORNING, AFTERNOON = frozenset(range(12)), frozenset(range(12, 24))
ALL = MORNING | AFTERNOON
EVERY_NINE_MINUTES = 9 * MINUTE


def jobs_of(seconds: list[float], begin: int = MIDNIGHT) -> list[tuple[int, float]]:
    """Jobs of these durations, begun nine minutes after each other, 80 in half a day."""
    return [((begin + k * EVERY_NINE_MINUTES) // SECOND, took) for k, took in enumerate(seconds)]


def lived(seconds: list[float], between: int = EVERY_NINE_MINUTES) -> DurationHistory:
    """What is known after jobs begun so far after each other, with a spread of a third."""
    rng, durations = random.Random(1), DurationHistory()
    for k, median in enumerate(seconds):
        took = rng.lognormvariate(math.log(median), 0.35)
        durations = observe(durations, took, MIDNIGHT + k * between + round(took * SECOND))
    return durations


def test_nine_jobs_on_the_next_morning_tell_a_pattern_from_a_change() -> None:
    """The case to check by hand: 80 short jobs, 80 long ones, and on the next morning nine short or nine long."""
    monday = [120.0] * 80 + [480.0] * 80
    assert hours_like(jobs_of(monday), 3) == ALL
    assert hours_like(jobs_of([*monday, *[120.0] * 9]), 3) == MORNING
    assert hours_like(jobs_of([*monday, *[120.0] * 9]), 15) == AFTERNOON
    assert hours_like(jobs_of([*monday, *[480.0] * 9]), 3) == ALL


def test_a_day_of_three_parts_is_divided_twice() -> None:
    """Two minutes in the night, eight in the office hours, twenty in the evening, two days of each."""
    seconds = [
        120.0 if hour < 8 else 480.0 if hour < 16 else 1_200.0 for hour in [k * 9 // 60 % 24 for k in range(320)]
    ]
    parts = [hours_like(jobs_of(seconds), hour) for hour in (3, 12, 20)]
    assert parts == [frozenset(range(8)), frozenset(range(8, 16)), frozenset(range(16, 24))]


@given(st.integers(1, 10_000), st.integers(0, 23))
@settings(max_examples=40, deadline=None)
def test_jobs_that_are_alike_at_all_hours_are_not_divided(seed: int, hour: int) -> None:
    """Whatever chance makes of three hundred durations of one distribution."""
    rng = random.Random(seed)
    assert hours_like(jobs_of([rng.lognormvariate(5.7, 0.35) for _ in range(300)]), hour) == ALL


def test_the_distribution_is_that_of_the_hour() -> None:
    """Two minutes in the mornings, eight in the afternoons, for two days: each part has its own median, at once."""
    durations = lived([*([120.0] * 80 + [480.0] * 80) * 2])
    end = MIDNIGHT + 2 * DAY
    assert fit_distribution(durations, now=end + HOUR).median == pytest.approx(120, rel=0.1)
    assert fit_distribution(durations, now=end + 13 * HOUR).median == pytest.approx(480, rel=0.1)


def test_jobs_that_became_slower_for_good_are_no_pattern() -> None:
    """Slower since the noon of the second day: the third morning is slow too."""
    durations = lived([120.0] * 240 + [480.0] * 80)
    assert fit_distribution(durations, now=MIDNIGHT + 2 * DAY + HOUR).median == pytest.approx(480, rel=0.15)


def test_an_afternoon_that_is_slower_is_no_pattern_on_the_first_day() -> None:
    """Twice as slow from noon on, at any hour of that afternoon and of the night after: no hour is like the morning."""
    rng = random.Random(1)
    seconds = [rng.lognormvariate(math.log(300.0 if k < 80 else 600.0), 0.35) for k in range(240)]
    for k in range(90, 240, 5):
        assert hours_like(jobs_of(seconds[:k]), k * 9 // 60 % 24) == ALL


def test_a_busy_day_keeps_some_jobs_of_each_hour() -> None:
    """Of 960 jobs a day the newest 300 began in seven hours and a half; of each hour before them, eight are kept."""
    durations = lived([300.0] * 960, between=90 * SECOND)
    hours = [hour_of_day(start) for start, _ in durations.completed]
    assert {hours.count(hour) for hour in range(16)} == {MAX_OF_AN_HOUR}
    assert len(hours) == MAX_COMPLETED + 16 * MAX_OF_AN_HOUR
    assert DurationHistory.from_json(durations.to_json()) == durations
