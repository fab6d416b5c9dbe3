"""Exec's rate limits, without any server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import DAY, MINUTE, SECOND
from relay.sandbox.rate_limits import UNLIMITED, Limits, Window, WorkspaceLimiter

gaps = st.lists(st.integers(0, 30 * SECOND), max_size=200)


@given(gaps, st.integers(1, 10))
def test_no_stretch_ever_holds_more_than_the_limit(gaps: list[int], limit: int) -> None:
    """However requests come, no rolling minute holds more than the limit, and none is refused without need."""
    window, now, granted = Window(limit, MINUTE), 0, list[int]()
    for gap in gaps:
        now += gap
        recent = [at for at in granted if now - at < MINUTE]
        assert (window.wait(now) == 0) == (len(recent) < limit)
        if window.wait(now) == 0:
            window.record(now)
            granted.append(now)


@given(gaps, st.integers(1, 10))
def test_the_wait_is_exact(gaps: list[int], limit: int) -> None:
    """A millisecond before it is over, a request is refused; when it is over, it is granted."""
    window, now = Window(limit, MINUTE), 0
    for gap in gaps:
        now += gap
        if wait := window.wait(now):
            assert window.wait(now + wait - 1) == 1
            assert window.wait(now + wait) == 0
        else:
            window.record(now)


def test_the_published_limits_are_the_default() -> None:
    """60 requests a minute and 1,000 a day."""
    allowance = WorkspaceLimiter(Limits())
    assert [allowance.acquire(0, creates=False) for _ in range(61)] == [0] * 60 + [MINUTE]
    spent, now = 60, 0
    while spent < 1_000:
        now += SECOND
        spent += allowance.acquire(now, creates=False) == 0
    assert allowance.acquire(now + MINUTE, creates=False) == DAY - now - MINUTE


def test_creating_has_a_limit_of_its_own() -> None:
    """The eleventh new job of a minute is refused, while polls go on; both spend the same 60."""
    allowance = WorkspaceLimiter(Limits())
    assert [allowance.acquire(0, creates=True) for _ in range(11)] == [0] * 10 + [MINUTE]
    assert [allowance.acquire(0, creates=False) for _ in range(51)] == [0] * 50 + [MINUTE]


def test_without_limits_nothing_is_refused() -> None:
    """Limits that are off grant everything."""
    allowance = WorkspaceLimiter(UNLIMITED)
    assert not any(allowance.acquire(0, creates=True) for _ in range(5_000))


def test_zero_limit_is_refused() -> None:
    """A limit is at least 1."""
    with pytest.raises(ValueError, match="at least 1"):
        Limits(per_minute=0)
