"""Exec's rate limits, without a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import DAY, MINUTE, SECOND
from relay.sandbox.rate_limits import UNLIMITED, Limits, Window, WorkspaceLimiter

gaps = st.lists(st.integers(0, 30 * SECOND), max_size=200)


@given(gaps, st.integers(1, 10))
def test_no_window_exceeds_the_limit(gaps: list[int], limit: int) -> None:
    """For any arrival times no rolling minute exceeds the limit, and no request is refused needlessly."""
    window, now, granted = Window(limit, MINUTE), 0, list[int]()
    for gap in gaps:
        now += gap
        recent = [at for at in granted if now - at < MINUTE]
        assert (window.wait(now) == 0) == (len(recent) < limit)
        if window.wait(now) == 0:
            window.record(now)
            granted.append(now)


@given(gaps, st.integers(1, 10))
def test_wait_is_exact(gaps: list[int], limit: int) -> None:
    """A millisecond before its end a request is refused; at its end it is allowed."""
    window, now = Window(limit, MINUTE), 0
    for gap in gaps:
        now += gap
        if wait := window.wait(now):
            assert window.wait(now + wait - 1) == 1
            assert window.wait(now + wait) == 0
        else:
            window.record(now)


def test_published_limits_are_the_default() -> None:
    """60 requests per minute and 1,000 per day."""
    allowance = WorkspaceLimiter(Limits())
    assert [allowance.acquire(0, creates=False) for _ in range(61)] == [0] * 60 + [MINUTE]
    spent, now = 60, 0
    while spent < 1_000:
        now += SECOND
        spent += allowance.acquire(now, creates=False) == 0
    assert allowance.acquire(now + MINUTE, creates=False) == DAY - now - MINUTE


def test_creations_have_their_own_limit() -> None:
    """The eleventh new job in a minute is refused, while polls succeed; both count towards the 60."""
    allowance = WorkspaceLimiter(Limits())
    assert [allowance.acquire(0, creates=True) for _ in range(11)] == [0] * 10 + [MINUTE]
    assert [allowance.acquire(0, creates=False) for _ in range(51)] == [0] * 50 + [MINUTE]


def test_without_limits_nothing_is_refused() -> None:
    """Switched-off limits allow everything."""
    allowance = WorkspaceLimiter(UNLIMITED)
    assert not any(allowance.acquire(0, creates=True) for _ in range(5_000))


def test_zero_limit_is_refused() -> None:
    """A limit is at least 1."""
    with pytest.raises(ValueError, match="at least 1"):
        Limits(per_minute=0)
