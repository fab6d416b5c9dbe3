"""The event feed as server-sent events: one response that stays open."""

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from relay.errors import Gone, StoreError
from relay.model import WatchState
from relay.model.feed_cursor import FeedCursor
from relay.service import Relay
from relay.store import Tx
from relay.store.tables import watches
from relay.store.tables.events import EventFilter, FeedEvent
from relay.waiting import FeedReader, Outcome
from relay.web.core import errors
from relay.web.core.errors import Unauthenticated
from relay.web.core.event_view import EventView
from relay.web.core.open_request import OpenRequest

HEARTBEAT = 15.0
"""Seconds without an event until a comment shows that the stream lives."""

RECONNECT_MS = 3_000
"""Milliseconds after which a browser reconnects."""

_BATCH = 100

_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    # `no-transform`: a proxy that compresses would hold events back until it has a block of them.
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
}


class EventStream(Response):
    """A stream of events from `after` on."""

    def __init__(
        self, relay: Relay, waiting: OpenRequest, view: EventView, event_filter: EventFilter, after: FeedCursor | str
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._relay, self._waiting, self._view, self._event_filter, self._after = (
            relay,
            waiting,
            view,
            event_filter,
            after,
        )

    async def opened(self) -> Response:
        """The stream itself, or the error if too many requests wait."""
        self._waiting.__enter__()
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":  # which has no body, so its client goes on with the connection
                async for text in self._messages():
                    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._waiting.__exit__()

    async def _messages(self) -> AsyncIterator[str]:
        yield f"retry: {RECONNECT_MS}\n\n"
        try:
            reader = await FeedReader.open(self._relay.store, self._relay.feed, self._after, self._event_filter)
            yield message("hello", {"cursor": reader.cursor()}, reader.cursor())
            async for text in self._events(reader):
                yield text
        except (Gone, Unauthenticated) as error:
            yield message("error", errors.envelope(error)["error"])
        except StoreError as error:
            self._relay.telemetry.log.warning("an event stream ends, its client may reconnect: %s", error)

    async def _events(self, reader: FeedReader) -> AsyncIterator[str]:
        """Events as they come, with heartbeats, until the client goes, the relay stops, or the job has ended."""
        loop, outcome = asyncio.get_running_loop(), Outcome.NEWS
        while outcome in (Outcome.NEWS, Outcome.TIMED_OUT):
            has_ended = outcome is Outcome.NEWS and await self._job_has_ended()
            while batch := await reader.read(_BATCH):
                now = self._relay.clock()
                if self._waiting.has_waited:
                    self._relay.telemetry.wait_answered("stream", now - batch[0].event.created_at)
                for entry in batch:
                    yield self._format_message(entry, reader.cursor_after(entry), now)
            if has_ended:
                yield message("end", {"job_id": self._event_filter.job_id}, reader.cursor(is_end=True))
                return
            if outcome is Outcome.TIMED_OUT:
                yield ": still here\n\n"
            outcome = await self._waiting.wait(loop.time() + HEARTBEAT)

    def _format_message(self, entry: FeedEvent, cursor: str, now: int) -> str:
        response = self._view.to_response(entry.event, now, cursor)
        return (
            f"event: {entry.event.type.value}\nid: {cursor}\ndata: {response.model_dump_json(exclude_unset=True)}\n\n"
        )

    async def _job_has_ended(self) -> bool:
        """Whether the one job of the stream has ended; all of its events are in the feed then."""
        if self._event_filter.job_id is None or not await self._relay.store.read(self._is_over):
            return False
        await self._relay.feed.advance_fully()
        return True

    def _is_over(self, tx: Tx) -> bool:
        watch = watches.find(tx, self._event_filter.job_id or "", self._event_filter.workspace)
        return watch is not None and watch.state is not WatchState.ACTIVE


def message(type: str, data: object, id: str | None = None) -> str:
    """One message of a stream."""
    lines = [f"event: {type}", *([] if id is None else [f"id: {id}"]), f"data: {json.dumps(data)}"]
    return "\n".join([*lines, "", ""])
