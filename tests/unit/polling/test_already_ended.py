"""A job that ended before it was registered is told within 5 s, or within a minute: the planner on a virtual clock."""

import pytest

from benchmarks.already_ended import AT_ONCE, CASES, SOON, Case, late_share, told, trickle

HELD = [case for case in CASES if not case.why]
SHORT = [case for case in HELD if case.load.days == 1]


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.load.workload.name)
def test_a_job_that_has_ended_is_told_in_time(case: Case) -> None:
    """One job, or two hundred together, cold or warm, with much of the day left or little: each of them in time.

    The relay is warm after a hundred jobs that had not ended when they were registered. Of two hundred jobs each is
    promised a minute later than the 48th before it, because a minute has no more polls."""
    row = told(case)
    assert len(row.half_left) + len(row.some_left) in (1, 200)
    assert [one for one in (*row.half_left, *row.some_left) if one[0] > one[1]] == []


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", [case for case in HELD if case not in SHORT], ids=lambda case: case.load.workload.name)
def test_among_jobs_that_have_not_ended_those_that_have_are_told_in_time(case: Case) -> None:
    """One in fifteen jobs of two days, at any hour: nineteen in twenty of them are told in time."""
    row = told(case)
    assert len(row.half_left) + len(row.some_left) >= 4
    assert max(late_share(row.half_left), late_share(row.some_left)) <= 0.05


def test_what_is_promised_are_seconds_from_the_registration() -> None:
    """With half of the polls left 5 s, with fewer a minute; the reason of each case that misses it is given."""
    assert (AT_ONCE, SOON) == (5, 60)
    assert all(case.why for case in CASES if case not in HELD)
    assert trickle(50, 15, 100).workload.name == "50 jobs a day, 1 in 15, warm"
