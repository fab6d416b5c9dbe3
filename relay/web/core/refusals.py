"""Refused acts in the audit log: unknown keys, and keys that lack a scope; bounded, so that nobody fills the store."""

from collections.abc import Callable

from starlette.requests import Request

from relay.errors import StoreError
from relay.model import Actor, AuditAction, Instant
from relay.security import RateLimiter, client_network
from relay.service import Relay
from relay.store.tables import audit
from relay.web.core.rate_limits import address_of

_PER_MINUTE_OF_ONE = 0.1
"""Entries of one client and kind: one in ten minutes."""
_PER_MINUTE = 1
_BURST = 60
_MAX_CLIENTS = 10_000


class RefusalLog:
    """Which refusals get an entry. `left_out` counts the others since the last entry."""

    def __init__(self, clock: Callable[[], Instant]) -> None:
        self._clock = clock
        self._of_one = RateLimiter(1, _PER_MINUTE_OF_ONE, _MAX_CLIENTS)
        self._of_all = RateLimiter(_BURST, _PER_MINUTE, 1)
        self.left_out = 0

    async def record(self, relay: Relay, request: Request, action: AuditAction, actor: Actor, **detail: object) -> None:
        """Writes an entry, unless there are too many. If the store fails, the log has a line instead."""
        now, who = self._clock(), f"{action}:{actor.key_id}:{client_network(address_of(request))}"
        if self._of_one.acquire(who, now) or self._of_all.acquire("", now):
            self.left_out += 1
            return
        if self.left_out:
            detail |= {"left_out": self.left_out}
        what = f"{request.method} {_template_of(request)}"
        try:
            await relay.store.write(lambda tx: audit.add(tx, actor, action, now, None, None, call=what, **detail))
        except StoreError as error:
            relay.telemetry.log.error("a refusal (%s) is not in the audit log: %s", what, error)
        else:
            self.left_out = 0


def _template_of(request: Request) -> str:
    """The path as declared, such as `/endpoints/{id}`: what a client put in its place may be anything."""
    return str(getattr(request.scope.get("route"), "path", "/"))
