"""How often one may ask: with one API key, and for keys that are none."""

from collections.abc import Callable

from starlette.requests import Request

from relay.model import Instant
from relay.security.login_throttle import LoginThrottle
from relay.security.rate_limiter import RateLimiter
from relay.telemetry import Telemetry
from relay.web.core.errors import TooManyRequests

_KEPT = 20_000
"""Keys, tokens and sessions that are counted."""


class RequestLimits:
    """What this relay has counted; another one on the same store counts for itself."""

    def __init__(self, requests_per_minute: int | None, telemetry: Telemetry, clock: Callable[[], Instant]) -> None:
        self._telemetry, self._clock = telemetry, clock
        self._guesses = LoginThrottle()
        self._per_minute = requests_per_minute
        self._requests = RateLimiter(requests_per_minute or 1, requests_per_minute or 1, _KEPT)

    def check_rate(self, who: str) -> None:
        """One request of `who`: a key or a token, by its hash, or a session. Raises TooMany."""
        if self._per_minute is None:
            return
        if waits := self._requests.acquire(who, self._clock()):
            self._telemetry.request_refused("rate_limited")
            text = f"at most {self._per_minute} requests a minute with the same key"
            raise TooManyRequests("rate_limited", text, waits)

    def check_login_throttle(self, request: Request, hash: str) -> None:
        """Before a key is polled. Raises TooMany where too many wrong ones came from the same address."""
        if waits := self._guesses.retry_after(_address_of(request), hash, self._clock()):  # guard: guesses
            self._telemetry.request_refused("too_many_wrong_keys")
            raise TooManyRequests(
                "too_many_wrong_keys", "too many keys that are not known here came from your address", waits
            )

    def record_success(self, request: Request, hash: str) -> None:
        """The key is known."""
        self._guesses.record_success(_address_of(request), hash)

    def record_failure(self, request: Request, hash: str) -> None:
        """It is not."""
        self._telemetry.request_refused("wrong_key")
        address = _address_of(request)
        if self._guesses.record_failure(address, hash, self._clock()):
            text = "%s sent too many API keys that are not known; more of them are not polled for now"
            self._telemetry.log.warning(text, address)


def _address_of(request: Request) -> str:
    """Where the request comes from: the connection's other end, or whom a trusted proxy names."""
    return request.client.host if request.client else ""
