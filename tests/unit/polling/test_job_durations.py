"""What past jobs teach: soon, of any shape, and nothing that is absurd."""

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model import DAY, HOUR, MINUTE, SECOND, ScenarioJob, to_rfc3339
from relay.model.duration_history import DurationHistory
from relay.polling.schedule.job_durations import (
    ended_share,
    fit_distribution,
    may_have_ended,
    median_queue_time,
    observe,
    observe_already_ended,
    observe_clock,
    observe_job,
    observe_queue_time,
    observe_unfinished,
)

NOW = 1_709_287_200_000  # 2024-03-01T10:00:00Z


def after(seconds: list[float], known: DurationHistory | None = None, begin: int = NOW) -> DurationHistory:
    """Jobs begun a quarter of an hour after each other, each seen as it ended."""
    durations = known or DurationHistory()
    for number, took in enumerate(seconds):
        durations = observe(durations, took, begin + number * 15 * MINUTE + round(took * 1_000))
    return durations


def lognormal(n: int, median: float, sigma: float, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [rng.lognormvariate(math.log(median), sigma) for _ in range(n)]


def test_the_prior_median_is_five_minutes() -> None:
    """Before anything was seen, the documentation's five minutes are the median, and anything is possible."""
    prior = fit_distribution(DurationHistory())
    assert prior.median == pytest.approx(300, rel=0.01)
    assert prior.survival(6 * 3_600) == pytest.approx(0.02, abs=0.005)
    assert 0.002 < prior.cdf(60) < 0.05


def test_thirty_jobs_give_the_median_and_p90() -> None:
    """Median and 90th percentile are near the truth after thirty jobs, far from the prior's as they may be."""
    learned = fit_distribution(after(lognormal(30, 40, 0.3)))
    assert learned.median == pytest.approx(40, rel=0.15)
    assert learned.p90 == pytest.approx(40 * math.exp(0.3 * 1.2816), rel=0.25)


def test_two_modes_stay_separate() -> None:
    """Quick failures beside slow successes: hardly any job is expected to end between them."""
    learned = fit_distribution(
        after([x for pair in zip(lognormal(40, 25, 0.15), lognormal(40, 400, 0.15), strict=True) for x in pair])
    )
    assert learned.cdf(40) == pytest.approx(0.49, abs=0.06)
    assert learned.cdf(240) - learned.cdf(45) < 0.06


@pytest.mark.parametrize("absurd", [0, -5, float("nan"), float("inf"), -float("inf"), 86_401, 1e300])
def test_an_impossible_duration_is_ignored(absurd: float) -> None:
    """An impossible value leaves the history unchanged."""
    known = after(lognormal(10, 300, 0.3))
    assert observe(known, absurd, NOW) == known


def test_a_few_wrong_timestamps_hardly_move_the_median() -> None:
    """Five durations of a day and five of a second, among ninety good ones, move the median by a few percent."""
    good = lognormal(90, 300, 0.3)
    spoiled = fit_distribution(after([*good[:45], 86_000, 1, 86_400, 1, 80_000, *good[45:], 1, 1, 86_399, 1, 70_000]))
    assert spoiled.median == pytest.approx(fit_distribution(after(good)).median, rel=0.05)


def test_a_new_distribution_is_learned_within_thirty_jobs() -> None:
    """After 150 jobs of five minutes, thirty of ten are enough to expect ten."""
    known = after(lognormal(150, 300, 0.35))
    learned = fit_distribution(after(lognormal(30, 600, 0.35, seed=2), known, NOW + 150 * 15 * MINUTE))
    assert learned.median == pytest.approx(600, rel=0.12)
    assert learned.cdf(250) < 0.1


def test_the_first_to_end_of_a_burst_do_not_pass_for_all() -> None:
    """Twenty of a hundred jobs begun together have ended; with the others counted as going, the median stays true."""
    took = sorted(lognormal(100, 300, 0.35))
    now = NOW + round(took[19] * 1_000)
    durations = DurationHistory()
    for seconds in took[:20]:
        durations = observe(durations, seconds, NOW + round(seconds * 1_000))
    still = [(NOW, (now - NOW) / 1_000)] * 80
    assert fit_distribution(durations).median < 230
    assert fit_distribution(durations, still).median == pytest.approx(300, rel=0.25)
    assert fit_distribution(durations, still).cdf(took[19]) == pytest.approx(0.2, abs=0.04)


def test_after_a_burst_the_slowest_do_not_pass_for_all_either() -> None:
    """Durations fade by when jobs began: of a hundred begun together, the last to end count no more than the first."""
    durations = DurationHistory()
    for seconds in sorted(lognormal(100, 300, 0.35)):
        durations = observe(durations, seconds, NOW + round(seconds * 1_000))
    assert fit_distribution(durations).median == pytest.approx(300, rel=0.08)


def test_jobs_that_hang_are_learned_while_they_hang() -> None:
    """Five of a hundred jobs still going after hours: that share is expected never to end, or hardly ever."""
    durations = after(lognormal(95, 300, 0.3))
    begun = NOW + 40 * 15 * MINUTE
    learned = fit_distribution(durations, [(begun + k * MINUTE, 3 * 3_600.0 + k) for k in range(5)])
    assert 0.02 < learned.survival(3 * 3_600) < 0.08
    assert learned.survival(12 * 3_600) > 0.8 * learned.survival(3 * 3_600)


def test_jobs_that_never_ended_are_remembered() -> None:
    """Expired watches raise the share of jobs that never end."""
    durations = after(lognormal(50, 300, 0.3))
    hanging = durations
    for k in range(5):
        hanging = observe_unfinished(hanging, NOW + DAY + k * HOUR)
    assert fit_distribution(hanging).survival(80_000) > fit_distribution(durations).survival(80_000) + 0.03


def test_durations_are_learned_from_exec_s_timestamps() -> None:
    """An ended job adds its duration and its queue time."""
    job = ScenarioJob(
        id="a1b2c3",
        status="completed",
        created_at=to_rfc3339(NOW),
        started_at=to_rfc3339(NOW + 7 * SECOND),
        completed_at=to_rfc3339(NOW + 47 * SECOND),
    )
    learned = observe_job(DurationHistory(), job, seen_at=NOW + MINUTE)
    assert learned.completed == (((NOW + 20 * SECOND) // 1_000, round(math.log(40), 4)),)
    assert learned.queue_times == (7.0,)


@pytest.mark.parametrize("field", ["created_at", "started_at", "completed_at"])
@pytest.mark.parametrize("value", [None, "", "yesterday", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_missing_and_impossible_timestamps_are_ignored(field: str, value: str | None) -> None:
    """No timestamp of Exec's makes learning fail, or enters where it can't be true."""
    stamps = {"created_at": to_rfc3339(NOW), "started_at": to_rfc3339(NOW), "completed_at": to_rfc3339(NOW + MINUTE)}
    job = ScenarioJob.model_validate({"id": "a1b2c3", "status": "completed", **stamps, field: value})
    learned = observe_job(DurationHistory(), job, seen_at=NOW + MINUTE)
    assert learned.completed in ((), ((NOW // 1_000, round(math.log(60), 4)),))
    assert all(0 <= wait <= 3_600 for wait in learned.queue_times)


def test_the_queue_time_is_the_median_of_the_last_ones() -> None:
    """A few seconds at first, then what the jobs show; absurd waits are ignored."""
    durations = DurationHistory()
    assert median_queue_time(durations) == 5.0
    for wait in (60.0, 61.0, 62.0, -1.0, 1e9, float("nan")):
        durations = observe_queue_time(durations, wait)
    assert median_queue_time(durations) == 61.0


def test_a_job_still_queued_waits_as_long_as_those_that_waited_longer() -> None:
    """The case to check by hand: of waits of 5, 5, 5, 600 and 620 s, a job queued for 30 s waits for 620 s."""
    durations = DurationHistory()
    for wait in (5.0, 5.0, 600.0, 620.0):
        durations = observe_queue_time(durations, wait)
    assert median_queue_time(durations) == 5.0
    assert median_queue_time(durations, 30.0) == 620.0
    assert median_queue_time(durations, 700.0) == 700.0


def test_the_share_already_ended_is_learned_from_four_that_had_and_fifty_that_had_not() -> None:
    """Of fifty none: up to 3 in 50 may have. Of the newest four all: all have, whatever was before."""
    durations = DurationHistory()
    assert (ended_share(durations), may_have_ended(durations)) == (0.0, 1.0)
    for _ in range(150):
        durations = observe_already_ended(durations, False)
    assert (ended_share(durations), may_have_ended(durations)) == (0.0, 3 / 50)
    for _ in range(4):
        durations = observe_already_ended(durations, True)
    assert (ended_share(durations), may_have_ended(durations)) == (1.0, 1.0)


def test_exec_s_clock_is_learned_from_its_date_header() -> None:
    """The header is cut to whole seconds: less than two seconds is no difference, ninety are, a year is none."""
    assert observe_clock(DurationHistory(), NOW + 1_000, NOW).ahead == 0
    ahead = observe_clock(DurationHistory(), NOW + 90_000, NOW)
    assert ahead.ahead == 90_500
    assert observe_clock(ahead, NOW + 91_000, NOW) == ahead
    assert observe_clock(ahead, NOW, NOW + 400).ahead == 0
    assert observe_clock(DurationHistory(), NOW + 400 * DAY, NOW).ahead == 0


@given(st.lists(st.tuples(st.floats(0.001, 86_400), st.integers(-(10**12), 10**12)), max_size=300))
@settings(max_examples=25)
def test_the_history_is_bounded_and_survives_the_round_trip(observed: list[tuple[float, int]]) -> None:
    """Any number of observations, with a clock that jumps, fits in 8 KB of JSON and reads back the same."""
    durations = DurationHistory()
    for seconds, jump in observed:
        durations = observe_unfinished(observe_queue_time(observe(durations, seconds, NOW + jump), seconds), NOW + jump)
    text = durations.to_json()
    assert len(text) < 8_000
    assert DurationHistory.from_json(text) == durations
    assert 0 <= fit_distribution(durations).cdf(300) <= 1


@given(
    st.lists(st.floats(0.001, 86_400), max_size=60),
    st.lists(st.tuples(st.integers(NOW - DAY, NOW), st.floats(-10, 86_400)), max_size=30),
)
@settings(max_examples=40)
def test_any_history_makes_a_distribution(seconds: list[float], going: list[tuple[int, float]]) -> None:
    """Whatever was seen and whatever goes on, the distribution rises, and leaves hope at every age."""
    learned = fit_distribution(after(seconds), going)
    assert all(one <= other <= 1 for one, other in zip(learned.cdf_table, learned.cdf_table[1:], strict=False))
    assert all(learned.cdf(2 * age) > learned.cdf(age) for age in (1.0, 30.0, 1_000.0))


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", "[" * 100_000, DurationHistory().to_json()[:-3]]
    + [
        json.dumps(json.loads(DurationHistory().to_json()) | wrong)
        for wrong in (
            {"completed": 5},
            {"completed": [5]},
            {"completed": [[1, "x"]]},
            {"completed": [[float("nan"), 1]]},
            {"unfinished": [None]},
            {"queue_times": [float("inf")]},
            {"already_ended": 1},
        )
    ],
)
def test_a_corrupt_text_raises_value_error(text: str) -> None:
    """Any other text raises ValueError, and nothing else."""
    with pytest.raises(ValueError, match="not a duration history"):
        DurationHistory.from_json(text)
