"""An endpoint's page without a browser: it explains each action, and previews its messages."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from relay import formats
from relay.formats import FORMATS
from relay.formats.sample_event import sample_event
from relay.model import DAY, FINAL_EVENTS, HOUR, MINUTE, SECOND, EventType
from relay.sandbox.receiver import Respond
from relay.store.engine.database import Tx
from relay.store.tables import endpoints
from tests.conftest import Clock
from tests.dashboard.scene import BROKEN, scene
from tests.loopback import http_client
from tests.web.conftest import SECRET, Api, open_api

HTML = {"accept": "text/html"}
CONFIGURED = [
    {"name": "fixed", "url": "https://example.com/fixed", "secret": SECRET},
    {"name": "kept", "url": "https://hooks.slack.com/services/T0/B0/kept"},
]


@pytest.fixture
async def open_relay(sqlite_url: str, clock: Clock) -> AsyncIterator[Api]:
    """A relay without keys, with two endpoints of its configuration."""
    async with open_api(sqlite_url, clock, endpoints=CONFIGURED) as api:
        await api.relay._apply_config(api.relay.config.endpoints, [])
        yield api


async def page_of(api: Api, name: str, **query: str) -> str:
    [id] = [one["id"] for one in (await api.get("/v1/endpoints"))["data"] if one["name"] == name]
    answer = await api.http.get(f"/endpoints/{id}", params=query, headers=HTML)
    assert answer.status_code == 200
    return answer.text


async def test_configured_secret_can_not_be_rotated(open_relay: Api) -> None:
    """A secret of the configuration has no button, but a text that says where to change it."""
    fixed = await page_of(open_relay, "fixed")
    assert "The configuration sets the secret." in fixed
    assert "/rotate" not in fixed
    kept = await page_of(open_relay, "kept")
    assert "The configuration sets no secret, so the relay made one" in kept
    assert "Slack checks no signature" in kept
    assert "/rotate" in kept
    for text in (fixed, kept):
        assert "It stays disabled if the relay restarts or reloads." in text


async def test_no_private_key_is_shown(open_relay: Api) -> None:
    """An endpoint that signs with Ed25519 shows its public key, also right after a new one was made."""
    made = await open_relay.make_endpoint(signing="ed25519")
    assert made["public_key"] in await page_of(open_relay, "ops")
    answer = await open_relay.http.post(f"/endpoints/{made['id']}/rotate", data={"csrf": ""}, headers=HTML)
    new, old = [secret.value for secret in await open_relay.secrets_of(made["id"])]
    public = (await open_relay.get(f"/v1/endpoints/{made['id']}"))["public_key"]
    assert "The new public key" in answer.text
    assert public in answer.text
    assert made["public_key"] in answer.text  # the old one signs too
    assert "whsk_" not in answer.text
    assert new.removeprefix("whsk_") not in answer.text
    assert old.removeprefix("whsk_") not in answer.text


async def test_failing_endpoint_says_when_it_is_disabled(open_relay: Api, clock: Clock) -> None:
    """Since when it fails, and when the relay disables it; once disabled, how many deliveries are held for it."""
    made = await open_relay.register(events=["job.completed"])
    id, since = made["endpoint"]["id"], clock()

    def fails(tx: Tx) -> None:
        [found] = endpoints.lock_many(tx, [id]).values()
        endpoints.save(tx, replace(found, failing_since=since, failures=3))

    await open_relay.relay.store.write(fails)
    clock.advance(DAY)
    text = (await open_relay.http.get(f"/endpoints/{id}", headers=HTML)).text
    assert (
        "3 attempts in a row. Unless an attempt succeeds, the relay disables it in 4 d, after at least 10 attempts"
        in text
    )
    await open_relay.post(f"/v1/endpoints/{id}/disable")
    await open_relay.deliver()
    text = (await open_relay.http.get(f"/endpoints/{id}", headers=HTML)).text
    assert "1 delivery is held for it" in text
    assert "Enable and send the 1 held delivery" in text


PICTURES = {
    "slack": "The message as Slack shows it",
    "discord": "The message as Discord shows it",
    "teams": "The message as Teams shows it",
    "google_chat": "The message as Google Chat shows it",
    "slack_workflow": "The variables of the workflow",
    "zapier": "The fields as Zapier shows them",
    "slack_app": "The message as Slack shows it",
    "mattermost": "The message as Mattermost shows it",
    "rocketchat": "The message as Rocket.Chat shows it",
    "telegram": "The message as Telegram shows it",
    "ntfy": "The notification as ntfy shows it",
    "email": "The mail as a mail client shows it",
}


@pytest.mark.parametrize("format", [*FORMATS])
async def test_preview_of_every_format(open_relay: Api, format: str) -> None:
    """Each event is shown as its receiver shows it with its whole text, and the body is below it."""
    for type in FINAL_EVENTS:
        text = await page_of(open_relay, "kept", format=format, event=type.value)
        assert (PICTURES.get(format, "Request body")) in text
        body = formats.render(format, sample_event(type, open_relay.clock()), None)
        assert b"Scenario" in body or format == "standard"
        if format in PICTURES and type is EventType.FAILED:
            assert text.count("Unable to generate scenario from the provided prompt") >= 2  # twice: picture, body
            assert "GENERATION\\_ERROR" not in text.split("Request body")[0]


@pytest.mark.parametrize("format", [name for name in FORMATS if formats.is_read_by_people(name)])
async def test_preview_of_a_digest(open_relay: Api, format: str) -> None:
    """As the chat or the mail client shows it: every scenario by its name, without the marks of its markup."""
    text = await page_of(open_relay, "kept", format=format, event="jobs.digest")
    picture = text.split("Request body")[0]
    assert PICTURES[format] in picture
    for name in ("3 scenarios ready, 1 cancelled", "Discovery Call with IT Director", "Renewal with a skeptical CFO"):
        assert name in picture
    assert "](http" not in picture
    assert "<option selected>jobs.digest</option>" in picture


async def test_a_format_without_digests_previews_none(open_relay: Api) -> None:
    """Who changes the format while looking at a digest sees a scenario that is ready."""
    text = await page_of(open_relay, "kept", format="standard", event="jobs.digest")
    assert "<option>jobs.digest" not in text
    assert "job.completed" in text.split("Request body")[1]


async def test_lists_show_problems(tmp_path: Path) -> None:
    """Deliveries are listed by the scenario's name; a delivery that failed or waits shows the last error, that it is
    held, or why it failed."""
    async with scene(tmp_path) as made, http_client(base_url=made.url, headers=HTML) as http:
        job = made.exec.add(lasts=60 * SECOND, name="Cold call to a plant manager")
        made.receiver.always(BROKEN, path="/crm")
        registered = await made.register(job.id, path="/crm")
        await made.advance(3 * MINUTE)
        listed = (await http.get("/deliveries")).text
        assert "Cold call to a plant manager</a>" in listed
        assert "answered 500" in listed

        for verb, held in (("disable", True), ("enable", False)):
            await http.post(f"/endpoints/{registered.registration.endpoint_id}/{verb}", data={"csrf": ""})
            await made.advance(HOUR)
            assert ("held: disabled by hand" in (await http.get("/deliveries")).text) is held

        made.receiver.always(Respond(status=410), path="/crm")
        await made.advance(DAY)
        failed = (await http.get("/deliveries?status=failed")).text
        assert "answered 410" in failed


async def test_a_registration_at_a_disabled_endpoint_says_so(open_relay: Api) -> None:
    """With the reason and the way to the endpoint, and not that it is notified as soon as the job ends."""
    made = await open_relay.register("j1", callback_url="https://example.com/zap")
    fields = {"csrf": "", "job_id": "j2", "callback_url": "https://example.com/zap", "job.completed": "on"}
    await open_relay.post(f"/v1/endpoints/{made['endpoint']['id']}/disable")
    answer = await open_relay.http.post("/register", data=fields, headers=HTML)
    assert answer.status_code == 200
    assert "Nothing is sent to example.com:443 for now" in answer.text
    assert "disabled by hand" in answer.text
    assert f"/endpoints/{made['endpoint']['id']}" in answer.text
    assert "as soon as it ends" not in answer.text
    await open_relay.post(f"/v1/endpoints/{made['endpoint']['id']}/enable")
    again = await open_relay.http.post("/register", data=fields | {"job_id": "j3"}, headers=HTML)
    assert again.status_code == 303


async def test_a_pulled_endpoint_says_how_it_is_read(open_relay: Api) -> None:
    """Nothing can be sent to it, so its page offers no test and no switch; its previews show what a reader gets."""
    await open_relay.make_endpoint(name="warehouse", url="pull:")
    text = await page_of(open_relay, "warehouse")
    assert "Nothing is sent to this endpoint" in text
    assert "relay events --follow --endpoint warehouse" in text
    assert "Send test event" not in text
    for about_sending in ("Disable it", "healthy", "Latest deliveries", "Success rate"):
        assert about_sending not in text
    assert "read from the feed" in (await open_relay.http.get("/endpoints")).text
