"""Requests that stay open: how long they may wait, and how they learn that their client has gone."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Self

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from relay.errors import RequestError
from relay.model import SECOND
from relay.telemetry import WaitKind
from relay.waiting import Outcome, TooManyWaiters, Waiter
from relay.web.core.errors import TooManyRequests, Unauthenticated, Unavailable
from relay.web.core.route import RequestContext
from relay.web.server.http_protocol import CONNECTION, BoundedHttpProtocol
from relay.web.server.middleware import PARKED

MAX_WAIT = 300
"""Seconds that a request may wait; a longer wait is cut to it."""

ANSWER_BEFORE = 1.0
"""Seconds that an answer comes before the time is over: a proxy with the same limit would answer first."""

RETRY_AFTER = 2 * SECOND
"""When a request that found no place to wait may try again."""

PREFER_HEADER: Mapping[str, tuple[str, str | None]] = {
    "Prefer": (f"`wait=N`: as the parameter `wait`, up to {MAX_WAIT} seconds; a malformed one is ignored", None)
}
VARY = {"vary": "Prefer"}

_WAIT = re.compile(r"wait\s*=\s*\"?([0-9]{1,9})\"?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class GrantedWait:
    """How long a request may wait, in seconds, and the headers of its answer."""

    seconds: int
    headers: Mapping[str, str]

    @property
    def answered_within(self) -> float:
        """Seconds until it is answered at the latest: a little less than it may wait."""
        return self.seconds - min(ANSWER_BEFORE, self.seconds / 2)


def granted_wait(headers: Headers, query_seconds: int | None) -> GrantedWait:
    """The wait that the query (`query_seconds`) or else the header `Prefer` asks for; 0 seconds if neither does."""
    if query_seconds is not None:
        return GrantedWait(min(query_seconds, MAX_WAIT), VARY)
    preferences = (part for value in headers.getlist("prefer") for part in value.split(","))
    waits = (match for part in preferences if (match := _WAIT.fullmatch(part.partition(";")[0].strip())))
    if (first := next(waits, None)) is None:
        return GrantedWait(0, VARY)
    seconds = min(int(first[1]), MAX_WAIT)
    return GrantedWait(seconds, {**VARY, "preference-applied": f"wait={seconds}"})


class ParkedResponse(Response):
    """A response that is not there yet: `make` makes it, once the layers of the application are done with the request.

    A request that waits costs memory for each layer that waits for it, and for its headers. So the handler checks the
    request and returns this; `ResponseMiddleware` then drops the headers, and awaits `make`, which waits.
    """

    def __init__(self, make: Callable[[], Awaitable[Response]]) -> None:
        super().__init__()
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][PARKED] = self._make


class OpenRequest:
    """A request that waits for a topic, for `granted` seconds; a context manager.

    Entering it raises TooManyRequests if its key has too many, and Unavailable if there are too many in all.
    """

    __slots__ = ("_connection", "_granted", "_key_hash", "_kind", "_receive", "_relay", "_task", "_topic", "_waiter")
    _waiter: Waiter

    def __init__(self, call: RequestContext, kind: WaitKind, topic: str, granted: float) -> None:
        self._relay, self._key_hash = call.relay, call.caller.key_hash
        self._kind, self._topic, self._granted = kind, topic, granted
        self._connection = call.request.scope.get("extensions", {}).get(CONNECTION)
        self._receive = call.request.receive
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        try:
            self._waiter = self._relay.waiters.open(self._topic, self._key_hash)
        except TooManyWaiters as error:
            self._relay.telemetry.request_refused("too_many_waits")
            raise _refusal(error) from None
        self._relay.feed.follow()
        self._relay.telemetry.wait_began(self._kind)
        if isinstance(self._connection, BoundedHttpProtocol):
            # A callback of the connection: a task for each of ten thousand requests would cost as much as they do.
            self._connection.park()
            self._connection.call_when_lost(self._on_gone)
        else:
            self._task = asyncio.create_task(self._receive_until_gone())
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._connection, BoundedHttpProtocol):
            self._connection.call_when_lost(None)
        elif self._task is not None:
            self._task.cancel()
        self._relay.waiters.close(self._waiter)
        self._relay.feed.unfollow()
        self._relay.telemetry.wait_ended(self._kind, self._waiter.last_outcome, self._granted)

    @property
    def wakes(self) -> int:
        """Requests that were woken by the same wake can share what they read."""
        return self._waiter.wakes

    @property
    def has_waited(self) -> bool:
        """Whether `wait` was called."""
        return self._waiter.last_outcome is not None

    @property
    def has_news(self) -> bool:
        """Whether the next `wait` returns at once."""
        return self._waiter.has_news

    async def wait(self, deadline: float) -> Outcome:
        """Why the request goes on. Raises Unauthenticated if its key was revoked meanwhile."""
        outcome = await self._waiter.wait(deadline)
        if outcome is Outcome.REVOKED:
            raise Unauthenticated("invalid_api_key", "the API key was revoked, or may no longer read")
        return outcome

    def _on_gone(self) -> None:
        self._waiter.resolve(Outcome.GONE)

    async def _receive_until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._on_gone()


def _refusal(error: TooManyWaiters) -> RequestError:
    if error.of_all:
        return Unavailable("too_many_waits", f"{error}; try again later, or poll without wait")
    return TooManyRequests("too_many_waits", f"{error} (security.waits_per_key)", RETRY_AFTER)
