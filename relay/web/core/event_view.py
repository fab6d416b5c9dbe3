"""How one reader sees events: in a format, or as an endpoint's notifications, signed with its secret."""

import json
from dataclasses import dataclass, replace

from relay import formats
from relay.errors import ValidationFailed
from relay.model import Endpoint, Event, EventType, Instant
from relay.signing import standard_webhooks
from relay.store import Tx
from relay.store.tables import endpoints
from relay.store.tables.events import EventFilter
from relay.web.core import path_params
from relay.web.core.route import RequestContext
from relay.web.schemas.responses import EventResponse, SignedEvent

_NAMES = ("id", "type", "workspace", "job_id", "occurred_at", "created_at")


@dataclass(frozen=True, slots=True)
class EventView:
    """The format of one reader's events, and the endpoint as which it reads them, if any."""

    format: str = "standard"
    endpoint: Endpoint | None = None

    def restrict(self, event_filter: EventFilter) -> EventFilter:
        """The filter, limited to the events that the endpoint gets."""
        if self.endpoint is None:
            return event_filter
        types = EventType if event_filter.types is None else event_filter.types
        return replace(event_filter, types=tuple(type for type in types if type in self.endpoint.events))

    def to_response(self, event: Event, now: Instant, cursor: str | None = None) -> EventResponse:
        """The event as the reader gets it; signed as of `now` for an endpoint."""
        template = self.endpoint.template if self.endpoint is not None else None
        body = formats.render(self.format, event, None, template)
        fields = {name: getattr(event, name) for name in _NAMES} | {"body": json.loads(body)}
        if cursor is not None:
            fields["cursor"] = cursor
        if self.endpoint is not None:
            headers = standard_webhooks.headers(event.id, body, self.endpoint.secrets, now)
            fields["signed"] = SignedEvent(headers=headers, body=body.decode())
        return EventResponse(**fields)


async def view_for(call: RequestContext, id_or_name: str | None, format: str | None) -> EventView:
    """The view that a request asks for. Raises ValidationFailed for an unknown endpoint, and for both."""
    if id_or_name is None:
        return EventView(format or "standard")
    if format is not None:
        raise ValidationFailed("two_formats", "give endpoint or format, not both: an endpoint has its format", "format")
    endpoint = await call.relay.store.read(lambda tx: _find(tx, id_or_name))
    return EventView(endpoint.format, endpoint)


def _find(tx: Tx, id_or_name: str) -> Endpoint:
    id = path_params.endpoint_id(tx, id_or_name)
    if id is None or (endpoint := endpoints.get(tx, id)) is None:
        raise ValidationFailed("unknown_endpoint", "there is no endpoint with this id or name", "endpoint")
    return endpoint
