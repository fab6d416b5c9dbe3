"""Pictures of the dashboard for the README: `make screenshots` draws them, of a day that is always the same."""

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright

from relay.model import DeliveryStatus
from relay.store.tables import endpoints
from tests.dashboard.browsers import found
from tests.dashboard.scene import lively_day, scene

SIZE = {"width": 1100, "height": 820}


async def draw(folder: Path) -> None:
    """`overview.png`, `job.png` and `endpoint.png` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as own:
        async with scene(Path(own), standing=True) as made, async_playwright() as playwright:
            await lively_day(made)
            [broken] = [one for one in await made.deliveries() if one.status is DeliveryStatus.PENDING]
            slack = await made.relay.store.read(lambda tx: endpoints.by_name(tx, "sales-channel"))
            assert slack is not None
            pages = {
                "overview": "/",
                "job": f"/jobs/default/{broken.job_id}",
                "endpoint": f"/endpoints/{slack.id}#preview",
            }
            browser = await playwright.chromium.launch(executable_path=found(), args=["--no-sandbox"])
            page = await browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
            for name, path in pages.items():
                await page.goto(made.url + path)
                await page.screenshot(path=folder / f"{name}.png")
            await browser.close()


if __name__ == "__main__":
    asyncio.run(draw(Path(sys.argv[1])))
