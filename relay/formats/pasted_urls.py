"""URLs that people paste by mistake: the host of a known service, with a path that is none of its webhooks.

The error says what to paste instead. Without it, deliveries would fail for days, or end at a page that nobody reads.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from relay.errors import ValidationFailed

_SLACK = "an incoming webhook's URL (https://hooks.slack.com/services/...) or a workflow's (.../triggers/...)"
_DISCORD = "the webhook's URL (channel settings, Integrations, Webhooks, Copy Webhook URL: .../api/webhooks/...)"
_TEAMS = (
    "the URL of a workflow: in Teams, open Workflows for the channel and choose "
    "'Post to a channel when a webhook request is received'"
)
_GOOGLE_CHAT = (
    "the webhook's URL (in the space: Apps & integrations, Webhooks, Copy link: "
    "https://chat.googleapis.com/v1/spaces/...)"
)
_ZAPIER = "the URL that Zapier's 'Catch Hook' shows (https://hooks.zapier.com/hooks/catch/...)"
_APPS_SCRIPT = "the URL of a deployment (Deploy, Manage deployments, Web app: https://script.google.com/.../exec)"

_WEBHOOK_SITE = "your unique URL from that page (https://webhook.site/...), without #"
_MAKE = "the address that the module 'Custom webhook' shows (https://hook.eu1.make.com/...)"
_TELEGRAM = "https://api.telegram.org/bot.../sendMessage, with a template that has chat_id and text"
_RECEIVER = "the URL of the program or chat that wants to be notified"


def _under(*domains: str) -> Callable[[str], bool]:
    endings = tuple(f".{domain}" for domain in domains)
    return lambda host: host in domains or host.endswith(endings)


def _is(*hosts: str) -> Callable[[str], bool]:
    return lambda host: host in hosts


@dataclass(frozen=True, slots=True)
class _Pasted:
    """One kind of mistake: a URL at `host` whose path does not match `webhook` (None: no path does)."""

    host: Callable[[str], bool]
    webhook: re.Pattern[str] | None
    problem: str
    correction: str


_RETIRED = "is no webhook that works: Microsoft has retired the Office 365 connectors of Teams"

_SLACK_WEBHOOK = re.compile(r"/services/[^/]+/[^/]+/[^/]+/?|/(triggers|workflows)/[^/]+/.+")
_DISCORD_WEBHOOK = re.compile(r"/api(/v[0-9]+)?/(webhooks/[^/]+/[^/]+(/slack)?|channels/[^/]+/messages)/?")
_GOOGLE_WEBHOOK = re.compile(r"/v1/spaces/[^/]+/messages/?")
_OUTLOOK = ("outlook.office.com", "outlook.office365.com", "outlook.office365.us", "outlook.live.com")
_CONNECTORS = ("webhook.office.com", "webhook.office365.us", "webhook.office.us")
_FLOWS = ("logic.azure.com", "logic.azure.us", "logic.azure.cn", "powerplatform.com", "powerplatform.us")
_FLOW_WEBHOOK = re.compile(r"/(.+/)?workflows/.+")
_FLOW_PAGES = (
    "powerautomate.com",
    "powerautomate.us",
    "flow.microsoft.com",
    "flow.microsoft.us",
    "portal.azure.com",
    "portal.azure.us",
)
_TEAMS_PAGES = ("teams.microsoft.com", "teams.live.com", "teams.microsoft.us", "teams.cloud.microsoft")

_TABLE = (
    _Pasted(
        _is("hooks.slack.com", "hooks.slack-gov.com"), _SLACK_WEBHOOK, "is no webhook of Slack that stays valid", _SLACK
    ),
    _Pasted(_under("slack.com", "slack-gov.com"), re.compile(r"/api/.+"), "is a page of Slack, not a webhook", _SLACK),
    _Pasted(
        _under("discord.com", "discordapp.com"),
        _DISCORD_WEBHOOK,
        "is no webhook of Discord that the relay can post to",
        _DISCORD,
    ),
    _Pasted(_under("discordapp.net"), None, "is a file on Discord, not a webhook", _DISCORD),
    _Pasted(_is("discord.gg"), None, "is an invitation to Discord, not a webhook", _DISCORD),
    _Pasted(_under(*_CONNECTORS), None, _RETIRED, _TEAMS),
    _Pasted(_is(*_OUTLOOK), None, _RETIRED, _TEAMS),
    _Pasted(_under(*_TEAMS_PAGES), None, "is a page of Teams, not a webhook", _TEAMS),
    _Pasted(_under(*_FLOWS), _FLOW_WEBHOOK, "is no address of a workflow", _TEAMS),
    _Pasted(_under(*_FLOW_PAGES), None, "is a page on which workflows are edited, not a webhook", _TEAMS),
    _Pasted(_is("chat.google.com", "mail.google.com"), None, "is a page of Google Chat, not a webhook", _GOOGLE_CHAT),
    _Pasted(_is("chat.googleapis.com"), _GOOGLE_WEBHOOK, "is no webhook of Google Chat", _GOOGLE_CHAT),
    _Pasted(
        _is("zapier.com", "www.zapier.com"), re.compile(r"/hooks/.+"), "is a page of Zapier, not a webhook", _ZAPIER
    ),
    _Pasted(
        _under("zapier-staging.com"),
        None,
        "is the placeholder that z.generateCallbackUrl() gives outside of a Zap, and resumes nothing",
        "the URL that it gives in a running Zap (https://zapier.com/hooks/callback/...), or in tests one of your own",
    ),
    _Pasted(_is("hooks.zapier.com"), re.compile(r"/hooks/[^/]+/.+"), "is no webhook of Zapier", _ZAPIER),
    _Pasted(
        _is("script.google.com"),
        re.compile(r"/(a/([^/]+/)?)?macros/.+/exec"),
        "is no deployed web app of Google Apps Script",
        _APPS_SCRIPT,
    ),
    _Pasted(_is("docs.google.com", "drive.google.com"), None, "is a document of Google, not a webhook", _APPS_SCRIPT),
    _Pasted(_is("webhook.site"), re.compile(r"/[^/]+.*"), "is the page of webhook.site", _WEBHOOK_SITE),
    _Pasted(lambda host: host.endswith(".make.com") and not host.startswith("hook."), None, "is a page of Make", _MAKE),
    _Pasted(_is("t.me", "web.telegram.org"), None, "is a page of Telegram, not a webhook", _TELEGRAM),
    _Pasted(_under("exec.com"), None, "is an address of Exec, which sends no notifications on", _RECEIVER),
)
"""The narrower hosts first: the first row whose host matches decides."""


def check_pasted_url(url: str, field: str) -> None:
    """Raises ValidationFailed (`not_a_webhook`, without the path) for a known service's URL that is no webhook."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    for row in _TABLE:
        if row.host(host):
            if row.webhook is None or not row.webhook.fullmatch(parts.path):
                raise ValidationFailed("not_a_webhook", f"{field} {row.problem}. Paste {row.correction}.", field)
            return
