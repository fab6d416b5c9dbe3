"""Events of jobs, in the format of a subscriber."""

import json

from starlette.responses import Response

from relay import formats
from relay.model import Event
from relay.store.tables import events
from relay.web.core import path_params
from relay.web.core.route import RequestContext, api_route, json_response
from relay.web.schemas.queries import EventsQuery
from relay.web.schemas.responses import EventList, EventResponse


@api_route("GET", "/v1/events", scope="read", tag="events", answers={200: EventList}, refusals=(400,))
async def list_events(call: RequestContext, query: EventsQuery) -> Response:
    """List events, newest first.

    Each with the body that a standing endpoint of the given `format` gets. This is also the list call of REST Hooks,
    whose samples have the same shape as later notifications.
    """
    workspace = path_params.workspace_from_query(query.workspace, call.relay.clients)
    rows, cursor = await call.relay.store.read(
        lambda tx: events.page(tx, query.page, query.type, query.job_id, workspace)
    )
    return json_response(200, EventList(data=[_response(event, query.format) for event in rows], next_cursor=cursor))


OPERATIONS = (list_events,)


def _response(event: Event, format: str) -> EventResponse:
    names = ("id", "type", "workspace", "job_id", "occurred_at", "created_at")
    body = json.loads(formats.render(format, event, None))
    return EventResponse(**{name: getattr(event, name) for name in names}, body=body)
