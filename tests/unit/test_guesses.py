"""Wrong keys are slowed down where they come from, and nobody else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.guesses import AT_ONCE, PER_MINUTE, Guesses, source_of
from relay.model import MINUTE, SECOND
from tests.make import NOON

HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


def guessed_out(address: str = HERE) -> Guesses:
    """What is left after an address has tried as many wrong keys as it may."""
    made = Guesses()
    told = [made.was_wrong(address, f"wrong {number}", NOON) for number in range(AT_ONCE)]
    assert told == [False] * (AT_ONCE - 1) + [True], "the last one is told, once"
    return made


def test_guesses_are_slowed() -> None:
    """Ten at once, then six a minute: whoever tries for a year has tried three million of 2^256."""
    made, now = guessed_out(), NOON
    assert made.wait(HERE, "next", now) == MINUTE / PER_MINUTE
    looked_at = 0
    for number in range(600):
        now += SECOND
        if not made.wait(HERE, f"more {number}", now):
            made.was_wrong(HERE, f"more {number}", now)
            looked_at += 1
    assert looked_at == 10 * PER_MINUTE


def test_other_addresses_go_on() -> None:
    """A stranger's guesses are nobody else's."""
    assert guessed_out().wait(ELSEWHERE, "mine", NOON) == 0


def test_who_was_right_before_goes_on() -> None:
    """Behind one proxy with a stranger who guesses, a known client is not locked out; the stranger is."""
    made = Guesses()
    made.was_right(HERE, "mine")
    for number in range(AT_ONCE):
        made.was_wrong(HERE, f"wrong {number}", NOON)
    assert made.wait(HERE, "mine", NOON) == 0
    assert made.wait(HERE, "another", NOON) > 0
    assert made.wait(ELSEWHERE, "mine", NOON) == 0


def test_the_same_wrong_key_is_no_new_guess() -> None:
    """A client that goes on with a revoked key hears that it is wrong, and takes nobody's turn."""
    made = Guesses()
    made.was_right(HERE, "revoked")
    for _ in range(1_000):
        assert made.wait(HERE, "revoked", NOON) == 0
        made.was_wrong(HERE, "revoked", NOON)
    assert made.wait(HERE, "mine", NOON) == 0


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
    assert source_of(address) == source


@given(st.text(max_size=60))
def test_any_address_is_somebody_s(address: str) -> None:
    """What a proxy says may be anything."""
    assert source_of(source_of(address)) == source_of(address)


def test_what_is_remembered_is_bounded() -> None:
    """However many addresses guess, and however many keys are right."""
    made = Guesses(kept=50)
    for number in range(500):
        for wrong in range(AT_ONCE * 2):
            made.was_wrong(f"address {number}", f"wrong {wrong}", NOON)
        made.was_right(f"address {number}", "right")
    assert made.size <= 50 * (AT_ONCE + 2)
