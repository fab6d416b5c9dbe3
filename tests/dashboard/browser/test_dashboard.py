"""The dashboard in a real browser, as a person uses it."""

import re
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from relay.formats import FORMATS
from relay.model import MINUTE, SECOND, DeliveryStatus
from relay.sandbox.receiver import FINE, Respond
from relay.store.engine import paging
from relay.store.tables import watches
from tests.dashboard.scene import BROKEN, Scene, lively_day, scene

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "relay_admin_0123456789abcdef"
READER = "relay_reader_0123456789abcdef"
KEYS = [{"name": "me", "key": KEY}, {"name": "guest", "key": READER, "scopes": ["read"]}]
SHOWN = 10_000
"""Milliseconds until a change must be on the page: less than the 15 s after which a page reloads itself anyway."""


async def log_in(page: Page, made: Scene, key: str = KEY) -> None:
    await page.goto(made.url)
    await page.get_by_label("API key of this relay").fill(key)
    await page.get_by_role("button", name="Log in").click()


async def test_person_finds_a_failed_delivery_and_resends_it(page: Page, tmp_path: Path) -> None:
    """Log in, register, see the job end and its delivery live; break the endpoint, find the failure and its reason in
    two clicks, fix the receiver, resend, log out."""
    often = {"strategy": "interval", "interval": "15s"}
    async with scene(tmp_path, security={"api_keys": KEYS}, polling=often) as made:
        await log_in(page, made)
        await expect(page.get_by_text("No jobs yet")).to_be_visible()

        job = made.exec.add(lasts=MINUTE, name="Cold call to a plant manager")
        await register(page, made, job.id)
        made.receiver.set_secrets(await page.locator("#secret").inner_text())
        await page.get_by_role("link", name="Show the job").click()
        await made.settle()
        title = page.get_by_role("heading", level=1)
        await expect(title).to_contain_text("processing", timeout=SHOWN)
        await made.advance(2 * MINUTE)  # the receiver, on the real clock, accepts timestamps up to 5 minutes ahead
        await expect(title).to_contain_text("Cold call to a plant manager completed", timeout=SHOWN)
        await expect(page.get_by_role("region", name="Deliveries").get_by_text("delivered")).to_be_visible()
        assert made.receiver.received[-1].verified, made.receiver.received[-1].error

        made.receiver.always(Respond(status=410, body=b"no such inbox"), path="/crm")
        job = made.exec.add(lasts=30 * SECOND, name="Demo for a sceptical CFO")
        await register(page, made, job.id)
        await made.advance(MINUTE)

        await page.get_by_role("link", name="Overview").click()
        await expect(title).to_have_text("1 delivery failed")
        row = page.get_by_role("region", name="Latest deliveries").get_by_role("row", name="Demo for a sceptical CFO")
        await expect(row).to_contain_text("answered 410")
        await row.locator("a[href^='/deliveries/']").click()
        why = page.get_by_text("Not delivered:").locator("..")
        await expect(why).to_contain_text("answered 410. Its endpoint is disabled (the receiver unsubscribed")
        await expect(page.get_by_role("region", name="Response")).to_contain_text("no such inbox")
        await expect(page.get_by_role("region", name="Request")).to_contain_text("Signature valid")

        made.receiver.always(FINE, path="/crm")
        await page.get_by_role("link", name="enable it").click()
        await page.get_by_role("button", name="Enable").click()
        await page.get_by_role("link", name="Demo for a sceptical CFO").click()
        await page.get_by_role("button", name="Resend").click()
        await expect(page.get_by_text("Resending the delivery.")).to_be_visible()
        await made.settle()
        await expect(page.get_by_text(re.compile("Delivered .* after the job ended"))).to_be_visible(timeout=SHOWN)
        assert [one.verified for one in made.receiver.received] == [True] * 3

        await page.locator("summary", has_text="me").click()
        await expect(page.get_by_text("It allows you to see everything, register jobs,")).to_be_visible()
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("API key of this relay")).to_be_visible()
        await page.goto(made.url + "/deliveries")
        await expect(page.get_by_label("API key of this relay")).to_be_visible()


async def register(page: Page, made: Scene, job_id: str) -> None:
    """Fills in and sends the form."""
    await page.get_by_role("banner").get_by_role("link", name="Register a job").click()
    await page.get_by_label("Job id").fill(job_id)
    await page.get_by_label("Callback URL").fill(made.receiver_url + "/crm")
    await page.get_by_role("button", name="Register").click()
    await expect(page.get_by_text("is registered").first).to_be_visible()


async def test_person_adds_a_channel_finds_what_failed_and_resends_it(page: Page, tmp_path: Path) -> None:
    """Log in, add a channel by form, test it, register a job, see it end; break the channel, find the failure by its
    filter, resend the selection, log out."""
    often = {"strategy": "interval", "interval": "15s"}
    async with scene(tmp_path, security={"api_keys": KEYS}, polling=often) as made:
        await log_in(page, made)
        steps = page.get_by_role("region", name="First steps")
        await expect(steps).to_contain_text("0 of 5 done")
        await steps.get_by_role("link", name="Endpoint added").click()
        await page.get_by_label("URL").fill(made.receiver_url + "/channel")
        await page.get_by_label("Name").fill("sales-channel")
        await page.get_by_label("Format").select_option("slack")
        await expect(page.get_by_role("figure", name="The message as Slack shows it")).to_be_visible(timeout=SHOWN)
        await page.get_by_role("button", name="Create endpoint").click()
        await expect(page.get_by_text("The endpoint is created.")).to_be_visible()
        await page.get_by_role("button", name="Send test event").click()
        await expect(page.get_by_text("Test event delivered")).to_be_visible()

        await register_for_all(page, made.exec.add(lasts=30 * SECOND, name="Renewal with a silent champion").id)
        await made.advance(MINUTE)
        title = page.get_by_role("heading", level=1)
        await expect(title).to_contain_text("Renewal with a silent champion completed", timeout=SHOWN)
        refuse = Respond(status=400, headers={"webhook-delivery": "abort-message"})
        made.receiver.always(refuse, path="/channel")
        for name in ("Price objection from procurement", "Cold call to a plant manager"):
            await register_for_all(page, made.exec.add(lasts=30 * SECOND, name=name).id)
            await made.advance(MINUTE)

        await page.get_by_role("link", name="Deliveries").click()
        await page.get_by_text("Filter", exact=True).first.click()
        await page.get_by_label("HTTP status").fill("4xx")
        await page.get_by_role("button", name="Filter").click()
        await expect(page).to_have_url(re.compile("http_status=4xx"))
        rows = page.locator("tbody").get_by_role("row")
        await expect(rows).to_have_count(2)
        made.receiver.always(FINE, path="/channel")
        row = rows.filter(has_text="Cold call to a plant manager")
        await row.get_by_label("Select the delivery to sales-channel").check()
        await page.get_by_role("button", name="Resend selected").click()
        await expect(page.get_by_text("Resending the selected deliveries.")).to_be_visible()
        await made.settle()
        await expect(rows).to_have_count(1, timeout=SHOWN)
        await expect(rows).to_contain_text("Price objection from procurement")
        await page.get_by_role("link", name="Clear filters").click()
        await expect(rows).to_have_count(3)

        await page.locator("summary", has_text="me").click()
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("API key of this relay")).to_be_visible()


async def register_for_all(page: Page, job_id: str) -> None:
    """Registers the job for the endpoints that get every job."""
    await page.get_by_role("banner").get_by_role("link", name="Register a job").click()
    await page.get_by_label("Job id").fill(job_id)
    await page.get_by_role("button", name="Register").click()
    await expect(page.get_by_text("The job is registered.")).to_be_visible()


async def test_endpoint_is_tested_disabled_and_enabled(page: Page, made: Scene) -> None:
    """The receiver's response is shown; held deliveries are sent once enabled; a new secret is shown only once."""
    job = made.exec.add(lasts=60 * SECOND)
    await made.register(job.id, path="/crm")
    await page.goto(made.url + "/endpoints")
    await page.locator("main a[href^='/endpoints/ep_']").first.click()
    made.receiver.script(BROKEN, path="/crm")
    await page.get_by_role("button", name="Send test event").click()
    await expect(page.get_by_text("Test event not delivered")).to_be_visible()
    await expect(page.get_by_text("upstream is down")).to_be_visible()
    await page.get_by_role("button", name="Send test event").click()
    await expect(page.get_by_text("Test event delivered")).to_be_visible()

    await page.get_by_text("Disable", exact=True).click()
    await expect(page.get_by_text("The relay sends nothing to a disabled endpoint.")).to_be_visible()
    await page.get_by_role("button", name="Disable it").click()
    await expect(page.get_by_text("disabled by hand").first).to_be_visible()
    await made.advance(10 * MINUTE)
    assert [one.event_type for one in made.received("/crm")] == ["job.completed"] * 2  # the two samples
    await page.reload()
    await page.get_by_role("button", name="Enable and send the 1 held delivery").click()
    await made.settle()
    await made.receiver.wait_for(3, path="/crm")

    await page.get_by_text("Rotate secret", exact=True).click()
    await page.get_by_role("button", name="Make a new secret").click()
    assert (await page.locator("#secret").inner_text()).startswith("whsec_")


async def test_read_scope_sees_and_changes_nothing(page: Page, tmp_path: Path) -> None:
    """With a key of scope read pages have no buttons for changes, and the addresses refuse."""
    async with scene(tmp_path, security={"api_keys": KEYS}) as made:
        job = made.exec.add(lasts=60 * SECOND)
        await made.register(job.id)
        await log_in(page, made, READER)
        await page.get_by_role("link", name="Endpoints").click()
        await page.locator("main a[href^='/endpoints/ep_']").first.click()
        await expect(page.get_by_role("heading", name="Message preview")).to_be_visible()
        await expect(page.get_by_role("button", name="Disable")).to_have_count(0)
        await expect(page.get_by_role("link", name="Register a job")).to_have_count(0)
        await page.goto(made.url + "/register")
        await expect(page.get_by_role("alert")).to_contain_text("this needs a key with the scope register")


async def test_wrong_key_is_explained(page: Page, tmp_path: Path) -> None:
    """The login is refused with the reason; after a login with the right key the requested page is shown."""
    async with scene(tmp_path, security={"api_keys": KEYS}) as made:
        await page.goto(made.url + "/endpoints?kind=standing")
        await page.get_by_label("API key of this relay").fill("relay_wrong")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("alert")).to_contain_text("this API key is not known here")
        await page.get_by_label("API key of this relay").fill(KEY)
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(made.url + "/endpoints?kind=standing")


PAGES = """/ /jobs /deliveries /deliveries?status=failed&http_status=5xx /jobs?metadata=customer%3Dacme
/endpoints /endpoints/new /keys /register /search?q=call /search?q=none JOB ACTIVE
DELIVERY FAILED?first=1&second=2 ENDPOINT /jobs/default/none""".split()
EMPTY = "/ /jobs /deliveries /endpoints /endpoints/new /keys /register".split()
VIOLATIONS = {"resultTypes": ["violations"]}
CONTRAST = VIOLATIONS | {"runOnly": ["color-contrast"]}
ALL_ELSE = VIOLATIONS | {"rules": {"color-contrast": {"enabled": False}}}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
"""Only the contrast depends on the color scheme; axe-core takes longer for it than for all else."""


PAGE_HAS_AXE = Axe("null")


async def addresses(made: Scene, pages: list[str]) -> list[str]:
    """The URLs of the pages, with existing ids: of a message that is shown as Slack draws it, and of one that waits for
    its next attempt, if there are such."""
    found = await made.deliveries()
    drawn = next((one for one in found if b'"blocks"' in one.body), found[0])
    waiting = next((one for one in reversed(found) if one.status is DeliveryStatus.PENDING), found[0])
    [active] = await made.relay.store.read(lambda tx: watches.page(tx, paging.Page(1))[0])
    ids = {
        "JOB": f"/jobs/default/{waiting.job_id}",
        "ACTIVE": f"/jobs/default/{active.job_id}",
        "DELIVERY": f"/deliveries/{drawn.id}",
        "FAILED": f"/deliveries/{waiting.id}",
        "ENDPOINT": f"/endpoints/{drawn.endpoint_id}",
    }
    parts = [page.partition("?") for page in pages]
    return [made.url + ids.get(place, place) + mark + chosen for place, mark, chosen in parts]


async def assert_accessible(page: Page, part: str = "html", colored: str = "main") -> None:
    """axe-core finds nothing in this part of the page, and no lack of contrast in `colored`, light or dark."""
    await assert_none(page, Axe(), part, ALL_ELSE)
    for scheme in SCHEMES:
        await page.emulate_media(color_scheme=scheme)
        await assert_none(page, PAGE_HAS_AXE, colored, CONTRAST, scheme)


async def assert_none(page: Page, axe: Axe, part: str, options: dict[str, Any], scheme: str = "") -> None:
    results = await axe.run(page, part, options)
    assert results.violations_count == 0, f"{scheme} {page.url}\n{results.generate_report()}"


GATHER = """async ([address, format]) => {
  const found = new DOMParser().parseFromString(await (await fetch(address)).text(), "text/html");
  const preview = found.querySelector("[aria-labelledby=preview]");
  for (const marked of [preview, ...preview.querySelectorAll("*")])
    for (const name of ["id", "for", "aria-labelledby", "aria-describedby", "aria-controls"])
      if (marked.hasAttribute(name)) marked.setAttribute(name, `${marked.getAttribute(name)}-${format}`);
  preview.querySelector("h2").append(` as ${format}`);
  document.querySelector("main").append(preview);
}"""
"""Adds the preview of another page to the one that is open, under names of its own."""


async def gather_previews(page: Page, made: Scene) -> None:
    """Opens an endpoint's page, and puts the previews of all formats into it: axe-core looks at all of a document,
    so to judge them one by one takes ten times as long."""
    [address] = await addresses(made, ["ENDPOINT"])
    await page.goto(address)
    for format in FORMATS:
        await page.evaluate(GATHER, [f"{address}?format={format}&event=job.failed", format])


async def assert_fits_phones(page: Page) -> None:
    """The page is no wider than a phone."""
    desktop = page.viewport_size
    await page.set_viewport_size({"width": 360, "height": 780})
    wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{page.url} is {wide} px too wide for a phone"
    if desktop is not None:
        await page.set_viewport_size(desktop)


@pytest.mark.timeout(300)
async def test_pages_are_accessible_and_fit_phones(page: Page, tmp_path: Path) -> None:
    """axe-core finds nothing on any page, light or dark, and no page is wider than a phone."""
    async with scene(tmp_path, standing=True) as made:
        await lively_day(made, jobs=5)
        colored = "html"  # what stands around the content has the same colors on all pages
        for address in await addresses(made, PAGES):
            await page.goto(address)
            await assert_accessible(page, colored=colored)
            await assert_fits_phones(page)
            colored = "main"
        await gather_previews(page, made)
        previews = "[aria-labelledby^=preview-]"
        await expect(page.locator(previews)).to_have_count(len(FORMATS))
        await assert_accessible(page, previews, previews)


async def test_login_and_empty_pages_are_accessible(page: Page, tmp_path: Path) -> None:
    """axe-core finds nothing on the login, its error, empty pages, and open menus."""
    async with scene(tmp_path, security={"api_keys": KEYS}) as made:
        await page.goto(made.url + "/login")
        await assert_accessible(page)
        await log_in(page, made, "relay_wrong")
        await expect(page.get_by_role("alert")).to_be_visible()
        await assert_accessible(page)
        await log_in(page, made)
        await page.locator("summary", has_text="me").click()
        await assert_accessible(page, colored="html")
        for path in EMPTY:
            await page.goto(made.url + path)
            await assert_accessible(page)


async def test_pages_work_without_scripts(browser: Browser, made: Scene) -> None:
    """Without JavaScript every page has its content, and forms work."""
    job = made.exec.add(lasts=60 * SECOND, name="Renewal")
    await made.register(job.id)
    await made.advance(10 * MINUTE)
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    for address in await addresses(made, PAGES):
        await page.goto(address)
        await expect(page.get_by_role("heading", level=1)).not_to_be_empty()
    await page.goto(made.url + "/jobs")
    await page.get_by_role("link", name="Renewal").click()
    await page.get_by_role("link", name="job.completed").click()
    await page.get_by_role("button", name="Resend").click()
    await expect(page.get_by_text("Resending the delivery.")).to_be_visible()
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


DOUBLE_CLICK = """form => {
  const refused = [];
  addEventListener("submit", (event) => { refused.push(event.defaultPrevented); event.preventDefault(); });
  form.requestSubmit();
  form.requestSubmit();
  return refused;
}"""


async def test_an_endpoint_is_created_by_form(page: Page, made: Scene) -> None:
    """A pasted URL is recognized at once; a test event shows the receiver's response; edit, then delete. The second
    click of a double-click sends nothing, which would hide the secret that the first one shows."""
    made.receiver.always(Respond(status=200, body=b"thank you"), path="/crm")
    await page.goto(made.url + "/endpoints")
    await page.get_by_role("link", name="New endpoint").click()
    await page.get_by_label("URL").fill("https://hooks.slack.com/services/T000/B000/abcdefghijklmnopqrstuvwx")
    await page.get_by_label("Name").fill("sales-channel")
    await expect(page.get_by_text("Recognized as slack")).to_be_visible(timeout=SHOWN)
    await expect(page.get_by_role("figure", name="The message as Slack shows it")).to_be_visible()

    await page.get_by_label("URL").fill(made.receiver_url + "/crm")
    await page.get_by_label("Sample event").select_option("job.failed")
    await expect(page.get_by_text("Recognized as standard")).to_be_visible(timeout=SHOWN)
    await page.get_by_role("button", name="Send test event").click()
    await expect(page.get_by_text("Test event delivered")).to_be_visible()
    await expect(page.get_by_text("thank you")).to_be_visible()
    assert [received.event_type for received in made.received("/crm")] == ["job.failed"]
    await page.get_by_role("button", name="Create endpoint").click()
    await expect(page.get_by_text("The endpoint is created.")).to_be_visible()
    made.receiver.set_secrets(await page.locator("#secret").inner_text(), path="/crm")

    await page.goto(made.url + "/endpoints")
    await page.get_by_role("link", name="sales-channel").click()
    await page.get_by_role("link", name="Edit").click()
    await expect(page.get_by_label("URL")).to_have_value("")
    assert await page.locator("#endpoint-form").evaluate(DOUBLE_CLICK) == [False, True]
    await page.reload()
    await page.get_by_label("Name").fill("enablement-channel")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("The endpoint is saved.")).to_be_visible()
    await page.get_by_role("button", name="Send test event").click()
    await expect(page.get_by_text("Test event delivered")).to_be_visible()
    assert made.received("/crm")[-1].verified, made.received("/crm")[-1].error

    await page.get_by_text("Delete", exact=True).click()
    await page.get_by_role("button", name="Delete it").click()
    await expect(page.get_by_text("The endpoint is deleted.")).to_be_visible()
    await expect(page.get_by_text("No endpoints yet.")).to_be_visible()


OVERLAPS = """() => {
  const shown = [...document.querySelectorAll(".axis text")].filter((text) => text.getClientRects().length);
  const boxes = shown.map((text) => text.getBoundingClientRect()).sort((a, b) => a.left - b.left);
  const apart = boxes.every((box, index) => index === 0 || box.left >= boxes[index - 1].right);
  return boxes.length > 1 && apart && boxes.every((box) => box.left >= 0 && box.right <= innerWidth);
}"""
CUT = """() => [...document.querySelectorAll(".timeline-row > :first-child")]
  .filter((name) => name.scrollWidth > name.clientWidth + 1).map((name) => name.textContent)"""


async def test_timeline_on_a_phone(page: Page, tmp_path: Path) -> None:
    """No name of a row is cut, and the labels of the axis neither overlap nor leave the screen."""
    async with scene(tmp_path, standing=True) as made:
        job = made.exec.add(queued=40 * SECOND, lasts=300 * SECOND)
        await made.register(job.id, path="/a-receiver-with-a-very-long-path")
        await made.advance(10 * MINUTE)
        await page.set_viewport_size({"width": 360, "height": 780})
        await page.goto(f"{made.url}/jobs/default/{job.id}")
        await expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
        assert await page.evaluate(OVERLAPS)
        assert await page.evaluate(CUT) == []


async def test_theme_stays_chosen(page: Page, made: Scene) -> None:
    """The chosen theme wins over the system's on every page, until "system" is chosen again."""
    ground = "getComputedStyle(document.body).backgroundColor"
    await page.emulate_media(color_scheme="light")
    await page.goto(made.url)
    light = await page.evaluate(ground)
    await page.get_by_label("Theme").select_option("dark")
    dark = await page.evaluate(ground)
    assert dark != light
    await page.goto(made.url + "/jobs")
    assert await page.evaluate(ground) == dark
    await page.get_by_label("Theme").select_option("system")
    assert await page.evaluate(ground) == light
    await page.emulate_media(color_scheme="dark")
    assert await page.evaluate(ground) == dark
