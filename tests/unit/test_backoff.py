"""Delays: never early, never beyond the cap, never an exception."""

import math
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.backoff import capped_exponential, retry_after, retry_delay
from relay.model import DAY, HOUR, MINUTE, SECOND

NOW = 1_709_287_200_000  # 2024-03-01T10:00:00Z
SCHEDULE = (0, 5 * SECOND, 30 * SECOND, 5 * MINUTE)
jitters = st.floats(min_value=0, max_value=1, exclude_max=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("7", 7_000),
        (" 7 ", 7_000),
        ("1.5", 1_500),
        ("0.0001", 1),
        ("+3", 3_000),
        ("-3", 0),
        (7, 7_000),
        (1.5, 1_500),
        (-1, 0),
        (0, 0),
        ("86400", DAY),
        ("86401", DAY),
        ("9" * 400, DAY),
        (10**400, DAY),
        (math.inf, DAY),
        (-math.inf, 0),
        ("Fri, 01 Mar 2024 10:00:30 GMT", 30_000),
        ("Friday, 01-Mar-24 10:00:30 GMT", 30_000),
        ("Fri Mar  1 10:00:30 2024", 30_000),
        ("Fri, 01 Mar 2024 12:00:30 +0200", 30_000),
        ("Fri, 01 Mar 2024 09:59:59 GMT", 0),
        ("Fri, 01 Mar 2034 10:00:00 GMT", DAY),
        ("2024-03-01T10:00:30Z", 30_000),
    ],
)
def test_seconds_and_dates_become_milliseconds(value: str | float | int, expected: int) -> None:
    """Seconds in every spelling and dates in HTTP's three formats are parsed, and capped."""
    assert retry_after(value, NOW, DAY) == expected


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            "",
            " ",
            "soon",
            "1e3",
            "0x10",
            "١٢",
            "1,5",
            "NaN",
            "inf",
            math.nan,
            True,
            False,
            "12 s",
            "--1",
            "\x00",
        ),
        *("Fri, 99 Foo 2024", "Fri, 01 Mar 99999 10:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 +9959"),
    ],
)
def test_an_invalid_retry_after_is_ignored(value: str | float | None) -> None:
    """A value that is neither a number nor a date counts as absent."""
    assert retry_after(value, NOW, DAY) is None


@given(st.one_of(st.none(), st.text(), st.floats(), st.integers(), st.from_regex(r"[-+]?\d+(\.\d+)?")), st.integers(0))
def test_retry_after_never_raises_nor_exceeds_the_cap(value: str | float | int | None, cap: int) -> None:
    """For any value, the wait is between 0 and the cap."""
    wait = retry_after(value, NOW, cap)
    assert wait is None or 0 <= wait <= cap


@given(st.datetimes(datetime(1971, 1, 1), datetime(9999, 1, 1)))
def test_a_wait_until_a_date_ends_at_that_date(date: datetime) -> None:
    """The wait for a date ends exactly at that date."""
    at = date.replace(microsecond=0, tzinfo=UTC)
    wait = retry_after(format_datetime(at, usegmt=True), NOW, 10**15)
    assert wait == max(int(at.timestamp()) * 1_000 - NOW, 0)


def test_a_date_without_a_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP's old date format has no zone; the machine's own zone is not used."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "JST-9")
        time.tzset()
        wait = retry_after("Fri Mar  1 10:00:30 2024", NOW, DAY)
    time.tzset()
    assert wait == 30_000


@given(st.floats(0, 80_000))
def test_fractions_of_a_millisecond_are_rounded_up(seconds: float) -> None:
    """The relay is never early."""
    wait = retry_after(seconds, NOW, DAY)
    assert wait is not None
    assert seconds * 1_000 <= wait <= seconds * 1_000 + 1


def test_the_schedule_is_used_entry_by_entry() -> None:
    """The first try is due at the first entry, each failed try leads to the next one, and then it is over."""
    walked = [retry_delay(SCHEDULE, tries, 0.0) for tries in range(5)]
    assert walked == [0, 5 * SECOND, 30 * SECOND, 5 * MINUTE, None]


def test_an_empty_schedule_is_exhausted_at_once() -> None:
    """Nothing scheduled is exhausted at once."""
    assert retry_delay((), 0, 0.5) is None


@given(st.lists(st.integers(0, 30 * DAY), max_size=12), st.integers(0, 15), jitters)
def test_a_scheduled_delay_is_never_early_and_at_most_a_fifth_late(
    delays: list[int], tries: int, jitter: float
) -> None:
    """Jitter only adds, and at most 20%; after the end there is no delay."""
    delay = retry_delay(delays, tries, jitter)
    if tries >= len(delays):
        assert delay is None
    else:
        assert delay is not None
        assert delays[tries] <= delay <= delays[tries] * 1.2


def test_jitter_spreads_delays() -> None:
    """Different jitter gives different delays, up to just under 20%."""
    spread = [retry_delay((0, HOUR), 1, jitter / 4) for jitter in range(4)]
    assert spread == [HOUR, 63 * MINUTE, 66 * MINUTE, 69 * MINUTE]


def test_failures_double_the_delay_up_to_the_cap() -> None:
    """5 s, 10 s, 20 s, ... and five minutes from the seventh failure on."""
    delays = [capped_exponential(failures, 5 * SECOND, 5 * MINUTE, 0.0) for failures in range(9)]
    assert delays == [0, 5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]


@given(st.integers(1, 10**12), st.integers(1, DAY), st.integers(1, DAY), jitters)
def test_the_exponential_never_overflows(failures: int, base: int, cap: int, jitter: float) -> None:
    """However many failures, the delay lies between the smaller of base and cap and 20% over the cap."""
    delay = capped_exponential(failures, base, cap, jitter)
    assert min(base, cap) <= delay <= cap * 1.2


@given(st.integers(0, 100), jitters)
def test_more_failures_never_shorten_the_delay(failures: int, jitter: float) -> None:
    """With the same jitter, one more failure waits at least as long."""
    waits = [capped_exponential(count, 5 * SECOND, 5 * MINUTE, jitter) for count in (failures, failures + 1)]
    assert waits == sorted(waits)


@given(st.integers(0, 60), st.integers(-100, 0))
def test_without_failures_there_is_no_delay(failures: int, base: int) -> None:
    """No failure, or no base, means no delay."""
    assert capped_exponential(0, 5 * SECOND, 5 * MINUTE, 0.9) == 0
    assert capped_exponential(failures, base, 5 * MINUTE, 0.9) == 0
