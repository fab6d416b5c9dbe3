"""A real browser: one for all tests of a worker, each of which has a context of its own in it.

It and all that these tests wait for live in one event loop.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.dashboard.browsers import found as found_browser
from tests.dashboard.scene import Scene, scene

STOPPED = ("ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_REFUSED", "[object Event]", "[object HTMLDivElement]")
EXPECTED = (*(f"status of {code}" for code in (401, 403, 404)), *STOPPED)
"""Errors that tests cause on purpose: pages that refuse, a relay that stops while a page is
connected, and a page that is left while it asks for its next state."""


expect.set_options(timeout=30_000)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium. Without it these tests are skipped, loudly, but never in CI."""
    path = await asyncio.to_thread(found_browser)
    if path is None:
        reason = "no Chromium: `make browser` installs it, or name one with RELAY_TEST_BROWSER"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    async with async_playwright() as playwright:
        # As root, as in most containers, Chromium's own sandbox does not start; a GPU is only pretended, with CPU time.
        arguments = ["--no-sandbox", "--disable-gpu"]
        chromium = await playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page that fails the test for every error of the browser, such as a refused script or a missing file."""
    found = await browser.new_page(viewport={"width": 1200, "height": 900})
    wrong: list[str] = []
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    yield found
    await found.close()
    assert [text for text in wrong if not any(known in text for known in EXPECTED)] == []


@pytest_asyncio.fixture(loop_scope="session")
async def made(tmp_path: Path) -> AsyncIterator[Scene]:
    """A relay without keys, served on loopback."""
    async with scene(tmp_path) as found:
        yield found
