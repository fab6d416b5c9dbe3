"""`mattermost`: an incoming webhook, as a line of text and one attachment.

Slack's attachments without Slack's blocks, which Mattermost ignores without an error. The text is what a phone shows.
Other people's words are escaped: Mattermost reads Markdown, and mentions anywhere in a text.
"""

from collections.abc import Callable

from relay.egress import HttpResponse
from relay.formats.base import Format, Rejection, json_body
from relay.formats.inert_text import without_user_mentions
from relay.formats.markdown import digest_markdown, markdown_job_link
from relay.formats.message_text import EventText, Fact, Tone, describe_event
from relay.formats.truncate import truncate
from relay.model import Event, Registration

MAX_TEXT = 1_000
MAX_TITLE = 300
MAX_FIELD = 400
MAX_DIGEST = 4_000
"""Attachments of more than 7,900 characters are refused."""
COLOURS = {Tone.GOOD: "#2eb67d", Tone.BAD: "#e01e5a", Tone.NEUTRAL: "#9aa0a6"}

_ESCAPES = str.maketrans({char: f"\\{char}" for char in "\\*_~`|[]<>#()!"})

_NEW_URL = "make a new incoming webhook and register its URL"
_ENDPOINT_ERRORS = {
    "web.incoming_webhook.invalid.app_error": f"Mattermost does not know this webhook: {_NEW_URL}",
    "store.sql_webhooks.get_incoming.app_error": f"Mattermost does not know this webhook: {_NEW_URL}",
    "web.incoming_webhook.disabled.app_error": "Incoming webhooks are switched off in Mattermost: ask its admin to "
    "switch them on, then enable this endpoint",
    "web.incoming_webhook.channel.app_error": f"The Mattermost channel is gone: {_NEW_URL} for another channel",
    "web.incoming_webhook.channel_locked.app_error": "This webhook may only post to its own channel: leave the channel "
    "out of the URL, then enable this endpoint",
    "web.incoming_webhook.permissions.app_error": "The owner of this webhook may not post in the channel: invite them, "
    "then enable this endpoint",
}
"""By the `id` in Mattermost's error: what it says, and what to do. Nothing of it passes by itself."""


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"text", "attachments": [one], "props"}`."""
    content = describe_event(event)
    return {"text": text_line(content), "attachments": [attachment(content)], "props": {"disable_mentions": True}}


def text_line(content: EventText) -> str:
    """The whole news in one line."""
    return f"{content.mark} {escape(content.summary, MAX_TEXT)}"


def attachment(content: EventText) -> dict[str, object]:
    """The rest: the link, what to do next, who asked, and the job's id."""
    title = escape(content.name or "Open the scenario", MAX_TITLE) if content.link else ""
    page = markdown_job_link(content)
    return {
        "fallback": escape(content.summary, MAX_TITLE),
        "color": COLOURS[content.tone],
        "title": title,
        "title_link": content.link or "",
        "text": "\n".join(filter(None, (_detail(content), *digest_lines(content), content.next_step, page))),
        "fields": fact_fields(content, escape, lambda url: f"<{url}>"),
        "footer": content.footnote,
    }


def _detail(content: EventText) -> str | None:
    detail = detail_beside_summary(content)
    return escape(detail, MAX_TEXT) if detail else None


def detail_beside_summary(content: EventText) -> str | None:
    """The detail, unless the line of text has it already, as that of a failure."""
    return None if content.detail is None or content.detail in content.summary else content.detail


def digest_lines(content: EventText) -> list[str]:
    """The lines of a digest."""
    return digest_markdown(content, lambda text: escape(text, MAX_TEXT), MAX_DIGEST)


def escape(text: str, limit: int) -> str:
    """Somebody else's text: no Markdown, and no mention of anybody."""
    return truncate(without_user_mentions(text), limit, _ESCAPES)


def fact_fields(
    content: EventText, escape: Callable[[str, int], str], draw_link: Callable[[str], str]
) -> list[dict[str, object]]:
    """The facts as fields of an attachment, two beside each other."""

    def value(fact: Fact) -> str:
        if fact.link and len(fact.link) < MAX_FIELD:
            return draw_link(fact.link)
        return escape(fact.text, MAX_FIELD)

    return [{"title": escape(fact.label, MAX_FIELD), "value": value(fact), "short": True} for fact in content.facts]


def _rejection(answer: HttpResponse) -> Rejection | None:
    error = json_body(answer).get("id")
    if not isinstance(error, str) or answer.succeeded or answer.status >= 500:
        return None
    if meaning := _ENDPOINT_ERRORS.get(error):
        return Rejection(f"{meaning} ({error})", disable=True)
    if answer.status == 400:
        return Rejection(f"Mattermost did not take the relay's message ({error[:100]}): please report it")
    return None


def _matches_url(host: str, path: str) -> bool:
    is_mattermost_host = host.startswith("mattermost.") or host.endswith(".cloud.mattermost.com")
    return is_mattermost_host and path.startswith("/hooks/")


FORMAT = Format(body=body, matches_url=_matches_url, rejection=_rejection, rate_per_second=5)
