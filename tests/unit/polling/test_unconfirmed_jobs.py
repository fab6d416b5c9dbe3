"""Wrong job ids of one API key cost a bounded part of the day's requests."""

from collections import Counter
from dataclasses import replace
from typing import Any

from relay.model import DAY, HOUR, MINUTE, SECOND, ScenarioJob, Watch, WatchState
from relay.polling.request_budget import RateLimit
from relay.polling.unconfirmed_jobs import Held, UnconfirmedJobs
from tests.make import NOON

AT_ONCE = 8
KNOWN = ScenarioJob.model_validate({"id": "j0", "status": "processing"})
DEFAULT = RateLimit(60, 1_000, 0.8)


def watch(number: int = 0, owner: str | None = "a", **fields: Any) -> Watch:
    values = {"workspace": "w", "job_id": f"j{number}", "state": WatchState.ACTIVE, "created_at": NOON, "owner": owner}
    return Watch(**{**values, **fields})


def begin(jobs: UnconfirmedJobs, number: int, owner: str | None = "a", now: int = NOON) -> list[Watch]:
    some = [watch(n, owner) for n in range(number)]
    for one in some:
        jobs.poll_begins(one, now)
    return some


def test_a_key_has_few_unconfirmed_jobs_polled_at_once() -> None:
    """The others wait: shortly while answers are on their way, else for the next slot."""
    jobs = UnconfirmedJobs({"w": DEFAULT})
    assert jobs.excess("w", {"a": AT_ONCE, "b": 1}, [], NOON) == []
    assert jobs.excess("w", {"a": 3_000, "b": 1}, [], NOON) == [Held("a", AT_ONCE, NOON + SECOND)]
    in_flight = begin(jobs, AT_ONCE)
    assert jobs.excess("w", {"a": 2_992, "b": 1}, in_flight, NOON) == [Held("a", 0, NOON + SECOND)]
    [held] = jobs.excess("w", {"a": 2_992, "b": 1}, [], NOON)
    assert (held.keep, 40 * MINUTE < held.until - NOON < 45 * MINUTE) == (0, True)
    assert jobs.excess("w", {"a": 2_992}, [], held.until) == [Held("a", 1, held.until + SECOND)]


def test_jobs_registered_meanwhile_get_no_more_slots() -> None:
    """Of those that are due when polls are chosen too, each key has as many as it has slots."""
    jobs = UnconfirmedJobs({"w": DEFAULT})
    begin(jobs, AT_ONCE - 2)
    others = [watch(50, "b"), watch(51, None), watch(52, not_found_count=1), watch(53, job=KNOWN)]
    due = [*(watch(n) for n in range(20)), *others]
    assert jobs.within_limits("w", due, NOON) == [*due[:2], *others]


def test_wrong_ids_cost_an_eighth_of_the_day() -> None:
    """Three polls each, and the day's slots beside those at once."""
    jobs, now, polled = UnconfirmedJobs({"w": DEFAULT}), NOON, 0
    while now < NOON + DAY:
        [held] = jobs.excess("w", {"a": 3_000}, [], now)
        polled += len(begin(jobs, held.keep, now=now))
        now = held.until if held.keep == 0 else now + SECOND
    assert 3 * polled <= DEFAULT.day // 8 + 3 * AT_ONCE


def test_wrong_ids_of_many_keys_take_a_third_of_a_minute() -> None:
    """Each key has some, all at once: half of the minute is left, and a key without any is polled at once."""
    jobs = UnconfirmedJobs({"w": DEFAULT})
    due = [watch(100 * key + n, f"key{key}") for key in range(6) for n in range(20)]
    begun = jobs.within_limits("w", due, NOON)
    assert Counter(one.owner for one in begun) == {"key0": 8, "key1": 8, **{f"key{key}": 1 for key in range(2, 6)}}
    for one in begun:
        jobs.poll_begins(one, NOON)
    assert jobs.within_limits("w", [*due, watch(999, "new"), watch(998, "new")], NOON) == [watch(999, "new")]
    assert jobs.excess("w", {"new": 1, "key5": 9}, [], NOON) == [Held("key5", 0, NOON + 3_751)]
    assert len(jobs.within_limits("w", due, NOON + 15 * SECOND)) == 4
    assert len(jobs.within_limits("w", due[40:], NOON + MINUTE)) == 16


def test_repeated_polls_of_wrong_ids_are_within_that_third() -> None:
    """The polls after a first 404; a known job, and the first job of a key, do not wait with them."""
    jobs = UnconfirmedJobs({"w": DEFAULT})
    again = [watch(n, f"key{n % 6}", not_found_count=1 + n % 2, polls=1 + n % 2) for n in range(60)]
    others = [watch(998, "new"), watch(999, job=KNOWN), watch(997, job=KNOWN, not_found_count=1), watch(996, None)]
    begun = jobs.within_limits("w", [*again, *others], NOON)
    assert begun == [*again[:16], *others]
    for one in begun:
        jobs.poll_begins(one, NOON)
    assert jobs.within_limits("w", [*again[16:], *others[1:]], NOON) == others[1:]
    assert len(jobs.within_limits("w", again[16:], NOON + MINUTE)) == 16


def test_jobs_that_only_callbacks_name_are_within_that_third() -> None:
    """Fifty a day are polled, but not all in one minute."""
    jobs = UnconfirmedJobs({"w": DEFAULT})
    named = [watch(n, None, unconfirmed_since=NOON, callback_received_at=NOON) for n in range(50)]
    begun = jobs.within_limits("w", [*named, watch(99, "a")], NOON)
    assert begun == [*named[:16], watch(99, "a")]
    for one in begun:
        jobs.poll_begins(one, NOON)
    assert jobs.within_limits("w", named[16:], NOON) == []
    assert len(jobs.within_limits("w", named[16:], NOON + MINUTE)) == 16


def test_right_ids_of_many_keys_are_hardly_slowed() -> None:
    """Each answer gives the slot back, of the key and of all."""
    jobs, rounds = UnconfirmedJobs({"w": DEFAULT}), 0
    due = [watch(100 * key + n, f"key{key}") for key in range(6) for n in range(20)]
    while due:
        begun, rounds = jobs.within_limits("w", due, NOON), rounds + 1
        for one in begun:
            jobs.poll_begins(one, NOON)
        for one in begun:
            jobs.job_found(one, NOON)
        due = [one for one in due if one not in begun]
    assert rounds <= 7


def test_a_found_job_gives_its_slot_back() -> None:
    """Also one that Exec found only after some polls, or that could not be polled at first."""
    jobs = UnconfirmedJobs({"w": DEFAULT})
    first, second, third, *_ = begin(jobs, AT_ONCE)
    assert jobs.job_found(first, NOON), "others may have waited for it"
    assert not jobs.job_found(replace(second, polls=2, not_found_count=2), NOON)
    assert not jobs.job_found(replace(third, polls=1, failures=1), NOON)
    assert jobs.excess("w", {"a": 3}, [], NOON) == []


def test_a_job_registered_again_and_again_costs_a_slot_each_time() -> None:
    """Each registration after a withdrawal causes a poll, though Exec knows the job."""
    jobs = UnconfirmedJobs({"w": DEFAULT})
    for again in range(AT_ONCE):
        [taken] = begin(jobs, 1)
        jobs.job_found(replace(taken, polls=again + 1), NOON)
    [held] = jobs.excess("w", {"a": 1}, [], NOON)
    assert held.keep == 0


def test_only_first_polls_of_keys_take_slots() -> None:
    """Not those of known jobs, nor after a 404 or a failure, nor of jobs that no key registered. Polls after a
    404 take some of the minute, which is soon over."""
    jobs = UnconfirmedJobs({"w": DEFAULT})
    begin(jobs, 20, owner=None)
    for one in (watch(not_found_count=1), watch(failures=1), watch(job=KNOWN)):
        for _ in range(20):
            jobs.poll_begins(one, NOON)
            assert not jobs.job_found(replace(one, job=KNOWN, polls=3), NOON)
    assert jobs.excess("w", {"a": AT_ONCE}, [], NOON + MINUTE) == []


def test_small_budgets_leave_a_key_one_job() -> None:
    jobs = UnconfirmedJobs({"w": RateLimit(1, 16, 1.0)})
    [held] = jobs.excess("w", {"a": 2}, [], NOON)
    assert held.keep == 1
    begin(jobs, 1)
    [held] = jobs.excess("w", {"a": 2}, [], NOON)
    assert (held.keep, held.until) == (0, NOON + DAY + 1)
    assert held.until - NOON > HOUR
