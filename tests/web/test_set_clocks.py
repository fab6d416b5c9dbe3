"""The clock is set while a call waits: what the call plans after that is planned by the clock as it was set."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from relay.model import HOUR, MINUTE
from relay.web.core.route import RequestContext, api_route
from relay.web.dashboard.page import PageRequest, page_route
from tests.conftest import NOON, Clock
from tests.web.conftest import Api


async def seen_around(call: RequestContext | PageRequest, clock: Clock) -> Response:
    """The time of a call before and after the clock is set back, from noon on, in minutes."""
    before = call.now
    clock.advance(-2 * HOUR)
    return PlainTextResponse(f"{(before - NOON) / MINUTE:g} {(call.now - NOON) / MINUTE:g}")


@pytest.mark.parametrize("kind", ["call", "page"])
async def test_call_goes_by_the_clock_as_it_is_set_meanwhile(api: Api, clock: Clock, kind: str) -> None:
    """An endpoint that was enabled by the clock before sent what was held for it two hours late."""

    @api_route("GET", "/seen", scope=None, tag="ops", answers={200: "the times"})
    async def call(call: RequestContext) -> Response:
        """Tell the time."""
        return await seen_around(call, clock)

    async def page(page: PageRequest) -> Response:
        return await seen_around(page, clock)

    async def answer(request: Request) -> Response:
        return await call(request)

    app = Starlette(routes=[Route("/seen", answer) if kind == "call" else page_route("/seen", page, scope=None)])
    for name, value in api.app.state._state.items():
        setattr(app.state, name, value)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        seen = await http.get("/seen")
    assert seen.text == "0 -120"
