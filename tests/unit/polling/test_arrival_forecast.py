"""The load still to come: like yesterday's at this hour, times today's pace."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import DAY, HOUR, MINUTE
from relay.model.arrival_history import ArrivalHistory
from relay.polling.schedule.arrival_forecast import expected_jobs, hourly_rates, record_arrivals

MIDNIGHT = 1_709_510_400_000  # Monday 2024-03-04T00:00:00Z


def office_days(days: int, an_hour: int = 20) -> ArrivalHistory:
    """So many jobs in each hour from 9 to 17, one after the other."""
    arrivals = ArrivalHistory()
    for day in range(days):
        for hour in range(9, 17):
            for k in range(an_hour):
                arrivals = record_arrivals(arrivals, 1, MIDNIGHT + day * DAY + hour * HOUR + k * HOUR // an_hour)
    return arrivals


def test_a_few_jobs_are_expected_before_any_was_observed() -> None:
    """A relay that just started keeps some budget for jobs that it does not know yet."""
    assert all(0.5 <= rate <= 5 for rate in hourly_rates(ArrivalHistory(), MIDNIGHT))


def test_a_steady_flow_is_forecast_within_hours() -> None:
    """Twelve jobs an hour since midnight: by five o'clock nearly as many are expected, for the rest of the day."""
    arrivals = ArrivalHistory()
    for minute in range(0, 300, 5):
        arrivals = record_arrivals(arrivals, 1, MIDNIGHT + minute * MINUTE)
    found = hourly_rates(arrivals, MIDNIGHT + 5 * HOUR)
    assert 8 < found[0] <= 12
    assert found[15] == found[0]


def test_one_burst_of_jobs_does_not_raise_the_forecast() -> None:
    """Two hundred jobs at once raise the forecast by a tenth of that, not every hour."""
    assert hourly_rates(record_arrivals(ArrivalHistory(), 200, MIDNIGHT), MIDNIGHT + MINUTE)[1] < 20


def test_a_full_hour_does_not_turn_a_burst_into_every_days_hour() -> None:
    """A hundred jobs at 15:54 of the first day: at 16:01 the forecast is no higher than at 15:59."""
    burst = MIDNIGHT + 16 * HOUR - 6 * MINUTE
    arrivals = record_arrivals(ArrivalHistory(), 100, burst)
    before, after = (
        expected_jobs(hourly_rates(arrivals, at), at, DAY) for at in (burst + 5 * MINUTE, burst + 7 * MINUTE)
    )
    assert after <= before


def test_the_forecast_of_the_night_is_low() -> None:
    """After some office days, hardly a job is expected of the night, and the office's hours are full again."""
    found = hourly_rates(office_days(4), MIDNIGHT + 4 * DAY - 6 * HOUR)  # at 18:00 of the fourth day
    assert max(found[1:14]) < 1
    assert min(found[17:21]) > 15


def test_a_busy_morning_raises_the_hours_after_it() -> None:
    """Three times the usual by eleven: more than the usual is expected at noon, less so of the evening."""
    arrivals = office_days(3)
    for minute in range(9 * 60, 11 * 60):
        arrivals = record_arrivals(arrivals, 1, MIDNIGHT + 3 * DAY + minute * MINUTE)
    found = hourly_rates(arrivals, MIDNIGHT + 3 * DAY + 11 * HOUR)
    assert found[1] > 35
    assert found[1] > found[4] > 20


def test_a_burst_in_quiet_days_does_not_pass_for_a_busy_day() -> None:
    """A hundred and fifty jobs within five minutes, two an hour otherwise: the hours after it stay as they were, and
    the next day no more is expected at that hour than at others; as many jobs one by one count nearly in full."""
    quiet, burst = ArrivalHistory(), MIDNIGHT + 10 * HOUR
    for minute in range(0, 24 * 60, 30):
        quiet = record_arrivals(quiet, 1, MIDNIGHT + minute * MINUTE)
    together, apart = quiet, quiet
    for k in range(150):
        together = record_arrivals(together, 1, burst + k * 2_000)
        apart = record_arrivals(apart, 1, burst + DAY - k * MINUTE)
    after_burst, without = (hourly_rates(one, burst + 6 * MINUTE) for one in (together, quiet))
    assert after_burst == pytest.approx(without, rel=0.1)
    next_day = hourly_rates(together, MIDNIGHT + DAY)
    assert max(next_day) < 1.2 * min(next_day)
    assert expected_jobs(next_day, MIDNIGHT + DAY, DAY) == pytest.approx(198, rel=0.05)
    assert hourly_rates(apart, burst + DAY)[1] > 10 * hourly_rates(quiet, burst + DAY)[1]


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(-2 * DAY, 3 * DAY)), max_size=60),
    st.integers(-10 * DAY, 10 * DAY),
)
def test_a_forecast_is_finite_and_its_parts_add_up(steps: list[tuple[int, int]], offset: int) -> None:
    """Whatever was seen and whatever the clock did, rates are bounded, and jobs accrue with time."""
    arrivals, now = ArrivalHistory(), MIDNIGHT
    for jobs, gap in steps:
        now += gap
        arrivals = record_arrivals(arrivals, jobs, now)
    assert ArrivalHistory.from_json(arrivals.to_json()) == arrivals
    assert len(arrivals.to_json()) < 9_000
    found = hourly_rates(arrivals, now + offset)
    assert all(0 <= rate < 1e7 for rate in found)
    within = [expected_jobs(found, now + offset, ahead * HOUR) for ahead in range(25)]
    assert within == sorted(within)
    assert within[24] <= sum(found) + 1e-6


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", "[" * 100_000]
    + [
        json.dumps(json.loads(ArrivalHistory().to_json()) | wrong)
        for wrong in (
            {"hours": 3},
            {"hours": [[1, -1]]},
            {"hours": [[1]]},
            {"slots": [[1, -1]]},
            {"since": "x"},
            {"since": float("inf")},
        )
    ],
)
def test_a_corrupt_text_raises_value_error(text: str) -> None:
    """Any other text raises ValueError, and nothing else."""
    with pytest.raises(ValueError, match="not an arrival history"):
        ArrivalHistory.from_json(text)
