"""Requests that stay open: how long they may wait, and how they learn that their client has gone."""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request

from relay.errors import RequestError
from relay.model import SECOND
from relay.telemetry import WaitKind
from relay.waiting import Outcome, TooManyWaiters, Waiter
from relay.web.core.errors import TooManyRequests, Unauthenticated, Unavailable
from relay.web.core.route import RequestContext
from relay.web.server.http_protocol import CONNECTION, BoundedHttpProtocol

MAX_WAIT = 300
"""Seconds that a request may wait; a longer wish is cut to it."""

EARLY = 1.0
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
        return self.seconds - min(EARLY, self.seconds / 2)


def granted_wait(headers: Headers, asked: int | None) -> GrantedWait:
    """The wait that a request asked for, by its query (`asked`) or else by `Prefer`; 0 seconds if by neither."""
    if asked is not None:
        return GrantedWait(min(asked, MAX_WAIT), VARY)
    preferences = (part for value in headers.getlist("prefer") for part in value.split(","))
    waits = (match for part in preferences if (match := _WAIT.fullmatch(part.partition(";")[0].strip())))
    if (first := next(waits, None)) is None:
        return GrantedWait(0, VARY)
    seconds = min(int(first[1]), MAX_WAIT)
    return GrantedWait(seconds, {**VARY, "preference-applied": f"wait={seconds}"})


class OpenRequest:
    """A request that waits for a topic. Made by `open_request`."""

    def __init__(self, waiter: Waiter) -> None:
        self._waiter, self.outcome, self.has_waited = waiter, "ended", False

    @property
    def wakes(self) -> int:
        """Requests that were woken by the same wake can share what they read."""
        return self._waiter.wakes

    @property
    def has_news(self) -> bool:
        """Whether the next `wait` returns at once."""
        return self._waiter.has_news

    async def wait(self, deadline: float) -> Outcome:
        """Why the request goes on. Raises Unauthenticated if its key was revoked meanwhile."""
        self.has_waited = True
        outcome = await self._waiter.wait(deadline)
        self.outcome = "ended" if outcome is Outcome.NEWS else outcome.value
        if outcome is Outcome.REVOKED:
            raise Unauthenticated("invalid_api_key", "the API key was revoked, or may no longer read")
        return outcome


@contextmanager
def open_request(call: RequestContext, kind: WaitKind, topic: str, granted: float) -> Iterator[OpenRequest]:
    """The request as one that waits for the topic, from here to the end of the block, for `granted` seconds.

    Raises TooManyRequests if its key has too many, Unavailable if there are too many in all.
    """
    telemetry = call.relay.telemetry
    try:
        with call.relay.waiters.open(topic, call.caller.key_hash) as waiter, call.relay.feed.following():
            telemetry.wait_began(kind)
            one = OpenRequest(waiter)
            try:
                with _until_gone(call.request, lambda: waiter.resolve(Outcome.GONE)):
                    yield one
            finally:
                telemetry.wait_ended(kind, one.outcome, granted)
    except TooManyWaiters as error:
        telemetry.request_refused("too_many_waits")
        raise _refusal(error) from None


def _refusal(error: TooManyWaiters) -> RequestError:
    if error.of_all:
        return Unavailable("too_many_waits", f"{error}; try again later, or poll without wait")
    return TooManyRequests("too_many_waits", f"{error} (security.waits_per_key)", RETRY_AFTER)


@contextmanager
def _until_gone(request: Request, on_gone: Callable[[], None]) -> Iterator[None]:
    """Has `on_gone` called if the client disconnects before the end of the block."""
    connection = request.scope.get("extensions", {}).get(CONNECTION)
    if isinstance(connection, BoundedHttpProtocol):
        # A callback of the connection: a task for each of ten thousand requests would cost as much as they do.
        connection.exempt()
        connection.call_when_lost(on_gone)
        try:
            yield
        finally:
            connection.call_when_lost(None)
        return
    receiving = asyncio.create_task(_receive_until_gone(request, on_gone))
    try:
        yield
    finally:
        receiving.cancel()


async def _receive_until_gone(request: Request, on_gone: Callable[[], None]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    on_gone()
