"""Live change: tells open pages, over server-sent events, when there is something new to fetch.

A page says which mark of the store it was drawn at, so that what changed while it was loading is not missed. The mark
is the store's own: what another relay on the same store does is told as well.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from relay.errors import StoreError
from relay.store.tables import dashboard_queries
from relay.web.core.errors import Unavailable
from relay.web.dashboard import session
from relay.web.dashboard.page import PageRequest

POLL_INTERVAL = 1.0
"""Seconds between two questions to the store, while somebody polls."""
KEEPALIVE_EVERY = 15
"""So many questions without news until a line keeps the connection open."""
MOST = 100
"""Pages that may listen at a time."""


@dataclass(slots=True)
class StreamCount:
    """How many pages listen."""

    number: int = 0


async def event_stream(visit: PageRequest) -> Response:
    """An event `changed` at each change since `seen`, until the page goes away, its key does, or the server stops."""
    listeners: StreamCount = visit.request.app.state.listeners
    if listeners.number >= MOST:
        raise Unavailable("too_many_pages", "too many pages listen; this one shows what is new when it is reloaded")
    listeners.number += 1  # before the first await: a hundred at once are counted as well
    return _EventStream(visit, listeners)


class _EventStream(StreamingResponse):
    """An event stream that counts as open until the response has ended, however it ends."""

    def __init__(self, visit: PageRequest, streams: StreamCount) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(_stream(visit), headers=headers, media_type="text/event-stream")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.number -= 1


async def _stream(visit: PageRequest) -> AsyncIterator[str]:
    try:
        yield "retry: 3000\n\n"
        before, quiet = _seen(visit) or await visit.relay.store.read(dashboard_queries.change_token), 0
        while await session.is_valid(visit.relay, visit.visitor):
            now = await visit.relay.store.read(dashboard_queries.change_token)
            if now != before:
                before, quiet = now, 0
                yield f"event: changed\nid: {now}\ndata: \n\n"
            elif quiet == KEEPALIVE_EVERY:
                quiet = 0
                yield ": still here\n\n"
            quiet += 1
            await asyncio.sleep(POLL_INTERVAL)
    except StoreError as error:
        visit.relay.telemetry.log.warning("a page is no longer told of changes: %s", error)


def _seen(visit: PageRequest) -> str | None:
    """The mark that the page was drawn at; after a break in the connection, the one that it heard of last."""
    return visit.request.headers.get("last-event-id") or visit.query("seen")
