"""How often one may ask: with one API key, and for keys that are none."""

from collections.abc import Callable

from starlette.requests import Request

from relay.buckets import Buckets
from relay.guesses import Guesses
from relay.model import Instant
from relay.telemetry import Telemetry
from relay.web.problems import TooMany

_KEPT = 20_000
"""Keys, tokens and sessions that are counted."""


class Limits:
    """What this relay has counted; another one on the same store counts for itself."""

    def __init__(self, requests_per_minute: int | None, telemetry: Telemetry, clock: Callable[[], Instant]) -> None:
        self._telemetry, self._clock = telemetry, clock
        self._guesses = Guesses()
        self._per_minute = requests_per_minute
        self._requests = Buckets(requests_per_minute or 1, requests_per_minute or 1, _KEPT)

    def spend(self, who: str) -> None:
        """One request of `who`: a key or a token, by its hash, or a session. Raises TooMany."""
        if self._per_minute is None:
            return
        if waits := self._requests.take(who, self._clock()):
            self._telemetry.refused("rate_limited")
            text = f"at most {self._per_minute} requests a minute with the same key"
            raise TooMany("rate_limited", text, waits)

    def judge(self, request: Request, hash: str) -> None:
        """Before a key is looked at. Raises TooMany where too many wrong ones came from the same address."""
        if waits := self._guesses.wait(_address_of(request), hash, self._clock()):  # guard: guesses
            self._telemetry.refused("too_many_wrong_keys")
            raise TooMany("too_many_wrong_keys", "too many keys that are not known here came from your address", waits)

    def was_right(self, request: Request, hash: str) -> None:
        """The key is known."""
        self._guesses.was_right(_address_of(request), hash)

    def was_wrong(self, request: Request, hash: str) -> None:
        """It is not."""
        self._telemetry.refused("wrong_key")
        address = _address_of(request)
        if self._guesses.was_wrong(address, hash, self._clock()):
            text = "%s sent too many API keys that are not known; more of them are not looked at for now"
            self._telemetry.log.warning(text, address)


def _address_of(request: Request) -> str:
    """Where the request comes from: the connection's other end, or whom a trusted proxy names."""
    return request.client.host if request.client else ""
