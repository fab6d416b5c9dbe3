"""Which due watches are polled: first polls as far as the budget carries them, and a sample where it does not."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model import HOUR, MINUTE, SECOND, Instant
from relay.model.arrival_history import ArrivalHistory
from relay.model.duration_history import DurationHistory
from relay.polling.request_budget import HORIZONS, Remaining
from relay.polling.schedule.job_durations import EXPLORE_ONE_IN, observe, observe_already_ended
from relay.polling.schedule.next_poll import PollState
from relay.polling.schedule.policy import PollPolicy, Workload, build_policy
from relay.polling.schedule.poll_selection import TEST_POLLS, Due, Moment, select

NOW: Instant = 1_709_294_400_000


def known(ended: list[bool]) -> DurationHistory:
    """A hundred jobs of five minutes or so, and whether the last had ended when they were registered."""
    durations = DurationHistory()
    for number in range(100):
        durations = observe(durations, 200.0 + 2 * number, NOW - (100 - number) * MINUTE)
    for one in ended:
        durations = observe_already_ended(durations, one)
    return durations


NEVER, ALWAYS = known([False] * 50), known([True] * 50)


def pace_of(durations: DurationHistory, left: int, jobs: int) -> PollPolicy:
    """The pace for so many new jobs and polls left."""
    poll_states = [PollState(registered_at=NOW)] * jobs
    within = tuple((ahead, left) for ahead in HORIZONS)
    return build_policy(Workload(durations, poll_states, jobs, Remaining(48, left, within), ArrivalHistory()), NOW)


def moment(left: int) -> Moment:
    return Moment(now=NOW, day_left=left, day=800, minute=48)


def new(jobs: int) -> list[Due]:
    """So many jobs registered just now, none of them the one in fifty."""
    return [Due(PollState(registered_at=NOW), 1 + EXPLORE_ONE_IN * number) for number in range(jobs)]


def test_with_half_of_the_day_left_and_a_usual_price_every_first_poll_is_at_once() -> None:
    """Also if none of the last fifty jobs had ended when it was registered."""
    found = select(new(10), pace_of(NEVER, 600, 10), NEVER, moment(600))
    assert (sorted(found.now), list(found.later)) == (list(range(10)), [])


def test_jobs_registered_together_are_judged_by_a_sample() -> None:
    """Where polls are short and no job had ended before: eight of two hundred are polled, the others wait for them."""
    found = select(new(200), pace_of(NEVER, 300, 200), NEVER, moment(300))
    assert (len(found.now), found.tests) == (TEST_POLLS, True)
    assert {plan.at for _, plan in found.later} == {NOW + 2 * SECOND}


def test_the_sample_decides_whether_all_are_polled() -> None:
    """What the newest showed decides for the rest; the polls put off are as far apart as the minute allows."""
    short = replace(moment(300), tested_at=NOW - SECOND)
    policy, ended = pace_of(NEVER, 300, 200), NEVER
    for _ in range(TEST_POLLS):
        ended = observe_already_ended(ended, True)
    assert len(select(new(192), policy, ended, short).now) == 192
    found = select(new(192), policy, NEVER, short)
    assert found.now == []
    times = sorted(plan.at for _, plan in found.later)
    assert times[0] > NOW + 30 * SECOND
    assert times[-1] - times[0] > 3 * MINUTE


def test_first_polls_that_are_spread_are_made_when_they_come_due() -> None:
    """Those moved before their time too, or all would come due together after all; while the price stays the same."""
    policy = pace_of(NEVER, 300, 200)
    jobs = new(192)
    planned = select(jobs, policy, NEVER, replace(moment(300), tested_at=NOW - SECOND)).later
    for k, plan in sorted(planned, key=lambda one: one[1].at):
        assert select([jobs[k]], policy, NEVER, replace(moment(300), now=plan.at)).now == [0]


def test_one_first_poll_in_fifty_is_always_made() -> None:
    """However dear polls are: what is known of first polls stays fresh."""
    policy = pace_of(NEVER, 5, 1)
    new_job = PollState(registered_at=NOW)
    explored, postponed = Due(new_job, EXPLORE_ONE_IN), Due(new_job, EXPLORE_ONE_IN + 1)
    assert select([explored], replace(policy, price=10_000.0), NEVER, moment(5)).now == [0]
    assert select([postponed], replace(policy, price=10_000.0), NEVER, moment(5)).now == []


def test_a_policy_built_for_fewer_jobs_is_outgrown() -> None:
    """The price for one job does not hold for two hundred later ones: a sample is polled, and the price is computed
    again."""
    found = select(new(200), pace_of(NEVER, 300, 1), NEVER, moment(300))
    assert (found.policy_is_outgrown, len(found.now)) == (True, TEST_POLLS)


def test_a_requested_poll_comes_first_and_is_never_postponed() -> None:
    """A hint's poll is made before all others, whatever it gains."""
    old = PollState(
        registered_at=NOW - HOUR, started_at=NOW - HOUR, status="processing", last_poll_at=NOW - HOUR, polls=1
    )
    asked = PollState(registered_at=NOW - MINUTE, status="processing", last_poll_at=NOW - SECOND, polls=1)
    found = select([Due(old, 1), Due(asked, 2, is_requested=True)], pace_of(NEVER, 300, 2), NEVER, moment(300))
    assert list(found.now) == [1, 0]


@given(st.integers(0, 120), st.integers(0, 800), st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_watch_is_polled_or_planned(jobs: int, left: int, ended: bool) -> None:
    """Exactly once each, and what is planned is planned for later."""
    durations = ALWAYS if ended else NEVER
    found = select(new(jobs), pace_of(durations, left, jobs), durations, moment(left))
    assert sorted([*found.now, *(k for k, _ in found.later)]) == list(range(jobs))
    assert all(plan.at > NOW and plan.reason for _, plan in found.later)


def test_jobs_that_wait_for_the_budget_are_polled_first_come_first_served() -> None:
    """Of 300 jobs that have surely ended and never were polled, those that wait longest are first: they are no sample
    of jobs registered together, whose order would be random, so that some would wait for days."""
    policy = pace_of(NEVER, 5, 300)
    waiting = [Due(PollState(registered_at=NOW - HOUR - k * MINUTE), 1 + EXPLORE_ONE_IN * k) for k in range(300)]
    found = select(waiting, policy, NEVER, moment(5))
    assert (list(found.now), list(found.later), found.tests) == (list(range(299, -1, -1)), [], False)


def test_a_policy_is_outgrown_by_as_many_jobs_again() -> None:
    """A hundred jobs are known to the policy, and a hundred more were registered since: half of the jobs of a batch
    would be planned at the price of the other half."""
    policy = pace_of(NEVER, 300, 100)
    more = [replace(one, poll_state=PollState(registered_at=NOW + SECOND)) for one in new(99)]
    found = select(more, policy, NEVER, replace(moment(300), now=NOW + 2 * SECOND))
    assert (found.policy_is_outgrown, found.tests) == (True, True)
