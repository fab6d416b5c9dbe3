"""Replays on an endpoint's page: count, start, stop."""

from collections.abc import Mapping

from starlette.responses import Response

from relay.delivery import count_matching, replay
from relay.errors import ValidationFailed
from relay.model import DeliveryStatus
from relay.store.tables.filters import DeliveryFilter
from relay.web.core import path_params
from relay.web.dashboard.endpoints import show_endpoint
from relay.web.dashboard.list_filters import parse_time
from relay.web.dashboard.page import PageRequest, redirect_with_notice

MAX_COUNT = 1_000
"""Deliveries that a page counts at most."""


async def start(page: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Counts what a replay would send, or starts it, as the pressed button says.

    Raises ValidationFailed for what is no time; Conflict if the endpoint is disabled, or a replay of it goes on.
    """
    endpoint_id = path_params.parse_id(id, "endpoint")
    try:
        since = parse_time(form.get("since", ""), page.zone)
    except ValueError:
        text = "since must be a day or a time, such as 2026-03-01 or 2026-03-01T10:00:00Z"
        raise ValidationFailed("invalid_since", text, "since") from None
    if form.get("action") == "start":
        await page.relay.replay_endpoint(endpoint_id, since, page.now, page.now, page.actor)
        return redirect_with_notice(page, f"/endpoints/{endpoint_id}", "replay-started")
    selected = DeliveryFilter(endpoint_id=endpoint_id, status=DeliveryStatus.DELIVERED, ended_since=since)
    count = await count_matching(page.relay.store, selected, sendable=True, limit=MAX_COUNT)
    return await show_endpoint(page, endpoint_id, replay_since=since, replay_count=count, max_count=MAX_COUNT)


async def stop(page: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Stops the replay of the endpoint."""
    endpoint_id = path_params.parse_id(id, "endpoint")
    await page.relay.store.write(lambda tx: replay.stop(tx, endpoint_id, page.now, page.actor), at_end=True)
    return redirect_with_notice(page, f"/endpoints/{endpoint_id}", "replay-stopped")
