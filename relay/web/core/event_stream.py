"""The event feed as server-sent events: one response that stays open."""

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from relay.errors import Gone, RequestError, StoreError
from relay.model import WatchState
from relay.model.feed_cursor import FeedCursor
from relay.store.engine.database import Tx
from relay.store.tables import watches
from relay.store.tables.events import EventFilter, FeedEvent
from relay.waiting import FEED, FeedReader, Outcome
from relay.web.core import errors
from relay.web.core.errors import Unauthenticated
from relay.web.core.event_view import EventView
from relay.web.core.open_request import OpenRequest, open_request
from relay.web.core.route import RequestContext

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

    def __init__(self, call: RequestContext, view: EventView, wanted: EventFilter, after: FeedCursor | str) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._call, self._view, self._wanted, self._after = call, view, wanted, after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with open_request(self._call, "stream", FEED, 0) as waiting:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                async for text in self._messages(waiting):
                    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except RequestError as error:  # too many: nothing was sent yet
            await errors.error_response(error)(scope, receive, send)

    async def _messages(self, waiting: OpenRequest) -> AsyncIterator[str]:
        yield f"retry: {RECONNECT_MS}\n\n"
        try:
            relay = self._call.relay
            reader = await FeedReader.open(relay.store, relay.feed, self._after, self._wanted)
            yield message("hello", {"cursor": reader.cursor()}, reader.cursor())
            async for text in self._events(reader, waiting):
                yield text
        except (Gone, Unauthenticated) as error:
            yield message("error", errors.envelope(error)["error"])
        except StoreError as error:
            self._call.relay.telemetry.log.warning("an event stream ends, its client may reconnect: %s", error)

    async def _events(self, reader: FeedReader, waiting: OpenRequest) -> AsyncIterator[str]:
        """Events as they come, with heartbeats, until the client goes, the relay stops, or the job has ended."""
        loop, outcome = asyncio.get_running_loop(), Outcome.NEWS
        while outcome in (Outcome.NEWS, Outcome.TIMED_OUT):
            has_ended = outcome is Outcome.NEWS and await self._job_has_ended()
            while found := await reader.read(_BATCH):
                now = self._call.relay.clock()
                if waiting.has_waited:
                    self._call.relay.telemetry.wait_answered("stream", now - found[0].event.created_at)
                for one in found:
                    yield self._shown(one, reader.cursor_after(one), now)
            if has_ended:
                yield message("end", {"job_id": self._wanted.job_id}, reader.cursor(is_end=True))
                return
            if outcome is Outcome.TIMED_OUT:
                yield ": still here\n\n"
            outcome = await waiting.wait(loop.time() + HEARTBEAT)

    def _shown(self, one: FeedEvent, cursor: str, now: int) -> str:
        shown = self._view.shown(one.event, now, cursor)
        return f"event: {one.event.type.value}\nid: {cursor}\ndata: {shown.model_dump_json(exclude_unset=True)}\n\n"

    async def _job_has_ended(self) -> bool:
        """Whether the one job of the stream has ended; all of its events are in the feed then."""
        if self._wanted.job_id is None or not await self._call.relay.store.read(self._is_over):
            return False
        await self._call.relay.feed.advance_fully()
        return True

    def _is_over(self, tx: Tx) -> bool:
        watch = watches.find(tx, self._wanted.job_id or "", self._wanted.workspace)
        return watch is not None and watch.state is not WatchState.ACTIVE


def message(type: str, data: object, id: str | None = None) -> str:
    """One message of a stream."""
    lines = [f"event: {type}", *([] if id is None else [f"id: {id}"]), f"data: {json.dumps(data)}"]
    return "\n".join([*lines, "", ""])
