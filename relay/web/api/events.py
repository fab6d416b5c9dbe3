"""Events of jobs: as a list, pulled with a cursor, or as a stream; in the format of a subscriber."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.responses import Response

from relay.errors import ValidationFailed
from relay.model import feed_cursor as cursors
from relay.model.feed_cursor import FeedCursor
from relay.service import Relay
from relay.store.tables import events
from relay.waiting import FEED, FROM_NOW, FROM_OLDEST, FeedReader, Outcome
from relay.web.core import path_params
from relay.web.core.event_stream import EventStream
from relay.web.core.event_view import EventView, view_for
from relay.web.core.open_request import PREFER_HEADER, GrantedWait, OpenRequest, ParkedResponse, granted_wait
from relay.web.core.route import RequestContext, api_route, json_response
from relay.web.schemas.queries import EventsQuery, StreamQuery
from relay.web.schemas.responses import EventList

LAST_EVENT_ID = {"Last-Event-ID": ("the `id` of the last event of an earlier stream; comes before `after`", None)}


@api_route(
    "GET",
    "/v1/events",
    scope="read",
    tag="events",
    answers={200: EventList},
    refusals=(400, 410),
    headers=PREFER_HEADER,
)
async def list_events(call: RequestContext, query: EventsQuery) -> Response:
    """List events, newest first; or pull them in order, after a cursor.

    Each with the body that a standing endpoint of the given `format` gets. This is also the list call of REST Hooks,
    whose samples have the same shape as later notifications.

    With `after` it is the feed: events in the order in which they were committed, none left out and none twice. Keep
    `next_cursor` and pass it as `after` of the next call; with `wait` that call answers as soon as there is an event,
    or with none when the time is over. A cursor older than the retention, or of another database, gets 410.
    """
    path_params.workspace_from_query(query.workspace, call.relay.clients)
    view = await view_for(call, query.endpoint, query.format)
    event_filter = view.restrict(query.event_filter)
    if query.after is not None:
        if query.cursor is not None:
            text = "give after or cursor, not both: a list has pages, the feed has none"
            raise ValidationFailed("two_cursors", text, "cursor")
        granted = granted_wait(call.request.headers, query.wait)
        waiting = OpenRequest(call, "events", FEED, granted.seconds)
        reading = partial(FeedReader.open, call.relay.store, call.relay.feed, _cursor_of(query.after), event_filter)
        return ParkedResponse(partial(_pull, call.relay, waiting, reading, query.limit, view, granted))
    if query.wait is not None:
        raise ValidationFailed("wait_without_after", "wait belongs to after: give after=now, or a cursor", "wait")
    rows, cursor = await call.relay.store.read(
        lambda tx: events.page(tx, query.page, event_filter.types, query.job_id, query.workspace)
    )
    data = [view.to_response(event, call.now) for event in rows]
    return json_response(200, EventList(data=data, next_cursor=cursor))


async def _pull(
    relay: Relay,
    waiting: OpenRequest,
    open_reader: Callable[[], Awaitable[FeedReader]],
    limit: int,
    view: EventView,
    granted: GrantedWait,
) -> Response:
    deadline = asyncio.get_running_loop().time() + granted.answered_within
    with waiting:
        reader, outcome = await open_reader(), Outcome.NEWS
        while not (batch := await reader.read(limit)) and outcome is Outcome.NEWS:
            outcome = await waiting.wait(deadline)
            if outcome is Outcome.GONE:
                return Response(status_code=400)  # nobody reads it
        now = relay.clock()
        if batch and waiting.has_waited:
            relay.telemetry.wait_answered("events", now - batch[0].event.created_at)
    data = [view.to_response(entry.event, now, reader.cursor_after(entry)) for entry in batch]
    fields = {"wait": granted.seconds} if granted.seconds else {}
    return json_response(200, EventList(data=data, next_cursor=reader.cursor(), **fields), granted.headers)


@api_route(
    "GET",
    "/v1/events/stream",
    scope="read",
    tag="events",
    answers={200: "Server-sent events, until the client disconnects.", 204: "The stream of this job has ended before."},
    refusals=(400,),
    headers=LAST_EVENT_ID,
)
async def stream_events(call: RequestContext, query: StreamQuery) -> Response:
    """Stream events as server-sent events.

    Each message has the event's type, its cursor as `id`, and as `data` the event as the list shows it. The first is
    `hello`. A reconnect with `Last-Event-ID` (or `after`) continues from that event. A stream of one job ends
    with `end`, and a reconnect then gets 204. `error` comes before the relay ends a stream for good: it can't continue
    from the cursor, or the API key was revoked. A comment comes every 15 seconds.
    """
    path_params.workspace_from_query(query.workspace, call.relay.clients)
    view = await view_for(call, query.endpoint, query.format)
    last_id = call.request.headers.get("last-event-id") or None
    after = _cursor_of(last_id or query.after or FROM_NOW)
    if isinstance(after, FeedCursor) and after.is_end and query.job_id is not None:
        return Response(status_code=204)
    stream = EventStream(
        call.relay, OpenRequest(call, "stream", FEED, 0), view, view.restrict(query.event_filter), after
    )
    return ParkedResponse(stream.opened)


def _cursor_of(text: str) -> FeedCursor | str:
    """A cursor, FROM_OLDEST or FROM_NOW. Raises ValidationFailed for any other text."""
    if text in (FROM_OLDEST, FROM_NOW):
        return text
    if (cursor := cursors.decode(text)) is None:
        text = "invalid cursor of the feed; after=0 begins with the oldest event, after=now with the next one"
        raise ValidationFailed("invalid_cursor", text, "after")
    return cursor


OPERATIONS = (list_events, stream_events)
