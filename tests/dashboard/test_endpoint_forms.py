"""The endpoint forms without a browser: what is saved, what is refused, and which secrets never come back."""

import html
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from relay.delivery import enqueue
from relay.delivery.digest import gather
from relay.endpoints import admin
from relay.model import DAY, HOUR, MINUTE, SECOND, EventType, LivingMessage, MessageState
from relay.sandbox.receiver import Respond
from relay.store import Tx
from relay.store.tables import endpoints, events, living_messages
from relay.telemetry import LOGGER
from tests.conftest import Clock
from tests.dashboard.scene import BROKEN, Scene
from tests.dashboard.test_pages import HTML
from tests.make import SECRET, make_endpoint, make_event
from tests.web.conftest import Api, open_api

SLACK = "https://hooks.slack.com/services/T000/B000/marked-as-secret"
ENDINGS = {"job.completed": "on", "job.failed": "on"}


@pytest.fixture
async def open_relay(sqlite_url: str, clock: Clock) -> AsyncIterator[Api]:
    """A relay without keys, with an endpoint of its configuration."""
    configured = [{"name": "fixed", "url": "https://example.com/fixed"}]
    async with open_api(sqlite_url, clock, endpoints=configured) as api:
        await api.relay._apply_config(api.relay.config.endpoints, [])
        yield api


async def post(api: Api, path: str, **fields: str) -> httpx.Response:
    return await api.http.post(path, data={"csrf": ""} | fields, headers=HTML)


async def test_created_endpoint_is_saved_once(open_relay: Api) -> None:
    """Saved with its name, format and events; the same form again changes nothing; the secret is shown only once."""
    fields = {"action": "save", "url": "https://example.com/hook", "name": "crm", "format": "auto"} | ENDINGS
    answer = await post(open_relay, "/endpoints/new", **fields)
    assert answer.status_code == 200
    assert "whsec_" in answer.text
    [made] = [one for one in (await open_relay.get("/v1/endpoints"))["data"] if one["name"] == "crm"]
    assert made["format"] == "standard"
    assert sorted(made["events"]) == ["job.completed", "job.failed"]
    again = await post(open_relay, "/endpoints/new", **fields)
    assert again.headers["location"] == f"/endpoints/{made['id']}?notice=endpoint-exists"
    assert "whsec_" not in (await open_relay.http.get(f"/endpoints/{made['id']}", headers=HTML)).text


@pytest.mark.parametrize("name", ["Sales", "sales channel", "vertrieb-ü", "-sales", "s" * 64])
async def test_a_name_that_commands_could_not_give_is_refused(open_relay: Api, name: str) -> None:
    """For a new endpoint and for a change, beside the field, as the API and the configuration refuse it."""
    before = await open_relay.stored()
    new = await post(open_relay, "/endpoints/new", url=SLACK, name=name, action="save", **ENDINGS)
    [fixed] = (await open_relay.get("/v1/endpoints"))["data"]
    assert await open_relay.stored() == before
    await post(open_relay, "/endpoints/new", url=SLACK, name="sales", action="save", **ENDINGS)
    [made] = [one for one in (await open_relay.get("/v1/endpoints"))["data"] if one["id"] != fixed["id"]]
    changed = await post(open_relay, f"/endpoints/{made['id']}/edit", name=name, action="save", **ENDINGS)
    for answer in (new, changed):
        assert answer.status_code == 400
        assert "the name must be 1 to 63 of a-z, 0-9, - and _" in answer.text
        assert 'id="name-error"' in answer.text
    assert (await open_relay.get(f"/v1/endpoints/{made['id']}"))["name"] == "sales"


async def test_preview_saves_nothing(open_relay: Api) -> None:
    """A pasted Slack URL is recognized and its message shown; an invalid URL is explained; nothing is stored."""
    before = await open_relay.stored()
    answer = await post(open_relay, "/endpoints/new", url=SLACK, format="auto", event="job.failed", **ENDINGS)
    assert "Recognized as slack" in answer.text
    assert "Scenario failed" in answer.text
    answer = await post(open_relay, "/endpoints/new", url="https://169.254.169.254/", format="auto", **ENDINGS)
    assert (answer.status_code, "169.254.169.254" in answer.text) == (200, True)
    answer = await post(open_relay, "/endpoints/new", url=SLACK, format="auto", action="save")
    assert (answer.status_code, "choose at least one event" in answer.text) == (400, True)
    assert await open_relay.stored() == before


async def test_edit_keeps_url_and_secret(open_relay: Api) -> None:
    """Empty fields leave URL and secret unchanged; neither is in the form; a masked value is refused."""
    made = await open_relay.make_endpoint(url=SLACK)
    path = f"/endpoints/{made['id']}/edit"
    [before] = await open_relay.secrets_of(made["id"])
    page = (await open_relay.http.get(path, headers=HTML)).text
    assert "marked-as-secret" not in page
    assert before.value not in page
    answer = await post(open_relay, path, action="save", name="renamed", format="slack", **ENDINGS)
    assert answer.headers["location"] == f"/endpoints/{made['id']}?notice=saved"
    endpoint = await open_relay.relay.store.read(lambda tx: admin.get(tx, made["id"]))
    assert (endpoint.name, endpoint.url, endpoint.secrets) == ("renamed", SLACK, (before,))
    masked = {"url": "https://hooks.slack.com/…", "secret": "••••••••"}
    for field, value in masked.items():
        answer = await post(open_relay, path, action="save", name="again", format="slack", **{field: value}, **ENDINGS)
        assert answer.status_code == 400
    refused = await open_relay.http.patch(f"/v1/endpoints/{made['id']}", json={"url": masked["url"]})
    assert refused.status_code == 400
    assert await open_relay.relay.store.read(lambda tx: admin.get(tx, made["id"])) == endpoint


def shown_in(page: str) -> str:
    """What the form says that it showed."""
    [value] = re.findall(r'name="shown" value="([^"]*)"', page)
    return html.unescape(value)


async def test_two_people_edit_one_endpoint(open_relay: Api) -> None:
    """Each changes only what they changed in the form; the same field is replaced only by who has seen the other's."""
    made = await open_relay.make_endpoint(url=SLACK)
    path, all_fields = f"/endpoints/{made['id']}/edit", {"action": "save", "format": "slack"} | ENDINGS
    await post(open_relay, path, name="sales", **all_fields)
    shown = shown_in((await open_relay.http.get(path, headers=HTML)).text)
    await post(open_relay, path, name="sales", shown=shown, quiet="22:00-07:00 Europe/Berlin", **all_fields)
    saved = await post(open_relay, path, name="enablement", shown=shown, **all_fields)
    assert saved.headers["location"].endswith("notice=saved")
    endpoint = await open_relay.relay.store.read(lambda tx: admin.get(tx, made["id"]))
    assert (endpoint.name, endpoint.quiet) == ("enablement", "22:00-07:00 Europe/Berlin")
    refused = await post(open_relay, path, name="onboarding", shown=shown, **all_fields)
    assert refused.status_code == 409
    assert "name is enablement now" in refused.text
    assert 'value="onboarding"' in refused.text
    assert await open_relay.relay.store.read(lambda tx: admin.get(tx, made["id"])) == endpoint
    again = await post(
        open_relay, path, name="onboarding", shown=shown_in(refused.text), quiet=endpoint.quiet or "", **all_fields
    )
    assert again.headers["location"].endswith("notice=saved")
    emptied = await post(open_relay, path, name="", shown=shown_in(refused.text), quiet="", **all_fields)
    assert (emptied.status_code, "an endpoint keeps a name" in emptied.text) == (400, True)


async def test_new_secret_rotates(open_relay: Api) -> None:
    """A secret in the form replaces the old one, which also signs for a day."""
    made = await open_relay.make_endpoint()
    new = "whsec_" + "bmV3LXNlY3JldC1vZi10aGUtZW5kcG9pbnQtZm9ybQ=="
    await post(
        open_relay, f"/endpoints/{made['id']}/edit", action="save", name="ops", format="standard", secret=new, **ENDINGS
    )
    secrets = await open_relay.secrets_of(made["id"])
    assert secrets[0].value == new
    assert len(secrets) == 2


async def test_configured_endpoint_is_not_editable(open_relay: Api) -> None:
    """Its page has no Edit and no Delete, and the addresses refuse and name the configuration."""
    [fixed] = (await open_relay.get("/v1/endpoints"))["data"]
    page = (await open_relay.http.get(f"/endpoints/{fixed['id']}", headers=HTML)).text
    assert "/edit" not in page
    assert "/delete" not in page
    for answer in (
        await open_relay.http.get(f"/endpoints/{fixed['id']}/edit", headers=HTML),
        await post(open_relay, f"/endpoints/{fixed['id']}/edit", action="save", name="other", **ENDINGS),
        await post(open_relay, f"/endpoints/{fixed['id']}/delete"),
    ):
        assert answer.status_code == 409
        assert "configuration" in answer.text


async def test_deleted_endpoint_is_gone(open_relay: Api) -> None:
    """After the deletion the list shows a notice, and the endpoint is gone."""
    made = await open_relay.make_endpoint()
    answer = await post(open_relay, f"/endpoints/{made['id']}/delete")
    assert answer.headers["location"] == "/endpoints?notice=deleted"
    assert (await open_relay.http.get(f"/endpoints/{made['id']}", headers=HTML)).status_code == 404


async def test_test_event_before_saving(made: Scene, http: httpx.AsyncClient) -> None:
    """The chosen event is sent to the URL of the form, the receiver's response is shown, and nothing is saved."""
    made.receiver.always(Respond(status=200, body=b"thank you"), path="/crm")
    fields = {"csrf": "", "action": "test", "url": f"{made.receiver_url}/crm", "format": "auto", "event": "job.failed"}
    answer = await http.post("/endpoints/new", data=fields | ENDINGS | {"secret": SECRET})
    assert "Test event delivered" in answer.text
    assert "thank you" in answer.text
    [received] = made.received("/crm")
    assert (received.event_type, received.verified) == (EventType.FAILED.value, True)
    assert "No endpoints yet" in (await http.get("/endpoints")).text


async def test_one_finished_failure_needs_no_attention(made: Scene, http: httpx.AsyncClient) -> None:
    """An endpoint of one job needs attention while its delivery waits and fails; once nothing waits, no longer."""
    made.receiver.always(BROKEN, path="/crm")
    await made.register(made.exec.add(lasts=60 * SECOND).id, path="/crm")
    await made.advance(2 * MINUTE)
    assert "need attention" not in (await http.get("/")).text.split("<main")[1].split("</h1>")[0]
    await made.advance(HOUR)
    front = (await http.get("/")).text
    assert "1 endpoint needs attention" in front
    waiting = (await http.get("/deliveries?status=pending")).text
    assert re.search(r"attempt [0-9]+ is in |in a row, one attempt at a time", waiting)
    await made.advance(4 * DAY)
    assert "needs attention" not in (await http.get("/")).text


async def test_statistics_of_attempts(made: Scene, http: httpx.AsyncClient) -> None:
    """The endpoint's page counts attempts and their success rate by day and week, and lists the last failures."""
    made.receiver.script(BROKEN, path="/crm")
    registered = await made.register(made.exec.add(lasts=60 * SECOND).id, path="/crm")
    await made.advance(HOUR)
    page = (await http.get(f"/endpoints/{registered.registration.endpoint_id}")).text
    section = page.split('aria-labelledby="statistics"')[1].split("</section>")[0]
    assert section.count("50.0%") == 2
    assert "answered 500" in section
    await made.advance(2 * DAY)
    page = (await http.get(f"/endpoints/{registered.registration.endpoint_id}")).text
    assert page.split('aria-labelledby="statistics"')[1].split("</section>")[0].count("50.0%") == 1


async def test_key_is_not_tried_before_the_first_answer(made: Scene, http: httpx.AsyncClient) -> None:
    """The overview says so until Exec has answered a poll, and then no longer."""
    assert "Key not tried yet" in (await http.get("/")).text
    await made.register(made.exec.add(lasts=60 * SECOND).id)
    await made.advance(10 * SECOND)
    assert "Key not tried yet" not in (await http.get("/")).text
    assert "as of the last poll" in (await http.get("/jobs")).text


async def test_job_without_recipient_warns(
    made: Scene, http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Registering a job of which nobody is notified says so; the log has the registration, like one of the API."""
    caplog.set_level("INFO", LOGGER)
    answer = await http.post("/register", data={"csrf": "", "job_id": "j1", "job.completed": "on"})
    assert answer.status_code == 200
    assert "Nobody is notified of this job" in answer.text
    assert any("job j1 is registered" in record.getMessage() for record in caplog.records)


async def test_job_whose_recipients_are_all_disabled_warns(made: Scene, http: httpx.AsyncClient) -> None:
    """Standing endpoints that are disabled hear nothing for now; one that is enabled is enough."""
    relay = made.relay
    some = [make_endpoint(name=name, url=f"https://example.com/{name}") for name in ("crm", "ops")]
    await relay.store.write(lambda tx: [endpoints.add(tx, one) for one in some])
    for one in some:
        await relay.disable_endpoint(one.id, relay.clock())
    answer = await http.post("/register", data={"csrf": "", "job_id": "j1", "job.completed": "on"})
    assert answer.status_code == 200
    warning = answer.text.split('role="alert"')[1].split("</div>")[0]
    assert "Nobody is notified of this job for now" in warning
    assert all(f'href="/endpoints/{one.id}">{one.name}<' in warning for one in some)
    await relay.enable_endpoint(some[0].id, relay.clock())
    answer = await http.post("/register", data={"csrf": "", "job_id": "j2", "job.completed": "on"})
    assert answer.status_code == 303


async def test_the_form_sets_digest_quiet_hours_and_fallback(open_relay: Api) -> None:
    """Saved, shown again, explained beside the field if they are wrong, and gone when the field is empty."""
    held = {"digest": "5m", "quiet": "22:00-07:00 Europe/Berlin", "fallback": "fixed"}
    answer = await post(open_relay, "/endpoints/new", url=SLACK, name="sales", action="save", **held, **ENDINGS)
    assert answer.status_code == 200
    [made] = [one for one in (await open_relay.get("/v1/endpoints"))["data"] if one["name"] == "sales"]
    assert {name: made[name] for name in held} == held
    form = (await open_relay.http.get(f"/endpoints/{made['id']}/edit", headers=HTML)).text
    page = (await open_relay.http.get(f"/endpoints/{made['id']}", headers=HTML)).text
    for value in held.values():
        assert f'value="{value}"' in form
        assert value in page
    wrong = await post(open_relay, f"/endpoints/{made['id']}/edit", action="save", digest="often", **ENDINGS)
    assert wrong.status_code == 400
    assert "must be a time from 10s to 24h, such as 5m" in wrong.text
    assert 'id="digest-error"' in wrong.text
    await post(open_relay, f"/endpoints/{made['id']}/edit", action="save", **ENDINGS)
    [changed] = [one for one in (await open_relay.get("/v1/endpoints"))["data"] if one["name"] == "sales"]
    assert [changed[name] for name in held] == [None, None, None]


async def test_a_digest_has_a_page_with_its_members(open_relay: Api) -> None:
    """Each member says what it waits for, then leads to the digest; the digest lists them."""
    relay, chat = open_relay.relay, make_endpoint(name="chat", url=SLACK, format="slack", digest="5m")

    def work(tx: Tx) -> None:
        endpoints.add(tx, chat)
        for job in ("j1", "j2"):
            enqueue(tx, events.add(tx, make_event(job)), [(chat, None)], relay.clock(), 0)

    await relay.store.write(work)
    assert "waits for the digest" in (await open_relay.http.get("/deliveries", headers=HTML)).text
    assert await relay.store.write(lambda tx: gather(tx, chat.id, relay.clock(), None)) == 2
    shown = {one["job_id"]: one for one in (await open_relay.get("/v1/deliveries"))["data"]}
    digest_id = shown["j1"]["digest_id"]
    members = (await open_relay.get(f"/v1/deliveries?digest={digest_id}"))["data"]
    assert {delivery["job_id"] for delivery in members} == {"j1", "j2"}
    assert (shown["j1"]["held"], shown["j1"]["reason"]) == (False, f"part of the digest {digest_id}")
    assert (
        f"/deliveries/{digest_id}" in (await open_relay.http.get(f"/deliveries/{shown['j1']['id']}", headers=HTML)).text
    )
    page = (await open_relay.http.get(f"/deliveries/{digest_id}", headers=HTML)).text
    assert "In this digest" in page
    assert all(shown[job]["id"] in page for job in ("j1", "j2"))


async def test_a_test_in_quiet_hours_is_sent_and_says_what_would_wait(open_relay: Api) -> None:
    """At noon, in a window that holds noon; a page without one says nothing."""
    chat = make_endpoint(name="chat", url="https://hooks.slack.test/x", format="slack", quiet="11:00-14:30 UTC")
    await open_relay.relay.store.write(lambda tx: endpoints.add(tx, chat))
    page = (await post(open_relay, f"/endpoints/{chat.id}/test", event="job.completed")).text
    assert "A scenario that is ready now would wait: held by the quiet hours 11:00-14:30 UTC" in page
    assert "would wait" not in (await open_relay.http.get(f"/endpoints/{chat.id}", headers=HTML)).text


async def test_deleting_says_which_messages_stay_as_they_are(open_relay: Api) -> None:
    """A message about a running job can't be edited once the endpoint's URL and token are gone."""
    chat = make_endpoint(name="chat", url=SLACK, format="slack")
    fields = {"workspace": "default", "endpoint_id": chat.id, "address": {"ts": "1"}, "posting_since": 0}

    def work(tx: Tx) -> None:
        endpoints.add(tx, chat)
        for job, state in (("j1", MessageState.POSTED), ("j2", MessageState.ENDED)):
            living_messages.add(tx, LivingMessage(job_id=job, state=state, **fields))  # type: ignore[arg-type]

    await open_relay.relay.store.write(work)
    page = (await open_relay.http.get(f"/endpoints/{chat.id}", headers=HTML)).text
    assert "1 message in the chat will go on saying that a job has started" in page


async def test_slack_s_blocks_are_not_for_other_servers(open_relay: Api) -> None:
    """Mattermost would show an empty box; the form names the format that it reads."""
    url = "https://mattermost.example.com/hooks/abcdefgh"
    answer = await post(open_relay, "/endpoints/new", url=url, format="slack", action="save", **ENDINGS)
    assert answer.status_code == 400
    assert "leave the format out, or give mattermost" in answer.text
