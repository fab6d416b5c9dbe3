"""Pictures for README and documentation: `make screenshots` draws them, of a day that is always the same.

The dashboard's pages, and messages as their receivers display them.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Page, async_playwright

from relay.model import DeliveryStatus
from relay.store.tables import endpoints
from tests.dashboard.browsers import found
from tests.dashboard.scene import Scene, lively_day, scene

SIZE = {"width": 1100, "height": 820}
NARROW = {"width": 640, "height": 820}
MESSAGES = {
    "slack": ("slack", "job.completed"),
    "slack-failed": ("slack", "job.failed"),
    "discord": ("discord", "job.completed"),
    "teams": ("teams", "job.completed"),
    "google-chat": ("google_chat", "job.completed"),
    "email": ("email", "job.completed"),
}
"""The pictures of messages, with their format and event."""


async def draw(folder: Path) -> None:
    """A picture for each page of the README and the documentation, and a `message-NAME.png` for each message."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as own:
        async with scene(Path(own), standing=True) as made, async_playwright() as playwright:
            await lively_day(made)
            browser = await playwright.chromium.launch(executable_path=found(), args=["--no-sandbox"])
            await _draw_pages(made, await browser.new_page(viewport=SIZE), folder)  # type: ignore[arg-type]
            sharp = await browser.new_page(viewport=NARROW, device_scale_factor=2)  # type: ignore[arg-type]
            await _draw_messages(made, sharp, folder)
            await browser.close()


async def _draw_pages(made: Scene, page: Page, folder: Path) -> None:
    [broken] = [one for one in await made.deliveries() if one.status is DeliveryStatus.PENDING]
    pages = {
        "overview": "/",
        "deliveries": "/deliveries",
        "job": f"/jobs/default/{broken.job_id}",
        "endpoint": f"{await _slack_endpoint(made)}#preview",
    }
    for name, path in pages.items():
        await page.goto(made.url + path)
        await page.screenshot(path=folder / f"{name}.png")


async def _draw_messages(made: Scene, page: Page, folder: Path) -> None:
    path = await _slack_endpoint(made)
    for name, (format, event) in MESSAGES.items():
        await page.goto(f"{made.url}{path}?format={format}&event={event}")
        message = page.locator("section:has(#preview) .inside > form + *")
        await message.screenshot(path=folder / f"message-{name}.png")


async def _slack_endpoint(made: Scene) -> str:
    """The path of its page."""
    slack = await made.relay.store.read(lambda tx: endpoints.by_name(tx, "sales-channel"))
    assert slack is not None
    return f"/endpoints/{slack.id}"


if __name__ == "__main__":
    asyncio.run(draw(Path(sys.argv[1])))
