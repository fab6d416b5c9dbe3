"""Wrong keys are slowed down where they come from, and nobody else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import MINUTE, SECOND
from relay.security.login_throttle import BURST, PER_MINUTE, LoginThrottle, client_network
from tests.make import NOON

HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


def guessed_out(address: str = HERE) -> LoginThrottle:
    """What is left after an address has tried as many wrong keys as it may."""
    made = LoginThrottle()
    told = [made.record_failure(address, f"wrong {number}", NOON) for number in range(BURST)]
    assert told == [False] * (BURST - 1) + [True], "the last one is told, once"
    return made


def test_guesses_are_slowed() -> None:
    """Ten at once, then six a minute: whoever tries for a year has tried three million of 2^256."""
    made, now = guessed_out(), NOON
    assert made.retry_after(HERE, "next", now) == MINUTE / PER_MINUTE
    polled_at = 0
    for number in range(600):
        now += SECOND
        if not made.retry_after(HERE, f"more {number}", now):
            made.record_failure(HERE, f"more {number}", now)
            polled_at += 1
    assert polled_at == 10 * PER_MINUTE


def test_other_addresses_go_on() -> None:
    """A stranger's guesses are nobody else's."""
    assert guessed_out().retry_after(ELSEWHERE, "mine", NOON) == 0


def test_who_was_right_before_goes_on() -> None:
    """Behind one proxy with a stranger who guesses, a known client is not locked out; the stranger is."""
    made = LoginThrottle()
    made.record_success(HERE, "mine")
    for number in range(BURST):
        made.record_failure(HERE, f"wrong {number}", NOON)
    assert made.retry_after(HERE, "mine", NOON) == 0
    assert made.retry_after(HERE, "another", NOON) > 0
    assert made.retry_after(ELSEWHERE, "mine", NOON) == 0


def test_the_same_wrong_key_is_no_new_guess() -> None:
    """A client that goes on with a revoked key hears that it is wrong, and takes nobody's turn."""
    made = LoginThrottle()
    made.record_success(HERE, "revoked")
    for _ in range(1_000):
        assert made.retry_after(HERE, "revoked", NOON) == 0
        made.record_failure(HERE, "revoked", NOON)
    assert made.retry_after(HERE, "mine", NOON) == 0


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
        ("unix socket", "unix socket"),
        ("x" * 30_000, "x" * 64),
    ],
)
def test_who_counts_as_one(address: str, source: str) -> None:
    """An IPv6 customer has more addresses than anybody could count: the network is counted."""
    assert client_network(address) == source


@given(st.text(max_size=60))
def test_any_address_is_somebody_s(address: str) -> None:
    """What a proxy says may be anything."""
    assert client_network(client_network(address)) == client_network(address)


def test_what_is_remembered_is_bounded() -> None:
    """However many addresses guess, and however many keys are right."""
    made = LoginThrottle(kept=50)
    for number in range(500):
        for wrong in range(BURST * 2):
            made.record_failure(f"address {number}", f"wrong {wrong}", NOON)
        made.record_success(f"address {number}", "right")
    assert made.size <= 50 * (BURST + 2)
