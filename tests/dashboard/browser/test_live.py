"""Pages that stay current by themselves, in a real browser."""

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from relay.model import MINUTE, SECOND
from tests.dashboard.browser.test_dashboard import SHOWN
from tests.dashboard.scene import Scene

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_change_while_a_page_loads_is_shown(page: Page, made: Scene) -> None:
    """A job registered after the page was rendered, and before its stream connects, is shown once it connects."""
    asked, done = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        asked.set()
        await done.wait()
        await route.continue_()

    await page.route("**/live?*", hold)
    await page.goto(made.url + "/jobs")
    await expect(page.get_by_text("No jobs yet.")).to_be_visible()
    await asked.wait()
    job = made.exec.add(lasts=60 * SECOND)
    await made.register(job.id)
    done.set()
    await expect(page.get_by_role("link", name=job.id)).to_be_visible(timeout=SHOWN)


async def test_update_keeps_input_focus_and_open_details(page: Page, made: Scene) -> None:
    """A half-filled filter, an open table and the focus stay while a job ends."""
    job = made.exec.add(lasts=60 * SECOND)
    await made.register(job.id)
    await page.goto(made.url + "/deliveries")
    await page.get_by_text("Filter", exact=True).first.click()
    await page.get_by_label("Job", exact=True).fill("half of an i")
    await made.advance(10 * MINUTE)
    await expect(page.get_by_role("row", name="job.completed")).to_be_visible(timeout=SHOWN)
    await expect(page.get_by_label("Job", exact=True)).to_have_value("half of an i")
    await expect(page.get_by_label("Job", exact=True)).to_be_focused()

    await page.goto(f"{made.url}/jobs/default/{job.id}")
    await page.get_by_text("As a table").click()
    await made.register(job.id, path="/another")
    await made.settle()
    await expect(page.get_by_role("region", name="Deliveries").get_by_role("row")).to_have_count(3, timeout=SHOWN)
    await expect(page.get_by_role("cell", name="registered").first).to_be_visible()


async def test_page_keeps_one_stream(page: Page, made: Scene) -> None:
    """After updates a page still has its one connection, and is not updated without changes."""
    paths: list[str] = []
    page.on("request", lambda request: paths.append(request.url.removeprefix(made.url).partition("?")[0]))
    await page.goto(made.url + "/jobs")
    for _ in range(2):
        job = made.exec.add(lasts=60 * SECOND)
        await made.register(job.id)
        await expect(page.get_by_role("link", name=job.id)).to_be_visible(timeout=SHOWN)
    assert paths.count("/live") == 1
