"""`slack`: an incoming webhook, laid out in Block Kit.

The words stand in `rich_text`, in which Slack reads no formatting, link or mention: its links are elements of their
own. Only the fallback `text` is parsed by Slack, and so escaped. There is no button: Slack shows a warning at each
click on one if the app has no interactivity URL, and the apps of incoming webhooks have none.
"""

from relay.egress import HttpResponse
from relay.formats.base import Format, Rejection, json_body, short
from relay.formats.inert_text import without_everyone
from relay.formats.message_text import OPEN_JOB, EventText, Fact, describe_event
from relay.formats.truncate import MARKUP_ESCAPES, truncate
from relay.model import Event, Registration

MAX_HEADLINE = 300
MAX_SECTION = 3_000
MAX_FALLBACK = 1_000
"""Slack takes 40,000; a phone shows the first lines."""

_NEW_URL = "make a new incoming webhook and register its URL"
_DISCORD = ("discord.com", "discordapp.com", "canary.discord.com", "ptb.discord.com")
"""Discord accepts Slack's body at a webhook's URL that ends with /slack."""

_OTHER_CHANNEL = f"{_NEW_URL} for another channel"
_ENDPOINT_ERRORS = {
    "no_service": f"Slack says this webhook was removed or switched off: {_NEW_URL}",
    "no_service_id": f"Slack says this URL names no webhook: {_NEW_URL}",
    "no_active_hooks": "Slack says incoming webhooks are switched off for the app: switch them on in the app's "
    f"settings, then enable this endpoint, or {_NEW_URL}",
    "invalid_token": f"Slack does not know this webhook's token: copy its URL again, or {_NEW_URL}",
    "token_revoked": f"Slack says this webhook's token was revoked: install the app again, then {_NEW_URL}",
    "token_expired": f"Slack says this webhook's token expired: {_NEW_URL}",
    "invalid_auth": f"Slack does not accept this webhook's token: copy its URL again, or {_NEW_URL}",
    "account_inactive": "Slack says the account or app behind this webhook was deleted or switched off: install the "
    f"app again, then {_NEW_URL}",
    "app_not_found": f"Slack says the app of this webhook is gone: {_NEW_URL}",
    "no_team": f"Slack knows no such workspace: {_NEW_URL}",
    "team_not_found": f"Slack knows no such workspace: {_NEW_URL}",
    "team_disabled": f"The Slack workspace is no longer active: {_NEW_URL} in another one",
    "team_access_not_granted": "The app may not post in this Slack workspace: ask an admin to approve it, then enable "
    "this endpoint",
    "access_denied": "Slack does not allow this webhook to post: ask an admin of the workspace, then enable this "
    "endpoint",
    "no_permission": "The app of this webhook lacks the permission to post: install it again with it, then enable "
    "this endpoint",
    "channel_not_found": f"The Slack channel is gone: {_OTHER_CHANNEL}",
    "not_in_channel": f"The app is not in the Slack channel: invite it, then enable this endpoint, or {_OTHER_CHANNEL}",
    "user_not_found": f"The Slack user is gone: {_NEW_URL} for a channel",
    "channel_is_archived": "The Slack channel is archived: unarchive it, then enable this endpoint, or "
    f"{_OTHER_CHANNEL}",
    "is_archived": f"The Slack channel is archived: unarchive it, then enable this endpoint, or {_OTHER_CHANNEL}",
    "action_prohibited": "An admin of the Slack workspace does not allow this posting: ask for permission, then "
    "enable this endpoint",
    "restricted_action": "An admin of the Slack workspace does not allow this posting: ask for permission, then "
    "enable this endpoint",
    "posting_to_general_channel_denied": f"Only some may post to this Slack channel: ask an admin, or {_OTHER_CHANNEL}",
    "workflow_not_found": "Slack says this workflow is gone: make it again and register its URL",
    "trigger_not_found": "Slack says this workflow's webhook is gone: make it again and register its URL",
    "webhook_trigger_not_found": "Slack says this workflow's webhook is gone: make it again and register its URL",
    "workflow_not_published": "This Slack workflow is not published: publish it, then enable this endpoint",
    "invalid_trigger_inputs": "The variables of this Slack workflow are not those that the relay sends: give them the "
    "names and the type text that the documentation lists, then enable this endpoint",
    "invalid_webhook_trigger_inputs": "The variables of this Slack workflow are not those that the relay sends: give "
    "them the names and the type text that the documentation lists, then enable this endpoint",
}
_PAYLOAD_ERRORS = frozenset(
    """invalid_payload invalid_blocks invalid_blocks_format invalid_attachments invalid_arguments no_text msg_too_long
    msg_blocks_too_long too_many_attachments too_many_blocks missing_text_or_fallback_or_attachments""".split()
)


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"text", "mrkdwn", "blocks"}`."""
    content = describe_event(event)
    return {"text": fallback(content), "mrkdwn": False, "blocks": blocks(content)}


def blocks(content: EventText) -> list[dict[str, object]]:
    """The message in Block Kit: what happened to what, why, who asked, what to do next, and the job's id."""
    lines = [_headline(content)]
    if reason := content.detail_within(MAX_SECTION):
        lines.append([_text(reason)])
    lines += [[_text(f"{fact.label}: ", bold=True), _fact(fact)] for fact in content.facts]
    lines += _digest(content)
    if content.next_step:
        lines.append([_text(content.next_step)])
    if content.page:
        lines.append([_link(OPEN_JOB, content.page)])
    footer = {"type": "plain_text", "text": truncate(content.footnote, MAX_SECTION), "emoji": False}
    return [
        {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": _joined(lines)}]},
        {"type": "context", "elements": [footer]},
    ]


def _fact(fact: Fact) -> dict[str, object]:
    return _link(fact.text, fact.link) if fact.link else _text(fact.text)


def fallback(content: EventText) -> str:
    """The text of a phone's notification, and all that Discord shows of this body: there it must not ping either."""
    return f"{content.mark} {truncate(without_everyone(content.summary), MAX_FALLBACK, MARKUP_ESCAPES)}"


def _headline(content: EventText) -> list[dict[str, object]]:
    if content.link is None:
        return [_text(f"{content.mark} {truncate(content.headline, MAX_HEADLINE)}", bold=True)]
    name = truncate(content.name or "Open the scenario", MAX_HEADLINE)
    return [_text(f"{content.mark} {content.title}: ", bold=True), _link(name, content.link, bold=True)]


def _digest(content: EventText) -> list[list[dict[str, object]]]:
    digest_lines, remainder = content.first_lines()
    lines = [
        [
            _text(f"{line.mark} "),
            _link(line.text, line.link) if line.link else _text(line.text),
            *([_text(line.note)] if line.note else []),
        ]
        for line in digest_lines
    ]
    return lines + ([[_text(remainder)]] if remainder else [])


def _joined(lines: list[list[dict[str, object]]]) -> list[dict[str, object]]:
    """The lines as the elements of one section."""
    first, *further_lines = lines
    return first + [element for line in further_lines for element in (_text("\n"), *line)]


def _text(text: str, *, bold: bool = False) -> dict[str, object]:
    return {"type": "text", "text": text} | ({"style": {"bold": True}} if bold else {})


def _link(text: str, url: str, *, bold: bool = False) -> dict[str, object]:
    return {"type": "link", "url": url, "text": text} | ({"style": {"bold": True}} if bold else {})


def error_meaning(error: str) -> Rejection | None:
    """The meaning of one of Slack's error codes; None for an unknown code, or if a retry may succeed."""
    if error in _ENDPOINT_ERRORS:
        fault, _, remedy = _ENDPOINT_ERRORS[error].partition(": ")
        return Rejection(f"{fault} ({error}): {remedy}", disable=True)
    if error in _PAYLOAD_ERRORS:
        return Rejection(f"Slack did not take the relay's message ({error}): please report it, with this job's id")
    return None


def rejection_in_body(response: HttpResponse) -> Rejection | None:
    """The meaning of a 2xx with `{"ok": false, "error": CODE}`; None for any other response."""
    body = json_body(response)
    if not response.succeeded or body.get("ok") is not False:
        return None
    error = body.get("error")
    meaning = error_meaning(error) if isinstance(error, str) else None
    busy = error in ("rate_limited", "ratelimited", "message_limit_exceeded")
    return meaning or Rejection(
        f"Slack answered {response.status} and did not take the message ({short(error)})", retry=True, busy=busy
    )


def _rejection(response: HttpResponse) -> Rejection | None:
    """Incoming webhooks answer with the error code as plain text; a service in front of them may refuse with JSON."""
    if not (response.succeeded or 400 <= response.status < 500):
        return None
    code, text = str(json_body(response).get("error")), response.body[:100].decode(errors="replace").strip()
    return rejection_in_body(response) or error_meaning(code) or error_meaning(text)


def _matches_url(host: str, path: str) -> bool:
    slack = host in ("hooks.slack.com", "hooks.slack-gov.com") and path.startswith("/services/")
    return slack or (host in _DISCORD and "/webhooks/" in path and path.rstrip("/").endswith("/slack"))


FORMAT = Format(body=body, matches_url=_matches_url, rejection=_rejection, rate_per_second=1)
