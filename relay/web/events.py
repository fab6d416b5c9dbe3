"""Events: what became of jobs, in the shape that a subscriber is sent it."""

import json

from starlette.responses import Response

from relay import formats
from relay.model import Event
from relay.store import events
from relay.web import references
from relay.web.answers import EventAnswer, EventList
from relay.web.operation import Call, operation, reply
from relay.web.queries import EventsQuery


@operation("GET", "/v1/events", scope="read", tag="events", answers={200: EventList}, refusals=(400,))
async def list_events(call: Call, query: EventsQuery) -> Response:
    """List events, newest first.

    Each with the body that a standing endpoint of the given `format` is sent: also the list call of REST Hooks, whose
    samples have to look like what is sent later.
    """
    workspace = references.workspace(query.workspace, call.relay.clients)
    found, cursor = await call.relay.store.read(
        lambda tx: events.page(tx, query.page, query.type, query.job_id, workspace)
    )
    return reply(200, EventList(data=[_shown(event, query.format) for event in found], next_cursor=cursor))


OPERATIONS = (list_events,)


def _shown(event: Event, format: str) -> EventAnswer:
    same = ("id", "type", "workspace", "job_id", "occurred_at", "created_at")
    body = json.loads(formats.render(format, event, None))
    return EventAnswer(**{name: getattr(event, name) for name in same}, body=body)
