"""Live updates: notify open pages, over server-sent events, when there is something new to fetch.

A page carries the store's change token of the moment before it was read, so changes during loading are not missed. The
token is the store's own, so changes by other relays on the same store count too.
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
"""Seconds between two reads of the change token, for each open page."""
KEEPALIVE_EVERY = 15
"""Reads without a change until a comment line keeps the connection open."""
MAX_STREAMS = 100
"""Pages that may be connected at a time."""


@dataclass(slots=True)
class StreamCount:
    """How many pages are connected."""

    number: int = 0


async def event_stream(page: PageRequest) -> Response:
    """Sends an event `changed` at each change since `seen`, until the page disconnects, its session ends, its key is
    revoked, or the server stops. Raises Unavailable if MAX_STREAMS pages are connected."""
    streams: StreamCount = page.request.app.state.listeners
    if streams.number >= MAX_STREAMS:
        raise Unavailable("too_many_pages", "too many pages are open; reload this page to see changes")
    streams.number += 1  # before the first await: a hundred at once are counted as well
    return _EventStream(page, streams)


class _EventStream(StreamingResponse):
    """An event stream that counts as open until the response has ended, however it ends."""

    def __init__(self, page: PageRequest, streams: StreamCount) -> None:
        # With the stream ends its connection: it is not kept for what the session no longer may.
        headers = {"cache-control": "no-store", "x-accel-buffering": "no", "connection": "close"}
        super().__init__(_stream(page), headers=headers, media_type="text/event-stream")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.number -= 1


async def _stream(page: PageRequest) -> AsyncIterator[str]:
    if page.request.method == "HEAD":  # which has no body: it would never end
        return
    try:
        yield "retry: 3000\n\n"
        before, quiet = _last_token(page) or await page.relay.store.read(dashboard_queries.change_token), 0
        while await session.is_valid(page.relay, page.user):
            token = await page.relay.store.read(dashboard_queries.change_token)
            if token != before:
                before, quiet = token, 0
                yield f"event: changed\nid: {token}\ndata: \n\n"
            elif quiet == KEEPALIVE_EVERY:
                quiet = 0
                yield ": keepalive\n\n"
            quiet += 1
            await asyncio.sleep(POLL_INTERVAL)
    except StoreError as error:
        page.relay.telemetry.log.warning("dashboard: a page gets no live updates until it reconnects: %s", error)


def _last_token(page: PageRequest) -> str | None:
    """The change token of the page; after a reconnect, the token of the last event."""
    return page.request.headers.get("last-event-id") or page.query("seen")
