"""Instants as text, and back."""

from hypothesis import example, given
from hypothesis import strategies as st

from relay.model import from_rfc3339, to_rfc3339

LAST = 253_402_300_799_999
"""The end of the year 9999."""


@given(st.integers(0, LAST))
@example(14_332_730_460_123)
@example(LAST)
def test_a_time_survives_the_round_trip_to_the_millisecond(at: int) -> None:
    """What is written is read as the same instant, in any year that can be written (a fraction lost one by 2424)."""
    assert from_rfc3339(to_rfc3339(at)) == at
