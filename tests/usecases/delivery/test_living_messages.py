"""Living messages: one message of a chat for each job, which changes from started to its ending."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from relay import formats
from relay.delivery.holding import Hold
from relay.delivery.living_messages import LivingMessages
from relay.egress import EgressRules
from relay.egress.http_client import WebhookHttpClient
from relay.egress.result import BUSY, HttpResponse, RequestFailed, SendResult
from relay.model import HOUR, Delivery, DeliveryStatus, Endpoint, EventType, new_id
from relay.sandbox.local_server import serve
from relay.store import Store
from tests.chats import CHANNEL, Chat, FakeDiscord, FakeNtfy, FakeSlack
from tests.conftest import Clock
from tests.make import NOON, make_endpoint
from tests.unit.formats.format_samples import CONTEXT, JOB_ID, JOBS, event

TIMEOUT = 5_000
LOOPBACK = EgressRules(allow_http=True, allow_networks=(ip_network("127.0.0.0/8"),))
IN_PROGRESS = "started"


@dataclass
class World:
    """A chat, and a relay's part that writes to it."""

    chat: Chat
    living: LivingMessages
    endpoint: Endpoint
    clock: Clock
    store: Store
    egress: WebhookHttpClient

    def delivery(self, type: EventType, requested_by: str | None = "jane@acme.com", job_id: str = JOB_ID) -> Delivery:
        context = replace(CONTEXT, requested_by=requested_by)
        made = replace(event(type, JOBS[type], context=context), job_id=job_id)
        return Delivery(
            id=new_id("dlv", NOON),
            event_id=made.id,
            event_type=type,
            workspace="default",
            job_id=job_id,
            endpoint_id=self.endpoint.id,
            registration_id=None,
            status=DeliveryStatus.PENDING,
            body=formats.render(self.endpoint.format, made, None),
            attempts=0,
            attempts_in_run=0,
            created_at=NOON,
            next_attempt_at=NOON,
        )

    async def send(self, type: EventType, **options: Any) -> SendResult | Hold | None:
        """The result of one delivery of this event, or what holds it; None if a plain request would be sent."""
        sent = await self.living.send(self.endpoint, self.delivery(type, **options))
        return sent[0] if isinstance(sent, tuple) else sent

    def restart(self, timeout: int = TIMEOUT) -> None:
        """A relay that knows only what is stored, after the leases of the one before have expired."""
        self.clock.advance(HOUR)
        self.living = LivingMessages(self.store, lambda _: self.egress, self.clock, timeout)


@asynccontextmanager
async def world(
    chat: FakeSlack | FakeDiscord | FakeNtfy, store: Store, path: str, format: str, **headers: str
) -> AsyncIterator[World]:
    clock = Clock(NOON)
    egress = WebhookHttpClient(LOOPBACK)
    async with serve(chat.app) as url:
        endpoint = replace(make_endpoint(), url=f"{url}{path}", format=format, headers=headers)
        yield World(chat, LivingMessages(store, lambda _: egress, clock, TIMEOUT), endpoint, clock, store, egress)
        await egress.aclose()


@pytest.fixture
async def slack(store: Store) -> AsyncIterator[World]:
    path = f"/api/chat.postMessage?channel={CHANNEL}"
    async with world(FakeSlack(), store, path, "slack_app", authorization="Bearer xoxb-secret-token") as made:
        yield made


@pytest.fixture
async def discord(store: Store) -> AsyncIterator[World]:
    async with world(FakeDiscord(), store, "/api/webhooks/1/secret?thread_id=7", "discord") as made:
        yield made


@pytest.fixture
async def ntfy(store: Store) -> AsyncIterator[World]:
    async with world(FakeNtfy(), store, "/jobs", "ntfy") as made:
        yield made


def ok(result: SendResult | Hold | None) -> bool:
    return isinstance(result, HttpResponse) and result.succeeded


@pytest.mark.parametrize("ending", [EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED, EventType.EXPIRED])
async def test_the_ending_replaces_the_start(slack: World, ending: EventType) -> None:
    """One root, whose words, colour and fallback are those of the ending; the requester gets one new message."""
    assert ok(await slack.send(EventType.STARTED))
    assert IN_PROGRESS in slack.chat.texts()[0]
    assert ok(await slack.send(ending))
    root, reply = slack.chat.messages.values()
    assert IN_PROGRESS not in json.dumps(root)
    assert root["attachments"] == []
    assert reply["text"].startswith("<@U0JANE> ")
    assert reply["thread_ts"] in slack.chat.messages
    assert ok(await slack.send(ending))
    assert len(slack.chat.messages) == 2  # a retry of the ending pings nobody again


async def test_a_job_whose_start_was_not_sent_gets_one_message_with_the_mention(slack: World) -> None:
    """A new message notifies by itself."""
    assert ok(await slack.send(EventType.COMPLETED))
    [message] = slack.chat.messages.values()
    assert {"type": "user", "user_id": "U0JANE"} in message["blocks"][0]["elements"][0]["elements"]


@pytest.mark.parametrize("requested_by", [None, "Jane <!channel>", "nobody@acme.com"])
async def test_who_is_not_found_is_not_mentioned(slack: World, requested_by: str | None) -> None:
    """A name stays text, and an address that nobody has is asked for once."""
    for type in (EventType.STARTED, EventType.COMPLETED, EventType.COMPLETED):
        assert ok(await slack.send(type, requested_by=requested_by))
    assert "<@" not in slack.chat.texts()[0]
    assert "<!channel>" not in slack.chat.messages[next(iter(slack.chat.messages))]["text"]
    assert len(slack.chat.messages) == 1
    assert len(slack.chat.called("users.lookupByEmail")) <= 1


async def test_a_start_after_the_ending_is_never_sent(slack: World) -> None:
    """A late retry of the start changes nothing: states only move forward."""
    assert ok(await slack.send(EventType.COMPLETED))
    calls = len(slack.chat.calls)
    assert ok(await slack.send(EventType.STARTED))
    assert len(slack.chat.calls) == calls


async def test_a_refused_start_is_posted_again_and_an_ending_takes_its_place(slack: World) -> None:
    """A 500 to the start leaves no message: the ending is the only one."""
    slack.chat.answers["chat.postMessage"] = [Response(status_code=500)]
    assert not ok(await slack.send(EventType.STARTED))
    assert ok(await slack.send(EventType.COMPLETED))
    [message] = slack.chat.texts()
    assert IN_PROGRESS not in message


async def test_two_deliveries_of_one_job_wait_for_each_other(slack: World) -> None:
    """A start and an ending that are sent together, and two relays with the same start, make one message."""
    results = await asyncio.gather(*(slack.send(EventType.STARTED) for _ in range(3)), slack.send(EventType.COMPLETED))
    for result in results:
        assert ok(result) or (isinstance(result, RequestFailed) and result.kind == BUSY)
    assert ok(await slack.send(EventType.COMPLETED))
    roots = [message for message in slack.chat.messages.values() if "thread_ts" not in message]
    assert len(roots) == 1
    assert IN_PROGRESS not in json.dumps(roots[0])


async def test_after_a_crash_the_channel_s_history_says_where_the_message_is(slack: World) -> None:
    """The relay dies after Slack stored the start: the next one adopts that message, and posts none."""
    stored = asyncio.Event()

    async def hang(_: str) -> None:
        stored.set()
        await asyncio.sleep(3_600)

    slack.chat.stored = hang
    crashed = asyncio.create_task(slack.send(EventType.STARTED))
    await asyncio.wait_for(stored.wait(), 30)
    crashed.cancel()
    slack.chat.stored = None
    slack.restart()
    assert ok(await slack.send(EventType.STARTED))
    assert len(slack.chat.messages) == 1
    assert ok(await slack.send(EventType.COMPLETED))
    roots = [message for message in slack.chat.messages.values() if "thread_ts" not in message]
    assert len(roots) == 1
    assert IN_PROGRESS not in json.dumps(roots[0])
    [history] = slack.chat.called("conversations.history")
    assert history["include_all_metadata"] == "true"


@pytest.mark.parametrize("error", ["message_not_found", "cant_update_message", "edit_window_closed", "msg_too_long"])
async def test_a_message_that_can_not_be_edited_is_posted_once_with_the_ending(slack: World, error: str) -> None:
    """The new message has the ending and the mention, and the next edit finds it."""
    assert ok(await slack.send(EventType.STARTED))
    slack.chat.answers["chat.update"] = [JSONResponse({"ok": False, "error": error})]
    assert ok(await slack.send(EventType.COMPLETED))
    start, ending = slack.chat.messages.values()
    assert IN_PROGRESS in json.dumps(start)
    assert "U0JANE" in json.dumps(ending)
    assert ok(await slack.send(EventType.COMPLETED))
    assert len(slack.chat.messages) == 2


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_edit_that_fails_for_now_is_repeated(slack: World, status: int) -> None:
    """Nothing is posted in its place."""
    assert ok(await slack.send(EventType.STARTED))
    slack.chat.answers["chat.update"] = [Response(status_code=status)]
    assert not ok(await slack.send(EventType.COMPLETED))
    assert len(slack.chat.messages) == 1
    assert ok(await slack.send(EventType.COMPLETED))
    assert len(slack.chat.called("chat.postMessage")) == 2  # the start, and the reply that mentions


async def test_discord_s_message_is_edited_where_it_was_posted(discord: World) -> None:
    """Post and edit keep the thread, the edit sends every field, and neither lets anybody be pinged."""
    assert ok(await discord.send(EventType.STARTED))
    assert ok(await discord.send(EventType.COMPLETED))
    [message] = discord.chat.messages.values()
    assert IN_PROGRESS not in json.dumps(message)
    [post], [edit] = discord.chat.called("post"), discord.chat.called("edit")
    assert post["query"] == {"thread_id": "7", "wait": "true"}
    assert edit["query"] == {"thread_id": "7"}
    for call in (post, edit):
        assert call["body"]["allowed_mentions"] == {"parse": []}
        assert {"content", "embeds"} <= set(call["body"])


async def test_a_message_is_edited_where_it_is_though_its_endpoint_has_moved(slack: World, discord: World) -> None:
    """What Slack and Discord answered to the post is the address: a renamed channel or another one in the URL, or
    another thread, changes nothing for messages that are there."""
    for chat, moved in ((slack, "?channel=another"), (discord, "?thread_id=8")):
        assert ok(await chat.send(EventType.STARTED, requested_by=None))
        chat.endpoint = replace(chat.endpoint, url=chat.endpoint.url.partition("?")[0] + moved)
        assert ok(await chat.send(EventType.COMPLETED, requested_by=None))
        [message] = chat.chat.texts()
        assert IN_PROGRESS not in message


async def test_an_endpoint_with_a_new_discord_webhook_gets_the_ending_there(discord: World) -> None:
    """Once. The old URL may have leaked, so the relay forgets it; the start that stays says nothing that ages."""
    assert ok(await discord.send(EventType.STARTED))
    discord.endpoint = replace(
        discord.endpoint, url=discord.endpoint.url.replace("/webhooks/1/secret", "/webhooks/2/other")
    )
    for _ in range(2):
        assert ok(await discord.send(EventType.COMPLETED))
    start, ending = discord.chat.texts()
    assert "Started at" in start
    assert IN_PROGRESS not in ending


async def test_a_format_that_changes_while_a_message_lives(slack: World, discord: World, ntfy: World) -> None:
    """The other service has no message at the old one's address: it gets the ending as a message of its own, once."""
    for before, after in ((slack, discord), (discord, slack), (slack, ntfy), (discord, ntfy), (ntfy, slack)):
        job_id = f"{before.endpoint.format}-{after.endpoint.format}"
        assert ok(await before.send(EventType.STARTED, job_id=job_id))
        changed = replace(after.endpoint, id=before.endpoint.id)
        before_endpoint, before.endpoint = before.endpoint, changed
        shown = len(after.chat.messages)
        for _ in range(2):
            assert ok(await before.send(EventType.COMPLETED, job_id=job_id, requested_by=None)), job_id
        assert len(after.chat.messages) == shown + 1, job_id
        before.endpoint = before_endpoint


async def test_discord_is_asked_for_one_message_only_where_the_start_is_sent(discord: World) -> None:
    """An endpoint that gets only endings gets plain posts."""
    assert await discord.send(EventType.COMPLETED) is None
    assert discord.chat.calls == []


async def test_after_a_lost_answer_discord_gets_the_ending_and_no_second_start(discord: World) -> None:
    """A webhook can't be asked for its messages: at most one start and one ending."""
    stored = asyncio.Event()

    async def hang(_: str) -> None:
        stored.set()
        await asyncio.sleep(3_600)

    discord.chat.stored = hang
    crashed = asyncio.create_task(discord.send(EventType.STARTED))
    await asyncio.wait_for(stored.wait(), 30)
    crashed.cancel()
    discord.chat.stored = None
    discord.restart()
    again = await discord.send(EventType.STARTED)
    assert isinstance(again, HttpResponse)
    assert b"not sent again" in again.body
    assert ok(await discord.send(EventType.COMPLETED))
    assert len(discord.chat.messages) == 2


async def test_a_deleted_discord_message_is_posted_once_with_the_ending(discord: World) -> None:
    """10008 is no failure of the endpoint."""
    assert ok(await discord.send(EventType.STARTED))
    discord.chat.messages.clear()
    assert ok(await discord.send(EventType.COMPLETED))
    assert ok(await discord.send(EventType.COMPLETED))
    [message] = discord.chat.texts()
    assert IN_PROGRESS not in message


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Thread is archived", "code": 50083},
        {"message": "This thread is locked", "code": 160005},
        {"message": "Unknown Channel", "code": 10003},
        {"message": "Cannot edit a message authored by another user", "code": 50005},
    ],
)
async def test_a_discord_message_that_can_not_be_edited_is_posted_once_with_the_ending(
    discord: World, error: dict[str, object]
) -> None:
    """An archived thread takes no edit, and a new message opens it again; whether the endpoint fails says the post."""
    assert ok(await discord.send(EventType.STARTED))
    discord.chat.answers["edit"] = [JSONResponse(error, 400)]
    assert ok(await discord.send(EventType.COMPLETED))
    assert len(discord.chat.called("post")) == 2
    assert IN_PROGRESS not in discord.chat.texts()[-1]


async def test_too_many_edits_of_old_discord_messages_are_repeated(discord: World) -> None:
    """Discord gives no time to wait; the message is edited later, and not posted again."""
    assert ok(await discord.send(EventType.STARTED))
    discord.chat.answers["edit"] = [JSONResponse({"message": "Maximum number of edits", "code": 30046}, 429)]
    refused = await discord.send(EventType.COMPLETED)
    assert isinstance(refused, HttpResponse)
    rejection = formats.rejection("discord", refused)
    assert rejection is not None
    assert (rejection.retry, rejection.busy, rejection.of_address) == (True, True, False)
    assert ok(await discord.send(EventType.COMPLETED))
    assert len(discord.chat.messages) == 1


@pytest.mark.parametrize(
    ("answer", "said", "disable", "retry"),
    [
        ({"ok": False, "error": "invalid_auth"}, "copy it again", True, False),
        ({"ok": False, "error": "token_revoked"}, "install the app again", True, False),
        ({"ok": False, "error": "account_inactive"}, "install the app again", True, False),
        ({"ok": False, "error": "missing_scope", "needed": "chat:write"}, "chat:write", True, False),
        ({"ok": False, "error": "not_in_channel"}, "/invite", True, False),
        ({"ok": False, "error": "channel_not_found"}, "/invite", True, False),
        ({"ok": False, "error": "is_archived"}, "unarchive", True, False),
        ({"ok": False, "error": "ratelimited"}, "slow down", False, True),
        ({"ok": False, "error": "internal_error"}, "internal_error", False, True),
        ({"ok": False, "error": "fatal_error"}, "fatal_error", False, True),
        ({"ok": False, "error": "service_unavailable"}, "service_unavailable", False, True),
        ({"ok": False, "error": "not_authed"}, "Authorization: Bearer xoxb-", True, False),
        ({"ok": False, "error": "token_expired"}, "install the app again", True, False),
        ({"ok": "yes"}, "a proxy", False, True),
        ({"ok": False, "error": "something_new"}, "something_new", False, True),
        ({"ok": False, "error": "invalid_blocks"}, "please report it", False, False),
        ("<html>proxy</html>", "a proxy", False, True),
    ],
)
def test_what_slack_says_under_200_is_understood(answer: Any, said: str, disable: bool, retry: bool) -> None:
    """A success is `ok: true`; every error has words, and those that need a person disable the endpoint."""
    rejection = formats.rejection("slack_app", HttpResponse(200, {}, json.dumps(answer).encode()))
    assert rejection is not None
    assert said in rejection.reason
    assert (rejection.disable, rejection.retry) == (disable, retry)
    assert formats.rejection("slack_app", HttpResponse(200, {}, b'{"ok":true}')) is None


async def test_ntfy_s_ending_replaces_the_start(ntfy: World) -> None:
    """Also if the answer to the start was lost: the repeat has the same sequence id. The phone rings at the ending."""
    ntfy.chat.answers["publish"] = [Response(status_code=502)]
    assert not ok(await ntfy.send(EventType.STARTED))
    assert ok(await ntfy.send(EventType.STARTED))
    assert ok(await ntfy.send(EventType.STARTED))
    assert ok(await ntfy.send(EventType.COMPLETED))
    [message] = ntfy.chat.texts()
    assert IN_PROGRESS not in message
    assert [body["priority"] for body in ntfy.chat.called("publish")] == [2, 2, 3]


async def test_an_old_ntfy_server_gets_endings_only(ntfy: World) -> None:
    """It answers the first start without the id; every later job is one message."""
    assert isinstance(ntfy.chat, FakeNtfy)
    ntfy.chat.replaces = False
    assert ok(await ntfy.send(EventType.STARTED, job_id="j1"))
    assert ok(await ntfy.send(EventType.COMPLETED, job_id="j1"))
    for job in ("j2", "j3"):
        assert ok(await ntfy.send(EventType.STARTED, job_id=job))
        assert await ntfy.send(EventType.COMPLETED, job_id=job) is None  # a plain request
    assert len(ntfy.chat.messages) == 2


@pytest.mark.parametrize("ending", [EventType.COMPLETED, EventType.FAILED])
async def test_nothing_of_the_start_is_left_in_an_edited_message(
    slack: World, discord: World, ending: EventType
) -> None:
    """Services keep the fields that an edit leaves out. So an edit has every field, and the message is like a
    new one."""
    for chat, address in ((slack, {"channel", "ts"}), (discord, set[str]())):
        requested_by = "jane@acme.com" if ending is EventType.COMPLETED else None
        assert ok(await chat.send(EventType.STARTED, requested_by=requested_by))
        assert ok(await chat.send(ending, requested_by="jane@acme.com"))
        body = json.loads(chat.delivery(ending).body)
        message = next(iter(chat.chat.messages.values()))
        assert {name: value for name, value in message.items() if name not in address} == body.get("message", body)
