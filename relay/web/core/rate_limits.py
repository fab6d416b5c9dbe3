"""Limits on requests: for each API key by the minute, and on wrong keys for each address."""

from collections.abc import Callable

from starlette.requests import Request

from relay.model import Instant
from relay.security import LoginThrottle, RateLimiter, is_generated
from relay.telemetry import Telemetry
from relay.web.core.errors import TooManyRequests

_MAX_KEYS = 20_000
"""Keys and tokens that are counted."""


class RequestLimits:
    """The counts of this relay process; another one on the same store has its own."""

    def __init__(self, requests_per_minute: int | None, telemetry: Telemetry, clock: Callable[[], Instant]) -> None:
        self._telemetry, self._clock = telemetry, clock
        self._logins = LoginThrottle()
        self._per_minute = requests_per_minute
        self._requests = RateLimiter(requests_per_minute or 1, requests_per_minute or 1, _MAX_KEYS)

    def check_rate(self, hash: str) -> None:
        """Counts one request of an API key or token, in whatever session it comes. Raises TooManyRequests."""
        if self._per_minute is None:
            return
        if wait := self._requests.acquire(hash, self._clock()):
            self._telemetry.request_refused("rate_limited")
            text = f"at most {self._per_minute} requests a minute with the same key"
            raise TooManyRequests("rate_limited", text, wait)

    def begin_attempt(self, request: Request, hash: str) -> float:
        """Counts an attempt before the key is checked. Pass the result to `record_failure` if the key is wrong."""
        return self._logins.begin_attempt(address_of(request), hash, self._clock())

    def may_be_checked(self, request: Request, token: str, hash: str, wait: float) -> bool:
        """Whether a key is checked although its address has to `wait`: if nobody can guess it, or it was right
        from there before."""
        return not wait or is_generated(token) or self._logins.was_right(address_of(request), hash)

    def record_success(self, request: Request, hash: str) -> None:
        """The key is right: the attempt does not count."""
        self._logins.record_success(address_of(request), hash)

    def record_failure(self, request: Request, wait: float) -> None:
        """The key is wrong. Raises TooManyRequests if the address had used up its attempts before."""
        if wait:
            self._telemetry.request_refused("too_many_wrong_keys")
            raise TooManyRequests("too_many_wrong_keys", "too many unknown API keys came from your address", wait)
        self._telemetry.request_refused("wrong_key")
        address = address_of(request)
        if self._logins.record_failure(address, self._clock()):
            text = "%s sent too many unknown API keys; further ones from there get 429 for now, known keys still work"
            self._telemetry.log.warning(text, address)


def address_of(request: Request) -> str:
    """The address of the client: the connection's other end, or the one that a trusted proxy names."""
    return request.client.host if request.client else ""
