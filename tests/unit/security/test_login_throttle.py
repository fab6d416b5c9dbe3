"""Wrong keys are slowed down where they come from, and nobody else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import HOUR, MINUTE, SECOND
from relay.security import LoginThrottle
from relay.security.login_throttle import BURST, PER_MINUTE, client_network
from tests.make import NOON

HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


def attempt(throttle: LoginThrottle, address: str, hash: str, now: int = NOON) -> bool:
    """Whether a wrong key from this address is judged."""
    return throttle.begin_attempt(address, hash, now) == 0


def exhausted(address: str = HERE) -> LoginThrottle:
    """A throttle after an address has tried as many wrong keys as it may."""
    throttle = LoginThrottle()
    reports = []
    for number in range(BURST):
        assert attempt(throttle, address, f"wrong {number}")
        reports.append(throttle.record_failure(address, NOON))
    assert reports == [False] * (BURST - 1) + [True], "the last one is reported, once"
    return throttle


def test_guesses_are_slowed() -> None:
    """Ten at once, then six a minute: whoever tries for a year has tried three million of 2^256."""
    throttle, now, judged = exhausted(), NOON, 0
    assert throttle.begin_attempt(HERE, "next", now) == MINUTE / PER_MINUTE
    for number in range(600):
        now += SECOND
        judged += attempt(throttle, HERE, f"more {number}", now)
    assert judged == 10 * PER_MINUTE


def test_attempts_count_before_they_are_judged() -> None:
    """A thousand begun before the first result are ten."""
    throttle = LoginThrottle()
    assert sum(attempt(throttle, HERE, f"wrong {number}") for number in range(1_000)) == BURST


def test_an_address_is_reported_once_an_hour() -> None:
    """However long it goes on, and however many fail at once."""
    throttle = LoginThrottle()
    for number in range(BURST):
        attempt(throttle, HERE, f"wrong {number}")
    assert [throttle.record_failure(HERE, NOON) for _ in range(BURST)] == [True] + [False] * (BURST - 1)
    for minute in range(60):
        now = NOON + minute * MINUTE
        for number in range(BURST):
            attempt(throttle, HERE, f"more {minute} {number}", now)
        assert not throttle.record_failure(HERE, now)
    for number in range(BURST):
        attempt(throttle, HERE, f"later {number}", NOON + HOUR)
    assert throttle.record_failure(HERE, NOON + HOUR)


def test_other_addresses_go_on() -> None:
    """A stranger's guesses are nobody else's."""
    assert attempt(exhausted(), ELSEWHERE, "mine")


def test_a_right_key_gets_its_attempt_back() -> None:
    """A thousand right keys use up nothing, one after the other, and with the same one at once."""
    throttle = LoginThrottle()
    for number in range(1_000):
        attempt(throttle, HERE, f"right {number}")
        throttle.record_success(HERE, f"right {number}")
    for _ in range(100):
        attempt(throttle, HERE, "right")
    for _ in range(100):
        throttle.record_success(HERE, "right")
    assert sum(attempt(throttle, HERE, f"wrong {number}") for number in range(100)) == BURST


def test_a_right_key_gives_back_no_attempt_of_others() -> None:
    """Once an address has used up its attempts, right keys do not make room for wrong ones."""
    throttle = exhausted()
    for _ in range(100):
        throttle.begin_attempt(HERE, "right", NOON)
        throttle.record_success(HERE, "right")
    assert not attempt(throttle, HERE, "wrong again")


def test_the_same_wrong_key_is_no_new_guess() -> None:
    """A client that goes on with a revoked key uses up nobody's attempts."""
    throttle = LoginThrottle()
    for _ in range(1_000):
        assert attempt(throttle, HERE, "revoked")
        throttle.record_failure(HERE, NOON)
    assert attempt(throttle, HERE, "another")


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
def test_networks_of_clients(address: str, source: str) -> None:
    """An IPv6 customer has more addresses than anybody could count: the network is counted."""
    assert client_network(address) == source


@given(st.text(max_size=60))
def test_any_text_is_an_address(address: str) -> None:
    """What a proxy says may be anything."""
    assert client_network(client_network(address)) == client_network(address)


def test_memory_is_bounded() -> None:
    """However many addresses guess, and however many keys are right."""
    throttle = LoginThrottle(max_addresses=50)
    for number in range(500):
        for wrong in range(BURST * 2):
            attempt(throttle, f"address {number}", f"wrong {wrong}")
            throttle.record_failure(f"address {number}", NOON)
        attempt(throttle, f"address {number}", "right")
        throttle.record_success(f"address {number}", "right")
    assert throttle.size <= 50 * (BURST + 2)
