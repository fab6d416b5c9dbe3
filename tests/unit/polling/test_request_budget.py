"""The budget: never over Exec's windows by any way of counting them, and never stuck for longer than they last."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model import DAY, HOUR, MINUTE, SECOND
from relay.model.usage_ledger import UsageLedger, not_ahead
from relay.polling.request_budget import (
    HORIZONS,
    RateLimit,
    after_429,
    allowed_now,
    day_share,
    minute_share,
    next_allowed_at,
    remaining,
    spend,
)

NOW = 1_709_287_200_000  # 2024-03-01T10:00:00Z
EXEC = RateLimit(60, 1_000, 0.8)

gaps = st.one_of(
    st.integers(0, 2 * SECOND), st.integers(0, 5 * MINUTE), st.integers(0, 3 * HOUR), st.integers(0, 2 * DAY)
)


def taken(ledger: UsageLedger, allowance: RateLimit, now: int, wanted: int) -> tuple[UsageLedger, int]:
    """Spends what is granted."""
    n = allowed_now(ledger, allowance, now, wanted)
    return spend(ledger, n, now), n


def most_in_any(window: int, spent: list[tuple[int, int]]) -> int:
    """The most requests in any window of that length, wherever it starts."""
    return max((sum(n for at, n in spent if start <= at < start + window) for start, _ in spent), default=0)


@given(
    st.lists(st.tuples(gaps, st.integers(1, 100)), max_size=60),
    st.integers(1, 60),
    st.integers(1, 300),
    st.floats(0.05, 1),
)
def test_no_window_holds_more_than_the_allowance(
    steps: list[tuple[int, int]], minute: int, day: int, share: float
) -> None:
    """Whatever is wanted and when, no 60 s and no 24 h, wherever they start, hold more than limits × share."""
    allowance, ledger, now, spent = RateLimit(minute, day, share), UsageLedger(), NOW, []
    for gap, wanted in steps:
        now += gap
        ledger, n = taken(ledger, allowance, now, wanted)
        spent.append((now, n))
    assert most_in_any(MINUTE, spent) <= max(1, int(minute * share))
    assert most_in_any(DAY, spent) <= max(1, int(day * share))


@given(st.lists(st.tuples(gaps, st.integers(1, 100)), max_size=30))
def test_the_next_request_is_allowed_exactly_at_next_allowed_at(steps: list[tuple[int, int]]) -> None:
    """At `next_allowed_at` one more request is granted, and at no moment before it (shares aside, which recover)."""
    ledger, now = UsageLedger(), NOW
    for gap, wanted in steps:
        now += gap
        ledger, _ = taken(ledger, EXEC, now, wanted)
        at = next_allowed_at(ledger, EXEC, now)
        assert now <= at <= now + DAY + 5 * MINUTE + SECOND
        assert allowed_now(ledger, EXEC, at, 1) == 1
        assert at == now or allowed_now(ledger, EXEC, at - 1, 1) == 0


def test_the_whole_allowance_can_be_spent() -> None:
    """Asked for as much as possible every second of three days, it grants 800 a day and 48 a minute, no less."""
    ledger, total = UsageLedger(), 0
    for second in range(0, 3 * 86_400, 10):
        ledger, n = taken(ledger, EXEC, NOW + second * SECOND, 100)
        total += n
    assert total == 3 * 800


@given(st.lists(st.tuples(gaps, st.integers(1, 60)), max_size=400))
@settings(max_examples=25)
def test_the_round_trip_keeps_everything_and_stays_small(steps: list[tuple[int, int]]) -> None:
    """from_json(to_json) is the same ledger, in a bounded number of bytes."""
    ledger, now = UsageLedger(), NOW
    for gap, n in steps:
        now += gap
        ledger = spend(ledger, n, now)
    assert UsageLedger.from_json(ledger.to_json()) == ledger
    assert len(ledger.to_json()) < 8_000


def test_the_largest_ledger_is_a_few_kilobytes() -> None:
    """Requests every few seconds for a good day, with a clock that goes back now and then, fits into 8 KB."""
    ledger = UsageLedger()
    for second in range(0, 90_000, 13):
        ledger = spend(ledger, 3, NOW + second * SECOND - (0, 0, 0, 40 * MINUTE)[second % 4])
    assert len(ledger.to_json()) < 8_000


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", "1", '{"seconds": 1}', "[" * 100_000, UsageLedger().to_json()[:-2]]
    + [
        json.dumps(json.loads(UsageLedger().to_json()) | wrong)
        for wrong in (
            {"seconds": [[1, -5]]},
            {"seconds": [[1]]},
            {"buckets": [["x", 1]]},
            {"buckets": {"a": 1}},
            {"minute_share": 7},
            {"day_share": float("nan")},
            {"paused_until": None},
            {"refusals": float("inf")},
        )
    ],
)
def test_a_corrupt_ledger_is_refused(text: str) -> None:
    """Any other text raises ValueError, and nothing else."""
    with pytest.raises(ValueError, match="not a usage ledger"):
        UsageLedger.from_json(text)


@given(st.binary(max_size=200))
def test_any_text_is_a_ledger_or_a_value_error(data: bytes) -> None:
    """No text makes reading a ledger fail in another way than with ValueError."""
    with pytest.raises(ValueError, match="not a usage ledger"):
        UsageLedger.from_json(data.decode("latin-1"))


@pytest.mark.parametrize("jump", [SECOND, MINUTE, HOUR, 5 * HOUR, 3 * DAY, 5_000 * DAY])
def test_a_clock_set_back_reopens_the_budget_in_time(jump: int) -> None:
    """After a clock was ahead and is put right, the budget opens again within a day and an hour, and stays small."""
    ledger, _ = taken(after_429(UsageLedger(), EXEC, 10 * HOUR, NOW + jump), EXEC, NOW + jump, 1_000)
    ledger = spend(ledger, 1_000, NOW + jump)
    assert next_allowed_at(ledger, EXEC, NOW) <= NOW + 26 * HOUR
    ledger = spend(ledger, 1, NOW)
    assert all(second <= (NOW + MINUTE) // SECOND for second, _ in ledger.seconds)
    assert allowed_now(ledger, EXEC, NOW + 26 * HOUR, 5) == 5


@pytest.mark.parametrize("jump", [2 * MINUTE, HOUR, 2 * HOUR, 3 * DAY])
def test_a_clock_set_back_keeps_spent_requests(jump: int) -> None:
    """What was spent while it was ahead counts as spent now: it is no licence to spend again."""
    day = remaining(UsageLedger(), EXEC, NOW).day
    ledger = spend(UsageLedger(), day, NOW + jump)
    assert allowed_now(ledger, EXEC, NOW, 1) == 0
    assert allowed_now(not_ahead(ledger, NOW), EXEC, NOW + DAY - MINUTE, 1) == 0
    assert allowed_now(not_ahead(ledger, NOW), EXEC, NOW + DAY + 6 * MINUTE, 1) == 1


def test_a_clock_set_back_by_seconds_keeps_spent_requests() -> None:
    """Requests stamped a few seconds ahead count as spent now: they are no licence to spend again."""
    ledger = spend(UsageLedger(), 48, NOW + 20 * SECOND)
    assert allowed_now(ledger, EXEC, NOW, 1) == 0
    assert allowed_now(spend(ledger, 1, NOW), EXEC, NOW + 59 * SECOND, 1) == 0


def test_late_spending_keeps_what_others_spent_since() -> None:
    """A relay whose `now` is 15 s old, as it waited, is counted with what others spent, and their time stays theirs."""
    ledger = spend(spend(UsageLedger(), 45, NOW + 15 * SECOND), 1, NOW)
    assert ledger.seconds == ((NOW // SECOND + 15, 46),)
    assert allowed_now(ledger, EXEC, NOW + 74 * SECOND, 48) == 2
    assert allowed_now(ledger, EXEC, NOW + 77 * SECOND, 48) == 48


def test_requests_recorded_by_a_wrong_clock_count_as_spent_now() -> None:
    """More than a minute ahead no relay that shares a clock can be: it counts from now on, in both windows."""
    ledger = spend(spend(UsageLedger(), 45, NOW + 10 * MINUTE), 1, NOW)
    assert ledger.seconds == ((NOW // SECOND, 46),)
    assert ledger.buckets == ((NOW // (5 * MINUTE), 46),)


# --- what others spend -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "pause"), [(None, MINUTE), (7 * SECOND, 7 * SECOND), (0, SECOND), (9 * DAY, DAY)])
def test_a_429_pauses_the_workspace_for_as_long_as_exec_says(asked: int | None, pause: int) -> None:
    """Nothing is granted before the pause is over, a day at most, and something is right after."""
    ledger = after_429(UsageLedger(), EXEC, asked, NOW)
    assert ledger.paused_until == next_allowed_at(ledger, EXEC, NOW) == NOW + pause
    assert allowed_now(ledger, EXEC, NOW + pause - 1, 1) == 0
    assert allowed_now(ledger, EXEC, NOW + pause, 1) == 1


def test_polls_refused_together_shrink_the_share_once() -> None:
    """Twenty polls that were in flight when the window closed shrink the share once."""
    ledger = after_429(UsageLedger(), EXEC, 30 * SECOND, NOW)
    for k in range(20):
        ledger = after_429(ledger, EXEC, 30 * SECOND, NOW + k)
    assert minute_share(ledger, NOW) == pytest.approx(0.7)
    assert ledger.paused_until == NOW + 19 + 30 * SECOND
    assert ledger.refusals == 1


def test_a_short_429_shrinks_the_minute_and_a_long_one_the_day() -> None:
    """Only the window that Exec's retry_after speaks of shrinks."""
    minute, day = after_429(UsageLedger(), EXEC, 20 * SECOND, NOW), after_429(UsageLedger(), EXEC, 5 * HOUR, NOW)
    assert [minute_share(minute, NOW), day_share(minute, NOW)] == pytest.approx([0.7, 1])
    assert [minute_share(day, NOW), day_share(day, NOW)] == pytest.approx([1, 0.7])


def test_a_429_of_the_day_limits_the_share_to_what_was_spent() -> None:
    """Who was refused after 700 of 800 requests plans with a little less than 700, and tries more again over days."""
    ledger = after_429(spend(UsageLedger(), 700, NOW), EXEC, 5 * HOUR, NOW)
    assert day_share(ledger, NOW) == pytest.approx(0.95 * 700 / 800)
    assert remaining(ledger, EXEC, NOW + 2 * DAY).day == pytest.approx(800 * (1 - (1 - 0.95 * 700 / 800) / 2), abs=1)


def test_three_short_429s_in_a_row_shrink_the_day() -> None:
    """The third in a row, each after its pause, is no matter of the minute, whatever time it gives."""
    ledger, now = spend(UsageLedger(), 600, NOW), NOW
    for _ in range(2):
        ledger = after_429(ledger, EXEC, 30 * SECOND, now)
        now = ledger.paused_until
    assert day_share(ledger, now) == 1
    assert day_share(after_429(ledger, EXEC, 30 * SECOND, now), now) < 0.75


def test_the_share_recovers_when_the_429s_stop() -> None:
    """Half of what was lost comes back every quarter of an hour (the minute) or two days (the day)."""
    ledger = after_429(UsageLedger(), EXEC, None, NOW)
    assert remaining(ledger, EXEC, NOW + MINUTE).minute < 36
    assert minute_share(ledger, NOW + 15 * MINUTE) == pytest.approx(0.85)
    assert remaining(ledger, EXEC, NOW + DAY).minute >= 47


def test_429s_in_a_row_without_a_time_wait_longer_each() -> None:
    """Where Exec never says how long, the pauses double up to a quarter of an hour; a good hour starts afresh."""
    ledger, now, pauses = UsageLedger(), NOW, []
    for _ in range(6):
        ledger = after_429(ledger, EXEC, None, now)
        pauses.append((ledger.paused_until - now) // MINUTE)
        now = ledger.paused_until
    assert pauses == [1, 2, 4, 8, 15, 15]
    assert after_429(ledger, EXEC, None, now + HOUR).paused_until == now + HOUR + MINUTE


@given(st.lists(st.tuples(gaps, st.one_of(st.none(), st.integers(-5, 10 * DAY))), max_size=50))
def test_polling_resumes_after_any_429s(refusals: list[tuple[int, int | None]]) -> None:
    """Whatever 429s came, one request is allowed again within a day and some minutes."""
    ledger, now = UsageLedger(), NOW
    for gap, retry_after in refusals:
        now += gap
        ledger = after_429(spend(ledger, 1, now), EXEC, retry_after, now)
        assert next_allowed_at(ledger, EXEC, now) <= now + DAY + 6 * MINUTE
        assert UsageLedger.from_json(ledger.to_json()) == ledger


# --- what is left ----------------------------------------------------------------------------------------------


def test_remaining_polls_include_those_that_become_free() -> None:
    """Polls spent 20 hours ago come free after four, so they are left over the longer horizons only."""
    ledger = spend(UsageLedger(), 700, NOW - 20 * HOUR)
    found = remaining(ledger, EXEC, NOW)
    within = dict(found.within)
    assert (found.minute, found.day) == (48, 100)
    assert within == {ahead: 100 if ahead <= 4 * HOUR else 800 for ahead in HORIZONS}


def test_horizons_double_up_to_a_day() -> None:
    """From ten minutes on; the minute's allowance is no part of them, as it is a gate at sending."""
    assert [ahead for ahead, _ in remaining(UsageLedger(), EXEC, NOW).within] == list(HORIZONS)
    assert (HORIZONS[0], HORIZONS[1], HORIZONS[-1]) == (10 * MINUTE, 20 * MINUTE, DAY)
    assert {polls for _, polls in remaining(UsageLedger(), EXEC, NOW).within} == {800}


def test_an_allowance_is_at_least_one_request() -> None:
    """A share that rounds to nothing still lets the relay poll."""
    assert allowed_now(UsageLedger(), RateLimit(1, 1, 0.01), NOW, 10) == 1
