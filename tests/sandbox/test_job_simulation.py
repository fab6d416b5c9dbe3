"""The course of a job, without a server."""

import random
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import MINUTE, SECOND, ScenarioJob
from relay.sandbox import job_simulation
from relay.sandbox.job_simulation import NAMES, Job, JobProfile, Outcome
from tests.sandbox import exec_page
from tests.sandbox.standin import KEY, PAGE_NOW

ORDER = {"queued": 0, "processing": 1, "completed": 2, "failed": 2, "cancelled": 2}


def chance(seed: int) -> random.Random:
    return random.Random(seed)


def job(lasts: int | None = 40 * SECOND, outcome: Outcome = Outcome.COMPLETED) -> Job:
    drawn = job_simulation.random_job(JobProfile(), "j1o2b3i4d5x6", KEY, PAGE_NOW, chance(1))
    return job_simulation.scripted_job(drawn, 5 * SECOND, lasts, outcome, "Discovery Call with IT Director")


def with_instants(shown: dict[str, Any]) -> dict[str, Any]:
    """The job with instants instead of their text, because the fake Exec writes milliseconds and the page does not."""
    at = {name: shown[name] and datetime.fromisoformat(shown[name]) for name in shown if name.endswith("_at")}
    return {**shown, **at}


@pytest.mark.parametrize(
    ("page", "one", "after"),
    [
        (exec_page.QUEUED, job(), 4_999),
        (exec_page.PROCESSING, job(), 5_000),
        (exec_page.PROCESSING, job(), 44_999),
        (exec_page.PROCESSING, job(lasts=None), 10**12),
        (exec_page.COMPLETED, job(), 45_000),
        (exec_page.FAILED, replace(job(25_000, Outcome.FAILED), error=job_simulation.FAILURES[0]), 30_000),
        (exec_page.CANCELLED, job_simulation.cancel(job(), PAGE_NOW + 10_000), 10_000),
    ],
)
def test_every_status_matches_the_page(page: dict[str, Any], one: Job, after: int) -> None:
    """Keys, order, nulls, types and values are those of the page's example."""
    shown = job_simulation.to_json(one, PAGE_NOW + after)
    assert list(shown) == list(page)
    if page["scenario"]:
        scenario = shown["scenario"]
        assert [name for name in scenario if name != "slug"] == list(page["scenario"])
        assert scenario["name"] == page["scenario"]["name"]
        assert scenario["url"].endswith(f"/scenarios/{scenario['slug']}")
        shown, page = {**shown, "scenario": None}, {**page, "scenario": None}
    assert with_instants(shown) == with_instants(page)
    assert type(shown["duration_seconds"]) is type(page["duration_seconds"])


def test_job_cancelled_in_the_queue_has_no_start() -> None:
    """It has an end, but no start and no duration."""
    shown = job_simulation.to_json(job_simulation.cancel(job(), PAGE_NOW + 1_000), PAGE_NOW + MINUTE)
    assert shown["status"] == "cancelled"
    assert shown["started_at"] is None
    assert shown["duration_seconds"] is None
    assert shown["completed_at"] == "2024-03-01T10:00:01.000Z"


def test_timestamps_have_milliseconds() -> None:
    """Delays can be measured by Exec's timestamps, to the millisecond."""
    shown = job_simulation.to_json(job(lasts=1_234), PAGE_NOW + MINUTE)
    assert shown["completed_at"] == "2024-03-01T10:00:06.234Z"
    assert shown["duration_seconds"] == 1.234


@given(st.integers(0, 2**32), st.lists(st.integers(0, 600_000), min_size=2))
def test_status_only_moves_forward(seed: int, ages: list[int]) -> None:
    """An ended job stays exactly as it ended."""
    one = job_simulation.random_job(JobProfile(fail=0.3, cancel=0.2, stuck=0.1), "abc", KEY, PAGE_NOW, chance(seed))
    shown = [job_simulation.to_json(one, PAGE_NOW + age) for age in sorted(ages)]
    for before, after in pairwise(shown):
        assert ORDER[before["status"]] <= ORDER[after["status"]]
        if ORDER[before["status"]] == 2:
            assert before == after


@given(st.integers(0, 2**32), st.integers(0, 600_000))
def test_relay_parses_every_job(seed: int, age: int) -> None:
    """Every job is accepted by the model of the relay, field for field."""
    law = JobProfile(fail=0.3, cancel=0.2, stuck=0.1)
    shown = job_simulation.to_json(job_simulation.random_job(law, "abc", KEY, PAGE_NOW, chance(seed)), PAGE_NOW + age)
    assert ScenarioJob.model_validate(shown).raw() == shown


def test_jobs_follow_the_profile() -> None:
    """Over many jobs the median, the spread and the shares are those of the profile."""
    rng, law = chance(7), JobProfile(median=300 * SECOND, sigma=0.35, fail=0.1, cancel=0.05, stuck=0.02)
    many = [job_simulation.random_job(law, str(number), KEY, 0, rng) for number in range(20_000)]
    lasted = sorted(one.ended_at - one.started_at for one in many if one.ended_at is not None)
    assert median(lasted) == pytest.approx(300_000, rel=0.02)
    assert lasted[round(len(lasted) * 0.8413)] / median(lasted) == pytest.approx(2.718281828**0.35, rel=0.02)
    ended = [one.outcome for one in many if one.ended_at is not None]
    assert 1 - len(ended) / len(many) == pytest.approx(0.02, abs=0.005)
    assert ended.count(Outcome.FAILED) / len(many) == pytest.approx(0.1, abs=0.01)
    assert ended.count(Outcome.CANCELLED) / len(many) == pytest.approx(0.05, abs=0.01)


def test_speed_divides_every_duration() -> None:
    """Ten times as fast: queue and processing times are a tenth, the outcome is the same."""
    slow = job_simulation.random_job(JobProfile(sigma=0.5, queued=5_000), "a", KEY, 0, chance(3))
    fast = job_simulation.random_job(JobProfile(sigma=0.5, queued=5_000, speed=10), "a", KEY, 0, chance(3))
    assert slow.ended_at
    assert fast.ended_at
    assert (slow.started_at, fast.started_at) == (5_000, 500)
    assert fast.ended_at == pytest.approx(slow.ended_at / 10, abs=1)
    assert fast.scenario == slow.scenario


def test_sigma_0_is_a_fixed_duration() -> None:
    """Without spread every job takes the median."""
    rng = chance(1)
    lives = [
        job_simulation.random_job(JobProfile(median=40_000, sigma=0), str(number), KEY, 0, rng) for number in range(50)
    ]
    assert {one.ended_at for one in lives} == {45_000}


@pytest.mark.parametrize(
    "wrong", [{"fail": -0.1}, {"fail": 0.6, "stuck": 0.6}, {"median": 0}, {"speed": 0}, {"sigma": -1}, {"queued": -1}]
)
def test_invalid_profile_is_refused(wrong: dict[str, Any]) -> None:
    """Shares must be shares and durations must be durations."""
    with pytest.raises(ValueError, match="0"):
        JobProfile(**wrong)


def test_names_are_varied_and_urls_are_ascii() -> None:
    """Names have emoji, quotes and right-to-left text; every URL is plain ASCII."""
    everything = "".join(NAMES)
    assert all(mark in everything for mark in ('"', "'", "<", "&", "💸", "م", "ש", "@channel", "`"))
    assert max(map(len, NAMES)) > 150
    for name in NAMES:
        made = job_simulation.scenario("0123456789ab", name)
        assert made["url"].isascii()
        assert made["slug"].replace("-", "").isalnum()
