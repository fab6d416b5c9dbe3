"""Throttles wrong API keys by the address that they come from.

An attempt counts before the key is checked, so that a thousand concurrent attempts are throttled like a thousand in a
row; a right key gets its attempt back. A right key that the relay made works whatever its address has tried before: it
has 256 random bits, and no rate of attempts finds one. A key that a person chose may be guessed: from an address that
has used up its attempts it works only if it was right from there before. The same wrong key again is no new attempt: a
client whose key was revoked gets 401 each time, and uses up no other client's attempts. Memory is bounded; each relay
process counts for itself.
"""

from collections import OrderedDict, deque
from ipaddress import IPv6Address, ip_address
from typing import TypeVar

from relay.model import HOUR, Instant
from relay.security.rate_limiter import RateLimiter

BURST = 10
"""Wrong keys that an address may try at once."""
PER_MINUTE = 6
"""Wrong keys that an address may try a minute after that."""

REPORT_EVERY = HOUR
"""Milliseconds between two reports of the same address."""

_MAX_TEXT = 64
_IPV6_PREFIX = 64
"""Bits of an IPv6 address that identify one customer of a provider."""


class LoginThrottle:
    """Counts the attempts of at most `max_addresses` addresses. It handles hashes of keys only."""

    def __init__(self, max_addresses: int = 10_000) -> None:
        self._max = max_addresses
        self._limiter = RateLimiter(BURST, PER_MINUTE, max_addresses)
        self._counted: OrderedDict[str, deque[str]] = OrderedDict()
        """By address: hashes whose attempt is counted, because they are wrong or not checked yet."""
        self._reported: OrderedDict[str, Instant] = OrderedDict()
        self._right: OrderedDict[tuple[str, str], bool] = OrderedDict()
        """Addresses with the hashes that were right from there."""

    @property
    def size(self) -> int:
        """The number of entries in memory."""
        attempts = sum(map(len, self._counted.values()))
        return len(self._limiter) + attempts + len(self._reported) + len(self._right)

    def begin_attempt(self, address: str, hash: str, now: Instant) -> float:
        """Counts an attempt. Returns 0, or the milliseconds to wait if this address has used up its attempts."""
        source = client_network(address)
        hashes = self._counted.get(source) or deque(maxlen=BURST)
        if hash in hashes:
            return 0.0
        if wait := self._limiter.acquire(source, now):  # guard: key-throttle
            return wait
        hashes.append(hash)
        _remember(self._counted, source, hashes, self._max)
        return 0.0

    def record_success(self, address: str, hash: str) -> None:
        """Gives the attempt of a right key back."""
        source = client_network(address)
        _remember(self._right, (source, hash), True, self._max)
        hashes = self._counted.get(source, deque[str]())
        if hash in hashes:
            hashes.remove(hash)
            self._limiter.release(source)

    def was_right(self, address: str, hash: str) -> bool:
        """Whether a key was right from this address before."""
        return (client_network(address), hash) in self._right

    def record_failure(self, address: str, now: Instant) -> bool:
        """To be called for a wrong key. Returns whether to report the address, at most once an hour.

        It is reported if this used up its attempts.
        """
        source = client_network(address)
        last = self._reported.get(source)
        if not self._limiter.retry_after(source, now) or (last is not None and 0 <= now - last < REPORT_EVERY):
            return False
        _remember(self._reported, source, now, self._max)
        return True


def client_network(address: str) -> str:
    """The client that an address belongs to: an IPv4 address, or the IPv6 network of one customer."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:_MAX_TEXT]  # text of a proxy, or a socket without an address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> (128 - _IPV6_PREFIX) << (128 - _IPV6_PREFIX)))
    return str(parsed)


K = TypeVar("K")
V = TypeVar("V")


def _remember(entries: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    entries[key] = value
    entries.move_to_end(key)
    if len(entries) > limit:
        entries.popitem(last=False)
