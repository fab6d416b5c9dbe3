"""Quiet hours: wall time of a zone, on ordinary nights and on those on which the clock changes."""

import zoneinfo
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import HOUR, MINUTE, InvalidQuietHours, from_rfc3339, parse_quiet_hours, quiet_until

BERLIN = "22:00-07:00 Europe/Berlin"


def at(text: str) -> int:
    instant = from_rfc3339(text)
    assert instant is not None
    return instant


@pytest.mark.parametrize(
    ("first", "end"),
    [
        ("2026-07-01T20:00:00Z", "2026-07-02T05:00:00Z"),
        ("2026-01-10T21:00:00Z", "2026-01-11T06:00:00Z"),
        ("2026-10-24T20:00:00Z", "2026-10-25T06:00:00Z"),  # ten hours: the clock goes back
        ("2027-03-27T21:00:00Z", "2027-03-28T05:00:00Z"),  # eight hours: the clock goes forward
    ],
)
def test_the_night_is_that_of_the_zone(first: str, end: str) -> None:
    """The start is inside, the end is not, whatever the offset from UTC is that night."""
    assert quiet_until(BERLIN, at(first) - 1) is None
    for inside in (at(first), at(first) + 3 * HOUR + 1, at(end) - 1):
        assert quiet_until(BERLIN, inside) == at(end)
    assert quiet_until(BERLIN, at(end)) is None


def test_zones_are_known_on_a_machine_without_any() -> None:
    """A slim image has no zone data of its own: the package tzdata has it."""
    zoneinfo.reset_tzpath(to=[])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        assert quiet_until(BERLIN, at("2026-07-01T20:00:00Z")) == at("2026-07-02T05:00:00Z")
    finally:
        zoneinfo.reset_tzpath()


def test_an_end_in_the_missing_hour_is_the_first_instant_after_it() -> None:
    """02:30 does not exist on that night: the window ends at 03:00 summer time."""
    assert quiet_until("23:00-02:30 Europe/Berlin", at("2027-03-28T00:59:00Z")) == at("2027-03-28T01:00:00Z")


def test_a_window_in_the_doubled_hour_covers_both_passes() -> None:
    """02:00 to 03:00 happens twice, and is quiet twice."""
    for inside in ("2026-10-25T00:10:00Z", "2026-10-25T01:10:00Z"):
        assert quiet_until("02:00-03:00 Europe/Berlin", at(inside)) == at("2026-10-25T02:00:00Z")


@given(st.integers(0, 4_000_000_000), st.sampled_from([BERLIN, "00:00-23:59 UTC", "09:00-17:30 America/New_York"]))
def test_a_held_delivery_is_always_released(seconds: int, text: str) -> None:
    """The end is outside the window, after now, and at most a day and the hour of a clock change away."""
    now = seconds * 1_000
    window = parse_quiet_hours(text)
    until = quiet_until(text, now)
    wall = datetime.fromtimestamp(seconds, UTC).astimezone(window.zone).time()
    assert (until is None) == (not window.contains(now))
    if until is not None:
        assert now < until <= now + 25 * HOUR + MINUTE
        assert not window.contains(until)
        assert window.contains(until - 1), wall


@pytest.mark.parametrize(
    "text",
    ["", "22-07", "22:00-07:00", "24:00-07:00 UTC", "22:00-22:00 UTC", "22:00-07:00 Mars/Base", "22:00-07:00 ../etc"],
)
def test_what_is_no_window_is_refused(text: str) -> None:
    """A wrong window or an unknown zone is said when it is saved; one that is stored all the same holds nothing."""
    with pytest.raises(InvalidQuietHours):
        parse_quiet_hours(text)
    assert quiet_until(text, 0) is None
    assert quiet_until(None, 0) is None
