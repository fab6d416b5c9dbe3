"""Which format a URL gets, and what a receiver's errors mean for the delivery."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import formats
from relay.egress import HttpResponse


@pytest.mark.parametrize(
    ("url", "format"),
    [
        ("https://hooks.slack.com/services/T0/B0/x", "slack"),
        ("https://HOOKS.SLACK.COM:443/services/T0/B0/x?y", "slack"),
        ("https://hooks.slack-gov.com/services/T0/B0/x", "slack"),
        ("https://hooks.slack.com/triggers/T0/1/x", "slack_workflow"),
        ("https://hooks.slack.com/workflows/T0/A0/1/x", "slack_workflow"),
        ("https://hooks.zapier.com/hooks/catch/1/x/", "zapier"),
        ("https://hooks.zapier.com/hooks/standard/1/x/", "zapier"),
        ("https://discord.com/api/webhooks/1/x", "discord"),
        ("https://canary.discord.com/api/v10/webhooks/1/x", "discord"),
        ("https://discordapp.com/api/webhooks/1/x", "discord"),
        ("https://prod-12.westeurope.logic.azure.com:443/workflows/x/triggers/manual/paths/invoke?sig=y", "teams"),
        ("https://x.environment.api.powerplatform.com:443/powerautomate/automations/direct/workflows/x", "teams"),
        ("https://chat.googleapis.com/v1/spaces/x/messages?key=y&token=z", "google_chat"),
        ("https://chat.googleapis.com./v1/spaces/x/messages", "google_chat"),
        ("https://discord.com/api/webhooks/1/x/slack", "slack"),
        ("https://ptb.discord.com/api/webhooks/1/x/slack/", "slack"),
        ("https://prod-1.usgovtexas.logic.azure.us/workflows/x/triggers/manual/paths/invoke", "teams"),
        ("https://x.environment.high.api.powerplatform.us/powerautomate/automations/direct/workflows/x", "teams"),
        ("https://prod-1.chinaeast2.logic.azure.cn/workflows/x", "teams"),
        ("https://mattermost.example.com/hooks/abc", "mattermost"),
        ("https://acme.cloud.mattermost.com/hooks/abc", "mattermost"),
        ("https://acme.rocket.chat/hooks/1/x", "rocketchat"),
        ("https://ntfy.sh/exec-jobs", "ntfy"),
        ("https://ntfy.example.com/exec-jobs", "ntfy"),
        ("https://ntfy.sh/", "standard"),
        ("https://ntfy.sh/a/b", "standard"),
        ("https://api.telegram.org/bot1:x/sendMessage?chat_id=1", "telegram"),
        ("https://slack.com/api/chat.postMessage?channel=C1", "slack_app"),
        ("https://slack.com/api/chat.update", "standard"),
        ("https://hooks.slack.com/", "standard"),
        ("https://hooks.slack.com.example.com/services/T0/B0/x", "standard"),
        ("https://example.com/hooks.slack.com/services/", "standard"),
        ("https://hooks.slack.com@example.com/services/T0/B0/x", "standard"),
        ("https://notdiscord.com/api/webhooks/1/x", "standard"),
        ("https://logic.azure.com.example.com/x", "standard"),
        ("https://eo123.m.pipedream.net", "standard"),
        ("https://hook.eu1.make.com/x", "standard"),
        ("smtp://u:p@mail.example.com/?from=a@b.example&to=c@d.example", "email"),
        ("SMTPS://mail.example.com/?from=a@b.example&to=c@d.example", "email"),
        ("http://[::1", "standard"),
        ("", "standard"),
    ],
)
def test_the_format_is_detected_from_host_and_path(url: str, format: str) -> None:
    """A receiver is detected by its exact host and path; everything else gets the standard body."""
    assert formats.detect_format(url) == format


@given(st.text() | st.text().map("https://".__add__))
def test_detecting_a_format_never_raises(text: str) -> None:
    """For any text."""
    assert formats.detect_format(text) in formats.FORMATS


def azure(code: str, message: str = "") -> bytes:
    return json.dumps({"error": {"code": code, "message": message}}).encode()


def teams_failure(status: int) -> bytes:
    text = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error"
    return f"{text} {status} with ContextId tcid=0".encode()


@pytest.mark.parametrize(
    ("format", "status", "body", "said", "disable"),
    [
        ("slack", 404, b"no_service", "(no_service): make a new incoming webhook", True),
        ("slack", 404, b"no_active_hooks\n", "switch them on", True),
        ("slack", 404, b"channel_not_found", "for another channel", True),
        ("slack", 410, b"channel_is_archived", "unarchive it", True),
        ("slack", 403, b"action_prohibited", "ask for permission", True),
        ("slack", 403, b"invalid_token", "copy its URL again", True),
        ("slack", 400, b"invalid_payload", "please report it", False),
        ("slack", 400, b"invalid_blocks", "please report it", False),
        ("slack", 400, b"no_text", "please report it", False),
        ("slack_workflow", 404, b'{"ok":false,"error":"no_service"}', "(no_service)", True),
        ("discord", 404, b'{"message":"Unknown Webhook","code":10015}', "make a new webhook", True),
        ("discord", 401, b'{"message":"Invalid Webhook Token","code":50027}', "copy the whole URL", True),
        ("discord", 400, b'{"message":"Invalid Form Body","code":50035}', "please report it", False),
        ("teams", 404, azure("WorkflowNotFound"), "make the workflow again", True),
        (
            "teams",
            400,
            azure("WorkflowTriggerIsNotEnabled", "its state is 'Deleted'."),
            "make the workflow again",
            True,
        ),
        ("teams", 401, azure("DirectApiAuthorizationRequired"), "copy the whole URL", True),
        ("google_chat", 404, b'{"error":{"code":404,"status":"NOT_FOUND"}}', "make a new webhook", True),
        ("google_chat", 403, b'{"error":{"code":403,"status":"PERMISSION_DENIED"}}', "copy its whole URL", True),
        ("google_chat", 400, b'{"error":{"code":400,"status":"INVALID_ARGUMENT"}}', "please report it", False),
        ("slack", 403, b"token_revoked", "install the app again", True),
        ("slack", 403, b'{"ok":false,"error":"team_disabled"}', "in another one", True),
        ("slack", 403, b"account_inactive", "install the app again", True),
        ("slack", 403, b"restricted_action", "ask for permission", True),
        ("slack_workflow", 403, b'{"ok":false,"error":"team_access_not_granted"}', "ask an admin", True),
        ("discord", 404, b'{"message":"Unknown Channel","code":10003}', "channel of this webhook was deleted", True),
        ("discord", 400, b'{"message":"Thread is archived","code":50083}', "unarchive it", True),
        ("discord", 400, b'{"message":"x","code":220001}', "?thread_id=", True),
        ("discord", 400, b'{"message":"x","code":220004}', "text channel", True),
        ("discord", 400, b'{"message":"blocked by AutoMod","code":200000}', "please report it", False),
        ("slack", 200, b"no_service", "(no_service): make a new incoming webhook", True),
        ("slack", 200, b'{"ok":false,"error":"invalid_blocks"}', "please report it", False),
        ("slack_workflow", 200, b'{"ok":false,"error":"invalid_trigger_inputs"}', "variables", True),
        ("teams", 200, teams_failure(413), "please report it", False),
        ("teams", 200, teams_failure(404), "make the workflow again", True),
        ("google_chat", 200, b'{"error":{"code":404,"status":"NOT_FOUND"}}', "make a new webhook", True),
        ("discord", 200, b'{"message":"Unknown Channel","code":10003}', "channel of this webhook was deleted", True),
        ("mattermost", 400, b'{"id":"web.incoming_webhook.invalid.app_error"}', "make a new incoming webhook", True),
        ("mattermost", 400, b'{"id":"api.context.invalid_body_param.app_error"}', "please report it", False),
        (
            "rocketchat",
            400,
            b'{"success":false,"error":"invalid-integration-id-or-token-provided"}',
            "make a new",
            True,
        ),
        ("ntfy", 403, b'{"code":40301,"http":403,"error":"forbidden"}', "Authorization: Bearer", True),
        ("ntfy", 400, b'{"code":40009,"http":400,"error":"topic invalid"}', "check the topic", False),
        ("telegram", 401, b'{"ok":false,"error_code":401,"description":"Unauthorized"}', "check the bot's token", True),
        ("telegram", 400, b'{"ok":false,"description":"Bad Request: chat not found"}', "check chat_id", True),
        ("telegram", 400, b'{"ok":false,"description":"Bad Request: message is too long"}', "please report it", False),
        (
            "telegram",
            400,
            b'{"ok":false,"description":"Bad Request: group chat was upgraded to a supergroup chat",'
            b'"parameters":{"migrate_to_chat_id":-1001557912345}}',
            "chat_id=-1001557912345",
            True,
        ),
        ("telegram", 400, b'{"ok":false,"description":"Bad Request: message thread not found"}', "thread_id", True),
        ("telegram", 400, b'{"ok":false,"description":"Bad Request: TOPIC_CLOSED"}', "open the topic", True),
        ("telegram", 400, b'{"ok":false,"description":"Bad Request: chat_id is empty"}', "add chat_id", True),
        (
            "telegram",
            400,
            b'{"ok":false,"description":"Bad Request: not enough rights to send text messages to the chat"}',
            "let the bot post",
            True,
        ),
    ],
)
def test_permanent_errors_of_a_receiver_say_what_to_do(
    format: str, status: int, body: bytes, said: str, disable: bool
) -> None:
    """The endpoint is disabled unless the relay's own body is at fault."""
    rejection = formats.rejection(format, HttpResponse(status, {}, body))
    assert rejection is not None
    assert said in rejection.reason
    assert (rejection.disable, rejection.retry) == (disable, False)


@pytest.mark.parametrize(
    ("format", "body", "busy"),
    [
        ("slack", b'{"ok":false,"error":"rate_limited"}', True),
        ("slack_workflow", b'{"ok":false,"error":"internal_error"}', False),
        ("slack_workflow", b'{"ok":false,"error":{"a":1}}', False),
        ("slack_workflow", b'{"ok":false}', False),
        ("teams", teams_failure(429), True),
        ("teams", teams_failure(503), False),
        ("teams", b"Webhook message delivery failed with error", False),
        ("google_chat", b'{"error":{"status":"RESOURCE_EXHAUSTED"}}', True),
        ("google_chat", b'{"error":{"status":"INTERNAL"}}', False),
        ("rocketchat", b'{"success":false,"error":"x"}', False),
        ("telegram", b'{"ok":false,"error_code":429,"description":"Too Many Requests"}', True),
    ],
)
def test_a_temporary_rejection_with_status_200_is_retried(format: str, body: bytes, busy: bool) -> None:
    """A 200 whose body rejects the message is a failed attempt, not a delivery."""
    rejection = formats.rejection(format, HttpResponse(200, {}, body))
    assert rejection is not None
    assert (rejection.retry, rejection.busy, rejection.disable) == (True, busy, False)


@pytest.mark.parametrize("format", [name for name in formats.NAMES if name != "slack_app"])
@pytest.mark.parametrize(
    "body",
    [b"", b"ok", b"1", b"{}", b'{"ok":true}', b'{"id":"1"}', b"[]", b"null", b"\xff", b'{"ok":0}', b'{"error":null}'],
)
def test_a_plain_success_is_a_success(format: str, body: bytes) -> None:
    """What services answer when all is well, and what says nothing; Slack's Web API alone has to say `ok: true`."""
    for status in (200, 202, 204):
        assert formats.rejection(format, HttpResponse(status, {}, body)) is None


@pytest.mark.parametrize("format", [name for name in formats.FORMATS if formats.is_read_by_people(name)])
def test_a_login_page_is_no_chat(format: str) -> None:
    """A self-hosted chat behind single sign-on: the page answers 200, and nobody gets the message."""
    for page in (b"<!DOCTYPE html><title>Log in</title>", b"\n<html lang=en>"):
        rejection = formats.rejection(format, HttpResponse(200, {}, page))
        assert rejection is not None
        assert (rejection.retry, rejection.disable) == (True, False)
    assert formats.rejection("standard", HttpResponse(200, {}, b"<!doctype html>thanks")) is None


@given(st.sampled_from(formats.NAMES), st.integers(100, 599), st.binary(max_size=200))
def test_any_response_can_be_classified(format: str, status: int, body: bytes) -> None:
    """Nothing raises, whatever the receiver answers."""
    formats.rejection(format, HttpResponse(status, {}, body))
    formats.rejection(format, HttpResponse(status, {}, b'{"ok":false,"error":{"code":' + body + b"}}"))


@pytest.mark.parametrize(
    ("format", "status", "body"),
    [
        ("slack", 200, b"ok"),
        ("slack", 429, b"rate_limited"),
        ("slack", 500, b"rollup_error"),
        ("slack", 503, b"no_service"),
        ("slack", 404, b"<html>not found</html>"),
        ("slack", 404, b"\xff\xfe"),
        ("slack_workflow", 400, b"no_service"),
        ("slack_workflow", 500, b'{"error":"no_service"}'),
        ("discord", 404, b'{"message":"404: Not Found","code":0}'),
        ("discord", 429, b'{"message":"You are being rate limited.","retry_after":0.5}'),
        ("discord", 404, b"[10015]"),
        ("discord", 404, b"[" * 16_000),
        ("teams", 400, azure("WorkflowTriggerIsNotEnabled", "its state is 'Suspended'.")),
        ("teams", 400, b'{"error":"WorkflowNotFound"}'),
        ("google_chat", 404, b"<html>"),
        ("google_chat", 429, b'{"error":{"status":"RESOURCE_EXHAUSTED"}}'),
        ("standard", 404, b"no_service"),
        ("zapier", 404, b"no_service"),
    ],
)
def test_other_responses_are_left_to_the_schedule(format: str, status: int, body: bytes) -> None:
    """An error that may pass, or that is not the receiver's own, is no permanent error."""
    assert formats.rejection(format, HttpResponse(status, {}, body)) is None


def test_every_receiver_s_rate_is_known() -> None:
    """Slack, Google Chat and Telegram take one a second, Zapier stays below its 30; some name no limit."""
    assert {format: formats.rate_limit(format) for format in formats.FORMATS} == {
        "standard": None,
        "slack": 1,
        "slack_workflow": 1,
        "zapier": 25,
        "discord": None,
        "teams": None,
        "google_chat": 1,
        "slack_app": 1,
        "mattermost": 5,
        "rocketchat": 5,
        "ntfy": None,
        "telegram": 1,
        "email": 5,
    }


def test_formats_are_read_only() -> None:
    """`FORMATS` can't be changed."""
    with pytest.raises(TypeError):
        formats.FORMATS["mine"] = formats.FORMATS["standard"]  # type: ignore[index]


def test_a_topic_and_a_chat_move_from_the_url_into_the_body() -> None:
    """ntfy takes JSON at the server's root only, and Telegram's chat belongs to the body; the query of ntfy stays."""
    published = formats.target("ntfy", "https://ntfy.example.com/base/exec%20jobs?up=1", b'{"title":"x"}')
    assert (published.url, json.loads(published.body)) == (
        "https://ntfy.example.com/base/?up=1",
        {"topic": "exec jobs", "title": "x"},
    )
    url = "https://api.telegram.org/bot1:secret/sendMessage?chat_id=-100&message_thread_id=7"
    sent = formats.target("telegram", url, b'{"text":"x"}')
    assert sent.url == "https://api.telegram.org/bot1:secret/sendMessage"
    assert json.loads(sent.body) == {"chat_id": "-100", "message_thread_id": "7", "text": "x"}
    assert "secret" not in repr(sent)


def test_google_chat_threads_only_if_the_url_asks() -> None:
    """The key alone would open a new thread each time; a plain endpoint has neither key nor option."""
    body = b'{"fallbackText":"x","thread":{"threadKey":"k"}}'
    plain = "https://chat.googleapis.com/v1/spaces/x/messages?key=y&token=z%3D"
    assert formats.target("google_chat", plain, body) == formats.Target(plain, b'{"fallbackText":"x"}')
    threaded = formats.target("google_chat", f"{plain}&threads=true", body)
    assert threaded.url == f"{plain}&messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"
    assert threaded.body == body


def test_a_slack_app_s_sample_is_a_plain_message() -> None:
    """The channel of the URL goes into the body, and what only the relay needs stays out of it."""
    url = "https://slack.com/api/chat.postMessage?channel=C1&threads=true"
    sent = formats.target("slack_app", url, b'{"message":{"text":"x"},"requested_by":"jane@acme.com"}')
    assert sent.url == "https://slack.com/api/chat.postMessage"
    assert json.loads(sent.body) == {"channel": "C1", "text": "x"}
