"""Which format a URL gets, and what a receiver's errors mean for the delivery."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import formats
from relay.egress.result import HttpResponse


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
        ("https://hooks.slack.com/", "standard"),
        ("https://hooks.slack.com.example.com/services/T0/B0/x", "standard"),
        ("https://example.com/hooks.slack.com/services/", "standard"),
        ("https://hooks.slack.com@example.com/services/T0/B0/x", "standard"),
        ("https://notdiscord.com/api/webhooks/1/x", "standard"),
        ("https://logic.azure.com.example.com/x", "standard"),
        ("https://eo123.m.pipedream.net", "standard"),
        ("https://hook.eu1.make.com/x", "standard"),
        ("http://[::1", "standard"),
        ("", "standard"),
    ],
)
def test_the_format_follows_from_host_and_path(url: str, format: str) -> None:
    """A receiver is recognised by its very host and path; everything else gets the standard body."""
    assert formats.detect_format(url) == format


@given(st.text() | st.text().map("https://".__add__))
def test_any_text_gets_some_format(text: str) -> None:
    """Choosing never fails, whatever stands where a URL should."""
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
    ],
)
def test_a_receiver_s_permanent_errors_say_what_to_do(
    format: str, status: int, body: bytes, said: str, disable: bool
) -> None:
    """What no retry mends is told in words; the endpoint is disabled unless the relay's own body is at fault."""
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
    ],
)
def test_a_service_that_says_no_for_now_under_200_is_asked_again(format: str, body: bytes, busy: bool) -> None:
    """A 200 whose body says that the message was not taken is a failed attempt, not a delivery."""
    rejection = formats.rejection(format, HttpResponse(200, {}, body))
    assert rejection is not None
    assert (rejection.retry, rejection.busy, rejection.disable) == (True, busy, False)


@pytest.mark.parametrize("format", formats.NAMES)
@pytest.mark.parametrize(
    "body",
    [b"", b"ok", b"1", b"{}", b'{"ok":true}', b'{"id":"1"}', b"[]", b"null", b"\xff", b'{"ok":0}', b'{"error":null}'],
)
def test_a_plain_success_is_a_success(format: str, body: bytes) -> None:
    """What services answer when all is well, and what says nothing."""
    for status in (200, 202, 204):
        assert formats.rejection(format, HttpResponse(status, {}, body)) is None


@given(st.sampled_from(formats.NAMES), st.integers(100, 599), st.binary(max_size=200))
def test_no_answer_makes_it_fail(format: str, status: int, body: bytes) -> None:
    """Whatever a receiver answers, reading it raises nothing."""
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
def test_other_answers_are_left_to_the_schedule(format: str, status: int, body: bytes) -> None:
    """What may pass by itself, or is not the receiver's own word, is no permanent error."""
    assert formats.rejection(format, HttpResponse(status, {}, body)) is None


def test_every_receiver_s_rate_is_known() -> None:
    """Slack and Google Chat take one a second, Zapier stays below its 30; the others name no limit."""
    assert {format: formats.rate_limit(format) for format in formats.FORMATS} == {
        "standard": None,
        "slack": 1,
        "slack_workflow": 1,
        "zapier": 25,
        "discord": None,
        "teams": None,
        "google_chat": 1,
    }


def test_the_formats_can_t_be_changed_by_a_caller() -> None:
    """`FORMATS` is read-only."""
    with pytest.raises(TypeError):
        formats.FORMATS["mine"] = formats.FORMATS["standard"]  # type: ignore[index]
