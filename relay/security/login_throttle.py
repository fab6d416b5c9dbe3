"""Guesses: wrong keys that come from one address are slowed down, and nobody else is.

Who comes with a key that was right from the same address before goes on: a stranger behind the same proxy can't lock
them out. The same wrong key again is no new guess: a client whose key was revoked hears just that, and takes nobody's
turn. What is remembered is bounded, and is each relay's own.
"""

from collections import OrderedDict, deque
from ipaddress import IPv6Address, ip_address
from typing import TypeVar

from relay.model import Instant
from relay.security.rate_limiter import RateLimiter

BURST = 10
"""Wrong keys that an address may try ..."""
PER_MINUTE = 6
"""... and how many then."""

_LONGEST = 64
_PREFIX = 64
"""Bits of an IPv6 address that one customer has for himself."""


class LoginThrottle:
    """What was tried, by address, of at most `kept` addresses. Keys are known by their hashes."""

    def __init__(self, kept: int = 10_000) -> None:
        self._kept = kept
        self._buckets = RateLimiter(BURST, PER_MINUTE, kept)
        self._wrong: OrderedDict[str, deque[str]] = OrderedDict()
        self._right: OrderedDict[tuple[str, str], None] = OrderedDict()

    @property
    def size(self) -> int:
        """How much is remembered."""
        return len(self._buckets) + sum(map(len, self._wrong.values())) + len(self._right)

    def retry_after(self, address: str, hash: str, now: Instant) -> float:
        """Milliseconds until a key from this address is polled; 0: now."""
        source = client_network(address)
        if (source, hash) in self._right or hash in self._wrong.get(source, ()):  # guard: known-client
            return 0.0
        return self._buckets.retry_after(source, now)

    def record_success(self, address: str, hash: str) -> None:
        """A key from this address is known."""
        _remember(self._right, (client_network(address), hash), None, self._kept)

    def record_failure(self, address: str, hash: str, now: Instant) -> bool:
        """A key from this address is not known. Returns whether it was the last one for now."""
        source = client_network(address)
        self._right.pop((source, hash), None)
        tried = self._wrong.get(source) or deque(maxlen=BURST)
        if hash in tried:
            return False
        tried.append(hash)
        _remember(self._wrong, source, tried, self._kept)
        self._buckets.acquire(source, now)
        return self._buckets.retry_after(source, now) > 0


def client_network(address: str) -> str:
    """Who is counted as one: an IPv4 address, or the IPv6 network that one customer has."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:_LONGEST]  # what a proxy says, or a socket that has no address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> (128 - _PREFIX) << (128 - _PREFIX)))
    return str(parsed)


K = TypeVar("K")
V = TypeVar("V")


def _remember(where: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    where[key] = value
    where.move_to_end(key)
    if len(where) > most:
        where.popitem(last=False)
