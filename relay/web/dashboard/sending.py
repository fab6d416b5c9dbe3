"""The decision about what waits after a restore: resume sending, or discard it."""

from collections.abc import Mapping

from starlette.responses import Response

from relay.web.dashboard.page import PageRequest, redirect_with_notice


async def resume(page: PageRequest, form: Mapping[str, str]) -> Response:
    """Sends what waits."""
    await page.relay.sending.resume(page.actor, page.now)
    return redirect_with_notice(page, "/", "sending-resumed")


async def discard(page: PageRequest, form: Mapping[str, str]) -> Response:
    """Cancels what waits since before the suspension."""
    await page.relay.sending.discard(page.actor, page.now)
    return redirect_with_notice(page, "/", "sending-discarded")
