"""The login throttle: wrong keys are throttled by address, and no other address is affected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import HOUR, MINUTE, SECOND
from relay.security import LoginThrottle
from relay.security.login_throttle import BURST, PER_MINUTE, client_network
from tests.make import NOON

HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


def attempt(throttle: LoginThrottle, address: str, hash: str, now: int = NOON) -> bool:
    """Whether a wrong key from this address is checked, and not throttled."""
    return throttle.begin_attempt(address, hash, now) == 0


def exhausted(address: str = HERE) -> LoginThrottle:
    """A throttle after an address has used up its attempts."""
    throttle = LoginThrottle()
    reports = []
    for number in range(BURST):
        assert attempt(throttle, address, f"wrong {number}")
        reports.append(throttle.record_failure(address, NOON))
    assert reports == [False] * (BURST - 1) + [True], "the last one is reported, once"
    return throttle


def test_wrong_keys_are_throttled() -> None:
    """Ten at once, then six a minute: three million of 2^256 in a year."""
    throttle, now, judged = exhausted(), NOON, 0
    assert throttle.begin_attempt(HERE, "next", now) == MINUTE / PER_MINUTE
    for number in range(600):
        now += SECOND
        judged += attempt(throttle, HERE, f"more {number}", now)
    assert judged == 10 * PER_MINUTE


def test_attempts_count_before_their_result() -> None:
    """A thousand attempts before the first result are ten."""
    throttle = LoginThrottle()
    assert sum(attempt(throttle, HERE, f"wrong {number}") for number in range(1_000)) == BURST


def test_an_address_is_reported_once_an_hour() -> None:
    """However many attempts fail."""
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


def test_other_addresses_are_not_throttled() -> None:
    """Each address has its own attempts."""
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


def test_a_right_key_frees_no_attempt_of_wrong_keys() -> None:
    """After an address has used up its attempts, right keys do not make room for wrong ones."""
    throttle = exhausted()
    for _ in range(100):
        throttle.begin_attempt(HERE, "right", NOON)
        throttle.record_success(HERE, "right")
    assert not attempt(throttle, HERE, "wrong again")


def test_a_repeated_wrong_key_counts_once() -> None:
    """A client that keeps using a revoked key uses up nobody's attempts."""
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
def test_ipv6_clients_count_by_network(address: str, source: str) -> None:
    """An IPv6 customer has more addresses than can be counted."""
    assert client_network(address) == source


@given(st.text(max_size=60))
def test_any_text_is_an_address(address: str) -> None:
    """A proxy may send any text."""
    assert client_network(client_network(address)) == client_network(address)


def test_memory_is_bounded() -> None:
    """For any number of addresses and keys."""
    throttle = LoginThrottle(max_addresses=50)
    for number in range(500):
        for wrong in range(BURST * 2):
            attempt(throttle, f"address {number}", f"wrong {wrong}")
            throttle.record_failure(f"address {number}", NOON)
        attempt(throttle, f"address {number}", "right")
        throttle.record_success(f"address {number}", "right")
    assert throttle.size <= 50 * (BURST + 3)
