"""`slack`: an incoming webhook, laid out in Block Kit.

Everything is `plain_text` without emoji codes, so Slack reads no formatting, link or mention into Exec's words; only
the fallback `text` is parsed by Slack, and so escaped. Limits: header 150, section 3,000, url 3,000, 50 blocks.
"""

from relay.egress.result import HttpResponse
from relay.formats.base import Format, PermanentError
from relay.formats.message_text import BUTTON, EventText, describe_event
from relay.formats.truncate import MARKUP_ESCAPES, truncate
from relay.model import Event, Registration

MOST_HEADER = 150
MOST_SECTION = 3_000
MOST_FALLBACK = 1_000
"""Slack takes 40,000; a phone shows the first lines."""


_NEW_URL = "make a new incoming webhook and register its URL"
_ENDPOINT_ERRORS = {
    "no_service": f"Slack says this webhook was removed or switched off (no_service): {_NEW_URL}",
    "no_service_id": f"Slack says this URL names no webhook (no_service_id): {_NEW_URL}",
    "no_active_hooks": "Slack says incoming webhooks are switched off for the app (no_active_hooks): "
    f"switch them on in the app's settings, then enable this endpoint, or {_NEW_URL}",
    "invalid_token": f"Slack does not know this webhook's token (invalid_token): copy its URL again, or {_NEW_URL}",
    "no_team": f"Slack knows no such workspace (no_team): {_NEW_URL}",
    "team_disabled": f"The Slack workspace is no longer active (team_disabled): {_NEW_URL} in another one",
    "channel_not_found": f"The Slack channel is gone (channel_not_found): {_NEW_URL} for another channel",
    "user_not_found": f"The Slack user is gone (user_not_found): {_NEW_URL} for a channel",
    "channel_is_archived": "The Slack channel is archived (channel_is_archived): unarchive it, then enable this "
    f"endpoint, or {_NEW_URL} for another channel",
    "action_prohibited": "An admin of the Slack workspace does not allow this posting (action_prohibited): ask for "
    "permission, then enable this endpoint",
    "posting_to_general_channel_denied": "Only some may post to this Slack channel "
    f"(posting_to_general_channel_denied): ask an admin, or {_NEW_URL} for another channel",
}
_PAYLOAD_ERRORS = frozenset(
    {"invalid_payload", "invalid_blocks", "invalid_blocks_format", "no_text", "msg_too_long", "too_many_attachments"}
)


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"text", "mrkdwn", "blocks"}`."""
    said = describe_event(event)
    blocks: list[dict[str, object]] = [{"type": "header", "text": _plain(said.headline, MOST_HEADER)}]
    if reason := said.detail_within(MOST_SECTION):
        blocks.append({"type": "section", "text": _plain(reason, MOST_SECTION)})
    if said.link:
        blocks.append({"type": "actions", "elements": [_button(said.link)]})
    blocks.append({"type": "context", "elements": [_plain(said.footnote, MOST_SECTION)]})
    return {"text": _fallback(said), "mrkdwn": False, "blocks": blocks}


def _fallback(said: EventText) -> str:
    return truncate(said.summary, MOST_FALLBACK, MARKUP_ESCAPES)


def _plain(text: str, most: int) -> dict[str, object]:
    return {"type": "plain_text", "text": truncate(text, most), "emoji": False}


def _button(url: str) -> dict[str, object]:
    return {
        "type": "button",
        "text": {"type": "plain_text", "text": BUTTON, "emoji": False},
        "url": url,
        "action_id": "open_scenario",
        "style": "primary",
    }


def error_meaning(error: str) -> PermanentError | None:
    """What one of Slack's error words means; None for one that a retry may mend."""
    if error in _ENDPOINT_ERRORS:
        return PermanentError(_ENDPOINT_ERRORS[error], disable=True)
    if error in _PAYLOAD_ERRORS:
        return PermanentError(
            f"Slack did not take the relay's message ({error}): please report it, with this job's id", False
        )
    return None


def _permanent(answer: HttpResponse) -> PermanentError | None:
    return error_meaning(answer.body[:100].decode(errors="replace").strip()) if 400 <= answer.status < 500 else None


def _recognises(host: str, path: str) -> bool:
    return host in ("hooks.slack.com", "hooks.slack-gov.com") and path.startswith("/services/")


FORMAT = Format(body=body, matches_url=_recognises, permanent_error=_permanent, rate_per_second=1)
