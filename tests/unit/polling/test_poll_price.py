"""The price: as low as the budget allows, as high as the load demands, never at a loss for a figure."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.model import DAY, HOUR, MINUTE, Instant
from relay.model.arrival_history import ArrivalHistory
from relay.model.duration_history import DurationHistory
from relay.model.usage_ledger import UsageLedger
from relay.polling.request_budget import HORIZONS, RateLimit, Remaining, remaining, spend
from relay.polling.schedule.arrival_forecast import record_arrivals
from relay.polling.schedule.duration_distribution import DurationDistribution
from relay.polling.schedule.job_durations import fit_distribution
from relay.polling.schedule.optimal_schedule import optimal_schedule
from relay.polling.schedule.poll_price import PRICE_GRID, affordable_schedule, expected_polls, forecast, sample_ages

NOW = 1_709_287_200_000  # 2024-03-01T10:00:00Z
EXEC = RateLimit(60, 1_000, 0.8)
DISTRIBUTION = fit_distribution(DurationHistory())
FULL = remaining(UsageLedger(), EXEC, NOW)
NONE = Remaining(0, 0, tuple((ahead, 0) for ahead in HORIZONS))


def flow(an_hour: int) -> ArrivalHistory:
    """A day of so many jobs an hour."""
    arrivals = ArrivalHistory()
    for hour in range(24):
        arrivals = record_arrivals(arrivals, an_hour, NOW - DAY + hour * HOUR)
    return arrivals


def flow_of_a_day(jobs: int) -> ArrivalHistory:
    """A day of so many jobs, one after the other."""
    arrivals = ArrivalHistory()
    for k in range(jobs):
        arrivals = record_arrivals(arrivals, 1, NOW - DAY + k * DAY // jobs)
    return arrivals


def poll_price(
    ages: Sequence[float],
    distribution: DurationDistribution,
    free: Remaining,
    arrivals: ArrivalHistory,
    now: Instant,
    start_from: float | None = None,
) -> float:
    """The seconds of delay that a poll has to save."""
    return affordable_schedule(ages, distribution, free, arrivals, now, start_from=start_from).price


def test_one_job_is_polled_closely_and_a_busy_day_sparsely() -> None:
    """The price rises with the jobs that are to be expected: from under a second to over ten."""
    quiet, busy = (
        poll_price([10.0], DISTRIBUTION, FULL, ArrivalHistory(), NOW),
        poll_price([10.0], DISTRIBUTION, FULL, flow(12), NOW),
    )
    assert quiet < 2
    assert busy > 10


def test_the_polls_expected_fit_the_budget() -> None:
    """At the price found, the polls of all watches fit every horizon; at the next lower price they do not.

    The reserve is 8 polls, 1% of the day. It covers the rounding of what is expected: the price is calculated again
    every half minute, and no poll ever leaves without budget, so a larger reserve would be polls that no job gets.
    """
    ages, arrivals = [float(k * 10) for k in range(40)], flow(8)
    found = poll_price(ages, DISTRIBUTION, FULL, arrivals, NOW)
    at = PRICE_GRID.index(found)

    def fits(cost: float) -> bool:
        table = optimal_schedule(DISTRIBUTION, cost)
        coming, groups = forecast(arrivals, NOW), sample_ages(ages)
        return all(expected_polls(table, groups, coming, ahead / 1_000) <= polls - 8 for ahead, polls in FULL.within)

    assert fits(found)
    assert not fits(PRICE_GRID[at - 1])


def test_spent_polls_raise_the_price() -> None:
    """With half of the day's polls spent, the price is higher; a day later it is back."""
    spent = spend(UsageLedger(), 400, NOW - HOUR)
    arrivals = flow(8)
    before = poll_price([], DISTRIBUTION, FULL, arrivals, NOW)
    assert poll_price([], DISTRIBUTION, remaining(spent, EXEC, NOW), arrivals, NOW) > 1.2 * before
    assert poll_price([], DISTRIBUTION, remaining(spent, EXEC, NOW + DAY), arrivals, NOW) == before


def test_a_burst_of_jobs_keeps_the_price_bounded() -> None:
    """A thousand jobs at once, more than the day's polls: each is planned to need little more than one poll.

    With 800 polls for 1,000 jobs, a first poll before most of the jobs have ended would need second polls that the day
    does not have: they would wait hours for the budget. So the first poll comes when nearly all of the jobs that end at
    all (98%) have ended, but no later: four times the age at which 90% have ended is the highest price.
    """
    found = poll_price([5.0] * 1_000, DISTRIBUTION, FULL, ArrivalHistory(), NOW)
    fewest = optimal_schedule(DISTRIBUTION, PRICE_GRID[-1]).expected_polls_within(0.0, DAY / 1_000)
    table = optimal_schedule(DISTRIBUTION, found)
    assert 4 * DISTRIBUTION.p90 <= found < 4.5 * DISTRIBUTION.p90
    assert fewest <= table.expected_polls_within(0.0, DAY / 1_000) <= 1.07 * fewest
    assert table.poll_ages[0] < 25 * MINUTE / 1_000
    assert DISTRIBUTION.cdf(table.poll_ages[0]) < 0.975


def test_without_any_budget_the_price_is_finite() -> None:
    """Where nothing is left the price is finite, and the plan it gives is sparse."""
    assert poll_price([100.0], DISTRIBUTION, NONE, ArrivalHistory(), NOW) in PRICE_GRID
    assert poll_price([], DISTRIBUTION, NONE, ArrivalHistory(), NOW) in PRICE_GRID


@given(
    st.lists(st.floats(-600, 90_000), max_size=60),
    st.integers(0, 800),
    st.integers(0, 40),
    st.one_of(st.none(), st.sampled_from(PRICE_GRID), st.floats(-1, 1e9)),
)
@example([], 800, 40, 1e9)
@settings(max_examples=40, deadline=None)
def test_the_start_of_the_search_does_not_change_the_price(
    ages: list[float], spent: int, an_hour: int, near: float | None
) -> None:
    """The last price only speeds the search up; the price found is that of a search from the bottom."""
    free, arrivals = remaining(spend(UsageLedger(), spent, NOW - HOUR), EXEC, NOW), flow(an_hour)
    assert poll_price(ages, DISTRIBUTION, free, arrivals, NOW, start_from=near) == poll_price(
        ages, DISTRIBUTION, free, arrivals, NOW
    )


@given(st.integers(0, 700), st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_less_budget_never_lowers_the_price(spent: int, an_hour: int) -> None:
    """The more is spent of the day, the dearer a poll."""
    arrivals = flow(an_hour)
    prices = [
        poll_price([], DISTRIBUTION, remaining(spend(UsageLedger(), n, NOW - 2 * HOUR), EXEC, NOW), arrivals, NOW)
        for n in (spent, spent + 60)
    ]
    assert prices[0] <= prices[1]


@given(st.lists(st.floats(-100, 100_000), max_size=1_500))
def test_sampled_ages_represent_all_watches(ages: list[float]) -> None:
    """At most two hundred ages, of the same number of watches, none outside of what there is."""
    groups = sample_ages(ages)
    assert len(groups) <= 200
    assert abs(sum(many for _, many in groups) - len(ages)) < 1e-6 * max(len(ages), 1)
    assert all(0 <= age <= max([*ages, 0.0]) for age, _ in groups)


def test_the_minute_s_window_counts_too() -> None:
    """Where only the minute is short, the polls of the next minutes are dear all the same."""
    tight = replace(FULL, within=tuple((ahead, min(polls, 5 * ahead // MINUTE)) for ahead, polls in FULL.within))
    ages = [200.0] * 30
    assert poll_price(ages, DISTRIBUTION, tight, ArrivalHistory(), NOW) > 2 * poll_price(
        ages, DISTRIBUTION, FULL, ArrivalHistory(), NOW
    )


def test_first_polls_that_do_not_fit_raise_no_price() -> None:
    """Of fifty jobs none had ended when it was registered, so that 6% may have.

    Of 100 jobs a day each gets a first poll at once. Of 200 they would fit at a price only that they don't save: they
    are left out, and the polls are used at the price that fits without them, at which they would be worth it.
    """
    few, many = (
        affordable_schedule([], DISTRIBUTION, FULL, flow_of_a_day(jobs), NOW, share_already_ended=0.06)
        for jobs in (100, 200)
    )
    assert (few.poll_immediately, many.poll_immediately) == (True, False)
    assert 0.06 * many.poll_ages[0] > 0.94 * many.price
    groups, coming = sample_ages([]), forecast(flow_of_a_day(200), NOW)
    assert expected_polls(many, groups, coming, DAY / 1_000) > 0.9 * FULL.within[-1][1]
