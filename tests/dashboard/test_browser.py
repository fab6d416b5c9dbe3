"""The dashboard in a real browser, as a person uses it."""

import re
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from relay.model import MINUTE, SECOND
from relay.sandbox.receiver import FINE
from tests.dashboard.scene import BROKEN, Scene, lively_day, scene

KEY = "relay_admin_0123456789abcdef"
READER = "relay_reader_0123456789abcdef"
KEYS = [{"name": "me", "key": KEY}, {"name": "guest", "key": READER, "scopes": ["read"]}]
SHOWN = 10_000
"""Milliseconds until something must be on the page: sooner than the beat of 15 s, which comes without being told."""


async def log_in(page: Page, made: Scene, key: str = KEY) -> None:
    await page.goto(made.url)
    await page.get_by_label("API key of this relay").fill(key)
    await page.get_by_role("button", name="Log in").click()


async def test_a_person_finds_out_what_became_of_a_message(page: Page, tmp_path: Path) -> None:
    """Log in, register, see the job end live, find the failure and its reason, mend it, resend, log out."""
    async with scene(tmp_path, security={"api_keys": KEYS}) as made:
        await log_in(page, made)
        await expect(page.get_by_text("Nothing was registered yet")).to_be_visible()

        job = made.exec.add(lasts=200 * SECOND, name="Cold call to a plant manager")
        made.receiver.always(BROKEN, path="/crm")
        await page.get_by_role("banner").get_by_role("link", name="Register a job").click()
        await page.get_by_label("Job id").fill(job.id)
        await page.get_by_label("Callback URL").fill(made.receiver_url + "/crm")
        await page.get_by_role("button", name="Register").click()
        secret = await page.locator("#secret").inner_text()
        made.receiver.trust(secret)
        await page.get_by_role("link", name="Watch it").click()
        await made.settle()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("processing", timeout=SHOWN)

        await made.advance(4 * MINUTE)  # the receiver, on the true clock, takes what is signed up to 5 minutes ahead
        title = page.get_by_role("heading", level=1)
        await expect(title).to_contain_text("Cold call to a plant manager completed", timeout=SHOWN)

        await page.get_by_role("link", name="Overview").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("1 endpoint needs a look")
        await expect(page.get_by_role("region", name="Endpoints in trouble")).to_contain_text("failing")
        await page.get_by_role("link", name=re.compile("waiting to go out")).click()
        await expect(page.get_by_role("row", name="Cold call")).to_contain_text(re.compile(r"attempt \d: answered 500"))
        await page.get_by_role("link", name="Cold call to a plant manager").click()
        await expect(page.get_by_text("It did not go out yet:").locator("..")).to_contain_text("answered 500")
        await expect(page.get_by_text("upstream is down").first).to_be_visible()
        await expect(page.get_by_text("signature fits")).to_be_visible()

        made.receiver.always(FINE, path="/crm")
        await page.get_by_role("button", name="Try now").click()
        await expect(page.get_by_text("The delivery is being sent again.")).to_be_visible()
        await made.settle()
        await expect(page.get_by_text(re.compile("Delivered .* after the job ended"))).to_be_visible(timeout=SHOWN)
        assert made.receiver.received[-1].verified, made.receiver.received[-1].why

        await page.locator("summary", has_text="me").click()
        await expect(page.get_by_text("With it you may look at everything, register jobs,")).to_be_visible()
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("API key of this relay")).to_be_visible()
        await page.goto(made.url + "/deliveries")
        await expect(page.get_by_label("API key of this relay")).to_be_visible()


async def test_an_endpoint_is_tested_disabled_and_enabled(page: Page, made: Scene) -> None:
    """The receiver's answer is shown; what is held while disabled goes out once enabled; a new secret is shown once."""
    job = made.exec.add(lasts=60 * SECOND)
    await made.register(job.id, path="/crm")
    await page.goto(made.url + "/endpoints")
    await page.locator("main a[href^='/endpoints/ep_']").first.click()
    made.receiver.script(BROKEN, path="/crm")
    await page.get_by_role("button", name="Send a sample now").click()
    await expect(page.get_by_text("The sample did not arrive")).to_be_visible()
    await expect(page.get_by_text("upstream is down")).to_be_visible()
    await page.get_by_role("button", name="Send a sample now").click()
    await expect(page.get_by_text("The sample arrived")).to_be_visible()

    await page.get_by_text("Disable", exact=True).click()
    await expect(page.get_by_text("Nothing is sent to it from then on.")).to_be_visible()
    await page.get_by_role("button", name="Disable it").click()
    await expect(page.get_by_text("disabled by hand").first).to_be_visible()
    await made.advance(10 * MINUTE)
    assert [one.event_type for one in made.received("/crm")] == ["job.completed"] * 2  # the two samples
    await page.reload()
    await page.get_by_role("button", name="Enable, and send the 1 held message").click()
    await made.settle()
    await made.receiver.arrived(3, path="/crm")

    await page.get_by_text("New secret", exact=True).click()
    await page.get_by_role("button", name="Make a new secret").click()
    assert (await page.locator("#secret").inner_text()).startswith("whsec_")


async def test_a_reader_sees_and_changes_nothing(page: Page, tmp_path: Path) -> None:
    """With a key of scope read there are no buttons that change things, and their addresses refuse."""
    async with scene(tmp_path, security={"api_keys": KEYS}) as made:
        job = made.exec.add(lasts=60 * SECOND)
        await made.register(job.id)
        await log_in(page, made, READER)
        await page.get_by_role("link", name="Endpoints").click()
        await page.locator("main a[href^='/endpoints/ep_']").first.click()
        await expect(page.get_by_role("heading", name="What its messages look like")).to_be_visible()
        await expect(page.get_by_role("button", name="Disable")).to_have_count(0)
        await expect(page.get_by_role("link", name="Register a job")).to_have_count(0)
        await page.goto(made.url + "/register")
        await expect(page.get_by_role("alert")).to_contain_text("this needs a key with the scope register")


async def test_the_wrong_key_is_told(page: Page, tmp_path: Path) -> None:
    """Nobody gets in, and the page says why; afterwards the page that was asked for is shown."""
    async with scene(tmp_path, security={"api_keys": KEYS}) as made:
        await page.goto(made.url + "/endpoints?kind=standing")
        await page.get_by_label("API key of this relay").fill("relay_wrong")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("alert")).to_contain_text("this API key is not known here")
        await page.get_by_label("API key of this relay").fill(KEY)
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(made.url + "/endpoints?kind=standing")


PAGES = """/ /jobs /deliveries /endpoints /register /search?q=call JOB DELIVERY ENDPOINT /jobs/default/none""".split()


async def addresses(made: Scene) -> list[str]:
    """The addresses of PAGES, with ids that are there."""
    [delivery, *_] = await made.deliveries()
    ids = {"JOB": f"/jobs/default/{delivery.job_id}", "DELIVERY": f"/deliveries/{delivery.id}"}
    ids["ENDPOINT"] = f"/endpoints/{delivery.endpoint_id}?format=slack"
    return [made.url + ids.get(page, page) for page in PAGES]


@pytest.mark.timeout(240)
async def test_everybody_can_use_it(page: Page, tmp_path: Path) -> None:
    """axe-core finds nothing on any page, light or dark, and no page is wider than a phone."""
    async with scene(tmp_path, standing=True) as made:
        await lively_day(made)
        await judge_all(page, made)


async def judge_all(page: Page, made: Scene) -> None:
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        await page.emulate_media(color_scheme=scheme)
        for address in await addresses(made):
            await page.goto(address)
            found = await Axe().run(page)
            assert found.violations_count == 0, f"{scheme} {address}\n{found.generate_report()}"
    await page.set_viewport_size({"width": 360, "height": 780})
    for address in await addresses(made):
        await page.goto(address)
        wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{address} is {wide} px too wide for a phone"


async def test_pages_can_be_read_without_scripts(browser: Browser, made: Scene) -> None:
    """Without JavaScript everything is there to read, and forms work."""
    job = made.exec.add(lasts=60 * SECOND, name="Renewal")
    await made.register(job.id)
    await made.advance(10 * MINUTE)
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    for address in await addresses(made):
        await page.goto(address)
        await expect(page.get_by_role("heading", level=1)).not_to_be_empty()
    await page.goto(made.url + "/jobs")
    await page.get_by_role("link", name="Renewal").click()
    await page.get_by_role("link", name="job.completed").click()
    await page.get_by_role("button", name="Resend").click()
    await expect(page.get_by_text("The delivery is being sent again.")).to_be_visible()
    await context.close()


async def test_by_keyboard_alone(page: Page, made: Scene) -> None:
    """The first Tab skips to the content; "/" finds the search, which finds the job by its scenario's name."""
    job = made.exec.add(lasts=60 * SECOND, name="Discovery call with an IT director")
    await made.register(job.id)
    await made.advance(10 * MINUTE)
    await page.goto(made.url)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.type("it dir")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name="Discovery call with an IT director")).to_be_visible()
