"""The rate limiter, compared with a plain count of requests."""

from hypothesis import given
from hypothesis import strategies as st

from relay.model import MINUTE, SECOND
from relay.security import RateLimiter
from tests.make import NOON

STEPS = st.lists(st.integers(0, 20 * SECOND), min_size=1, max_size=200)


ROUNDING = 2**-11
"""Milliseconds: two steps of a double at the size of an instant, about 1.7e12."""


@given(STEPS, st.integers(1, 20), st.integers(1, 120))
def test_never_more_than_burst_and_rate(steps: list[int], burst: int, per_minute: int) -> None:
    """In any stretch of time at most `burst` requests and those of the rate are allowed."""
    buckets, now, taken = RateLimiter(burst, per_minute, 10), NOON, list[int]()
    for step in steps:
        now += step
        if not buckets.acquire("a", now):
            taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            most = burst + (taken[last] - taken[first]) * per_minute / MINUTE
            assert last - first + 1 <= most + 1e-6


@given(STEPS, st.integers(1, 20), st.integers(1, 120))
def test_the_wait_is_exact(steps: list[int], burst: int, per_minute: int) -> None:
    """After that time a request is allowed, and a moment before it is not."""
    buckets, now = RateLimiter(burst, per_minute, 10), NOON
    for step in steps:
        now += step
        if waits := buckets.acquire("a", now):
            assert 0 < waits <= MINUTE / per_minute + ROUNDING
            assert buckets.retry_after("a", now) == waits
            assert buckets.retry_after("a", now + int(waits) + 1) == 0
            if waits > 1:
                assert buckets.retry_after("a", now + int(waits) - 1) > 0


def test_names_have_separate_buckets() -> None:
    """One name's requests do not count for another."""
    buckets = RateLimiter(1, 1, 10)
    assert not buckets.acquire("a", NOON)
    assert buckets.acquire("a", NOON)
    assert not buckets.acquire("b", NOON)


def test_memory_is_bounded() -> None:
    """Of too many names those unused for longest are dropped."""
    buckets = RateLimiter(1, 1, 100)
    for number in range(1_000):
        assert not buckets.acquire(f"name {number}", NOON)
    assert len(buckets) == 100
    assert buckets.retry_after("name 999", NOON)
    assert not buckets.retry_after("name 0", NOON)


def test_a_clock_set_back_locks_nobody_out() -> None:
    """After an hour back, the wait is no longer than with an empty bucket."""
    buckets, before = RateLimiter(2, 60, 10), NOON - 60 * MINUTE
    buckets.acquire("a", NOON)
    assert buckets.retry_after("a", before) == SECOND
    assert buckets.retry_after("a", before + SECOND) == 0
    assert buckets.retry_after("b", before) == 0
