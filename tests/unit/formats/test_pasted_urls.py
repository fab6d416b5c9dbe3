"""URLs that people paste in place of a webhook's are refused with what to paste; webhooks are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.egress import EgressRules
from relay.endpoints import EndpointSpec, spec
from relay.errors import ValidationFailed
from relay.formats import check_pasted_url


@pytest.mark.parametrize(
    ("url", "instead"),
    [
        ("https://hooks.slack.com/foo", "incoming webhook"),
        ("https://hooks.slack.com/", "incoming webhook"),
        ("https://hooks.slack.com/services/", "incoming webhook"),
        ("https://hooks.slack.com/services/T0/B0", "incoming webhook"),
        ("https://hooks.slack.com/triggers/T0", "incoming webhook"),
        ("https://api.slack.com/apps/A1/incoming-webhooks", "incoming webhook"),
        ("https://hooks.slack.com/commands/T1/1/s3cr3t", "stays valid"),
        ("https://hooks.slack.com/actions/T1/1/s3cr3t", "stays valid"),
        ("https://hooks.slack-gov.com/commands/T1/1/s3cr3t", "incoming webhook"),
        ("https://app.slack.com/client/T1/C1", "incoming webhook"),
        ("https://app.slack-gov.com/client/T1/C1", "incoming webhook"),
        ("https://acme.slack.com/archives/C1", "incoming webhook"),
        ("https://slack.com/", "incoming webhook"),
        ("https://discord.com/channels/1/2", "Copy Webhook URL"),
        ("https://discord.com/api/webhooks/1/s3cr3t/github", "Copy Webhook URL"),
        ("https://discord.com/api/webhooks/1", "Copy Webhook URL"),
        ("https://ptb.discord.com/channels/1/2", "Copy Webhook URL"),
        ("https://discord.gg/abc", "Copy Webhook URL"),
        ("https://media.discordapp.net/attachments/1/2/x.png", "Copy Webhook URL"),
        ("https://acme.webhook.office.com/webhookb2/a@b/IncomingWebhook/s3cr3t/d", "Workflows"),
        ("https://acme.webhook.office365.us/webhookb2/a@b/IncomingWebhook/s3cr3t/d", "Workflows"),
        ("https://outlook.office.com/webhook/a@b/IncomingWebhook/s3cr3t/d", "retired"),
        ("https://outlook.office365.com/webhook/a@b/IncomingWebhook/s3cr3t/d", "retired"),
        ("https://teams.microsoft.com/l/channel/19%3A/General", "Workflows"),
        ("https://gov.teams.microsoft.us/l/channel/19%3A/General", "Workflows"),
        ("https://prod-12.westeurope.logic.azure.com/", "Workflows"),
        ("https://x.environment.api.powerplatform.com/", "Workflows"),
        ("https://make.powerautomate.com/environments/s3cr3t/flows/1", "Workflows"),
        ("https://make.gov.powerautomate.us/environments/1", "Workflows"),
        ("https://flow.microsoft.com/manage/1", "Workflows"),
        ("https://portal.azure.com/#view/s3cr3t", "Workflows"),
        ("https://chat.google.com/room/AAAA", "Copy link"),
        ("https://mail.google.com/chat/u/0/#chat/space/AAAA", "Copy link"),
        ("https://chat.googleapis.com/v1/spaces/AAAA", "Copy link"),
        ("https://zapier.com/editor/1", "Catch Hook"),
        ("https://hooks.zapier.com/", "Catch Hook"),
        ("https://auth-json-server.zapier-staging.com/echo", "running Zap"),
        ("https://script.google.com/macros/s/x/dev", "deployment"),
        ("https://script.google.com/home/projects/x/edit", "deployment"),
        ("https://docs.google.com/spreadsheets/d/s3cr3t/edit#gid=0", "deployment"),
        ("https://webhook.site/#!/view/s3cr3t", "without #"),
        ("https://eu1.make.com/1/scenarios/2/edit", "Custom webhook"),
        ("https://www.make.com/en", "Custom webhook"),
        ("https://t.me/acme", "sendMessage"),
        ("https://api.exec.com/rest/v1/scenario-studio/jobs", "wants to be notified"),
        ("https://acme-corp.app.exec.com/scenarios/x", "wants to be notified"),
    ],
)
def test_a_page_is_refused_with_what_to_paste(url: str, instead: str) -> None:
    """The refusal names the field and the right URL, and repeats no secret."""
    for check in (
        lambda: check_pasted_url(url, "callback_url"),
        lambda: spec.validate(EndpointSpec(url=url), EgressRules()),
        lambda: spec.validate(EndpointSpec(url=url, format="standard"), EgressRules()),
    ):
        with pytest.raises(ValidationFailed) as refused:
            check()
        assert (refused.value.code, refused.value.field) == ("not_a_webhook", "callback_url")
        assert instead in refused.value.message
        assert "s3cr3t" not in refused.value.message


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/services/T0/B0/x",
        "https://hooks.slack-gov.com/services/T0/B0/x",
        "https://hooks.slack.com/triggers/T0/1/x",
        "https://hooks.slack.com/workflows/T0/A0/1/x",
        "https://slack.com/api/chat.postMessage",
        "https://discord.com/api/webhooks/1/x",
        "https://discord.com/api/webhooks/1/x?thread_id=2",
        "https://discord.com/api/v10/webhooks/1/x",
        "https://discordapp.com/api/webhooks/1/x/slack",
        "https://canary.discord.com/api/v10/channels/1/messages",
        "https://prod-12.westeurope.logic.azure.com/workflows/x/triggers/manual/paths/invoke?sig=y",
        "https://chat.googleapis.com/v1/spaces/x/messages?key=y&token=z",
        "https://hooks.zapier.com/hooks/catch/1/x/",
        "https://script.google.com/macros/s/x/exec",
        "https://script.google.com/a/macros/acme.com/s/x/exec",
        "https://script.google.com/a/acme.com/macros/s/x/exec",
        "https://script.google.com/macros/u/1/s/x/exec",
        "https://hooks.slack.com/services/T0/B0/x/",
        "https://x.environment.api.powerplatform.com/powerautomate/automations/direct/workflows/x/triggers/manual",
        "https://webhook.site/00000000-0000-0000-0000-000000000000",
        "https://hook.eu1.make.com/abc",
        "https://api.telegram.org/bot1:x/sendMessage",
        "https://notexec.com/hook",
        "https://example.com/hooks.slack.com/foo",
        "https://notslack.com/foo",
        "https://hooks.slack.com.example.com/foo",
    ],
)
def test_webhook_urls_are_accepted(url: str) -> None:
    """Every webhook of a known service, its APIs for a template, and every unknown host."""
    check_pasted_url(url, "url")


@given(st.from_regex(r"https://[a-z]{1,9}\.(example|slack|discord|office)\.com(/[a-z0-9@]{0,5}){0,3}", fullmatch=True))
def test_any_path_raises_a_refusal_or_nothing(url: str) -> None:
    """For any path."""
    try:
        check_pasted_url(url, "url")
    except ValidationFailed as refused:
        assert refused.code == "not_a_webhook"
